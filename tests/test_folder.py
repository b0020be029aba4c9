"""Folders of pictures: what is found in them, whatever lies about, and which pool it is in."""

from __future__ import annotations

import os
import shutil
import zipfile
from pathlib import Path

import pytest
from helpers import classifier, trainer
from picture_folders import assert_equals_pillow, folder, picture

from datamodules.folder import Folder
from semisup.errors import InputError
from strategies.pseudolabel import PseudoLabel


def test_a_name_that_is_not_unicode_is_escaped(root: Path) -> None:
    path = os.fsencode(root / "test") + b"/caf\xe9.png"
    picture(root / "test/x.png")
    os.rename(root / "test/x.png", path)
    pools = folder(root).pools
    assert pools.test is not None and pools.test.names == ["test/caf\\udce9.png"]


def test_unlabeled_pictures_at_any_depth_come_before_the_rest_of_train(root: Path) -> None:
    for name in ("b.png", "a/2.png", "a/deep/er/1.png", "z/0.png"):
        picture(root / "unlabeled" / name)
    data = folder(root, labels_per_class=3)
    pools = data.pools
    assert pools.without_label is not None and pools.without_label.names is not None and pools.val is not None
    loose = [f"unlabeled/{name}" for name in ("b.png", "a/2.png", "a/deep/er/1.png", "z/0.png")]
    assert pools.without_label.names[:4] == loose
    assert all(name.startswith("train/") for name in pools.without_label.names[4:])
    assert (len(pools.labeled), len(pools.without_label), len(pools.val), pools.train_size) == (6, 4 + 10, 4, 16)
    assert pools.labeled.labels.tolist() == [0, 0, 0, 1, 1, 1] and (pools.without_label.labels == -1).all()
    assert pools.hidden_labels is None and data.hidden_labels is None  # nobody knows the classes of unlabeled/
    everything = [*pools.labeled.names, *pools.without_label.names[4:], *pools.val.names]  # type: ignore[misc]
    assert sorted(everything) == sorted(f"train/{c}/{c}{k}.png" for c in ("cat", "dog") for k in range(10))
    assert_equals_pillow(pools.without_label, root)
    pools = folder(root).pools
    assert pools.without_label is not None and pools.without_label.names == loose and pools.hidden_labels is None


def test_the_truth_is_known_where_all_unlabeled_pictures_come_from_train(root: Path) -> None:
    pools = folder(root, labels_per_class=3).pools
    assert pools.without_label is not None and pools.without_label.names is not None and pools.hidden_labels is not None
    assert [("cat", "dog")[k] for k in pools.hidden_labels] == [
        name.split("/")[1] for name in pools.without_label.names
    ]
    pools = folder(root).pools
    assert pools.without_label is None and pools.hidden_labels is None and len(pools.labeled) == 16


def test_without_val_a_fifth_of_train_validates_whatever_the_seed(root: Path) -> None:
    one, other = (folder(root, labels_per_class=4, seed=seed).pools for seed in (0, 1))
    assert one.val is not None and other.val is not None and one.test is None
    assert one.val.labels.tolist() == [0, 0, 1, 1] and one.val.names == other.val.names
    assert one.labeled.names != other.labeled.names
    assert [name.split("/")[1] for name in one.val.names or []] == ["cat", "cat", "dog", "dog"]


def test_val_and_test_are_used_where_they_are_given(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("val/dog/v.png", "test/dog/t.png", "test/cat/t.png", "test/cat/more/u.png", "test/readme.png"):
        picture(root / name)
    pools = folder(root).pools
    assert pools.val is not None and pools.test is not None
    assert len(pools.labeled) == 20 and (pools.val.names, pools.val.labels.tolist()) == (["val/dog/v.png"], [1])
    assert pools.test.names == ["test/cat/t.png", "test/cat/more/u.png", "test/dog/t.png"]
    assert pools.test.labels.tolist() == [0, 0, 1] and pools.test.name(2) == "test/dog/t.png"
    assert f"data: left out of {root}/test, as in no class's folder: readme.png\n" in capsys.readouterr().out


def test_a_flat_test_folder_has_no_labels(root: Path) -> None:
    for name in ("b.png", "a.png"):
        picture(root / "test" / name)
    pools = folder(root).pools
    assert pools.test is not None and pools.test.names == ["test/a.png", "test/b.png"]
    assert pools.test.labels.tolist() == [-1, -1]


def test_each_mistake_is_one_error(root: Path) -> None:
    def mistake(path: Path = root, **kwargs: object) -> str:
        with pytest.raises(InputError) as caught:
            _ = folder(path, **kwargs).spec, folder(path, **kwargs).read()
        assert "\n" not in str(caught.value)
        return str(caught.value)

    missing = root.parent / "nothing"
    assert f"there is no folder {missing}; expected {missing}/train/CLASS/*.jpg" in mistake(missing)
    for name in ("flat/test/x.png", "flat/y.png"):
        picture(root / name)
    assert "flat holds test/, y.png, but no train/, whose folders are the classes" in mistake(root / "flat")
    picture(root / "one/train/cat/x.png")
    assert "one/train holds fewer than two folders (cat); expected" in mistake(root / "one")

    (root / "train/yak").mkdir()
    assert f"there is no readable picture in {root}/train/yak; add some" in mistake()
    (root / "train/yak/x.jpg").write_bytes(b"no picture")
    assert f"there is no readable picture in {root}/train/yak; add some" in mistake()
    shutil.rmtree(root / "train/yak")
    for part in ("val", "test"):
        picture(root / part / "dogs/x.png")
        assert f"{root}/{part}/dogs is no class of {root}/train" in mistake()
        assert mistake().endswith(f"add pictures of it to {root}/train/dogs; did you mean 'dog'?")
        shutil.rmtree(root / part)
    for name in ("train/cat", "train/dog"):
        shutil.rmtree(root / name)
        (root / name).mkdir()
    assert f"there is no readable picture in {root}/train/cat" in mistake()
    with pytest.raises(InputError, match=r"data\.image_size is 7, but must be at least 8"):
        Folder(str(root), image_size=7)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("Training", "valid", "unlabelled", "Testing"), ("train", "val", "unlabeled", "test")),
        (("TRAIN", "Validation", "Unlabeled", "TEST"), ("train", "val", "unlabeled", "test")),
        (("train", "VAL", "UNLABELLED", "test"), ("train", "val", "unlabeled", "test")),
    ],
)
def test_other_names_of_the_parts_mean_the_same(
    names: tuple[str, ...], expected: tuple[str, ...], root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, part in zip(names, expected, strict=True):
        if part == "train":
            os.rename(root / "train", root / name)
        else:
            picture(root / name / ("" if part == "unlabeled" else "dog") / "x.png")
    data = folder(root)
    pools = {"train": data.pools.labeled, "val": data.pools.val, "test": data.pools.test}
    pools["unlabeled"] = data.pools.without_label
    assert data.spec.class_names == ("cat", "dog") and len(data.pools.labeled) == 20
    for name, part in zip(names, expected, strict=True):
        pool = pools[part]
        assert pool is not None and {path.split("/")[0] for path in pool.names or []} == {name}
        assert_equals_pillow(pool, root)
    assert "not used" not in capsys.readouterr().out


def test_what_is_not_used_in_the_root_is_named(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("dev/cat/x.png", "extra/x.png", "val2/x.png", "stray.PNG", "stray.heic", ".hidden/x.png", ".x.png"):
        (root / name).parent.mkdir(exist_ok=True, parents=True)
        shutil.copy(root / "train/cat/cat0.png", root / name)
    (root / "README.md").write_text("not a picture")
    assert len(folder(root).pools.labeled) == 16
    assert f"data: not used in {root}: dev/, extra/, val2/, stray.PNG, stray.heic\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (("val", "valid"), "val/, valid/"),
        (("Unlabeled", "unlabelled"), "Unlabeled/, unlabelled/"),
        (("Train",), "Train/, train/"),
        (("TEST", "test", "testing"), "TEST/, test/, testing/"),
    ],
)
def test_two_folders_for_the_same_pictures_are_an_error(names: tuple[str, ...], told: str, root: Path) -> None:
    for name in names:
        picture(root / name / "cat/x.png")
    with pytest.raises(InputError, match=f"holds {told}, which are names for the same pictures; keep one of them"):
        _ = folder(root).pools


def test_a_part_without_a_picture_is_told(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "val/cat").mkdir(parents=True)
    (root / "unlabeled").mkdir()
    (root / "test").mkdir()
    (root / "test/x.png").write_bytes(b"")
    pools = folder(root).pools
    out = capsys.readouterr().out
    assert pools.val is not None and len(pools.val) == 4 and pools.test is None
    assert f"data: there is no readable picture in {root / 'val'}, so a fifth of what is labeled validates\n" in out
    for part in ("unlabeled", "test"):
        assert f"data: there is no readable picture in {root / part}\n" in out
    picture(root / "val/cat/v.png")
    _ = folder(root).pools
    assert f"picture in {root / 'val'}" not in capsys.readouterr().out


COMPOSED, DECOMPOSED = "caf\u00e9", "cafe\u0301"


def test_a_class_is_the_same_however_unicode_writes_it(root: Path) -> None:
    for name in (f"train/{COMPOSED}/1.png", f"train/{COMPOSED}/2.png", f"val/{DECOMPOSED}/v.png", "val/cat/v.png"):
        picture(root / name)
    data = folder(root)
    val = data.pools.val
    assert data.spec.class_names == (COMPOSED, "cat", "dog") and val is not None
    assert dict(zip(val.names or [], val.labels.tolist(), strict=True)) == {
        f"val/{DECOMPOSED}/v.png": 0,
        "val/cat/v.png": 1,
    }


def test_two_classes_of_one_name_are_an_error_and_alike_ones_are_said(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("Cat", "CAT", "Dogs"):
        picture(root / f"train/{name}/1.png")
        picture(root / f"train/{name}/2.png")
    _ = folder(root).pools
    assert (
        "data: warning: CAT, Cat, cat are 3 classes; join them if they are meant to be one\n" in capsys.readouterr().out
    )
    for name in (COMPOSED, DECOMPOSED):
        picture(root / f"train/{name}/1.png")
    with pytest.raises(InputError, match="one name that Unicode writes in two ways; join them"):
        _ = folder(root).spec


@pytest.fixture(scope="module")
def real(photographs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty photographs of three classes, and fifteen more without labels."""
    root = tmp_path_factory.mktemp("real")
    with zipfile.ZipFile(photographs) as archive:
        names = [name for name in archive.namelist() if name.endswith(".jpg")]
        for kind in sorted({name.split("/")[0] for name in names})[:3]:
            for number, name in enumerate(sorted(n for n in names if n.startswith(f"{kind}/"))[:25]):
                target = root / (f"train/{kind}" if number < 20 else "unlabeled") / f"{kind}-{Path(name).name}"
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(archive.read(name))
    return root


def test_photographs_equal_pillow(real: Path) -> None:
    pools = folder(real, labels_per_class=5).pools
    assert pools.without_label is not None and pools.val is not None
    assert (len(pools.labeled), len(pools.without_label), len(pools.val)) == (15, 15 + 33, 12)
    for pool in (pools.labeled, pools.without_label, pools.val):
        assert_equals_pillow(pool, real)


def test_a_short_fit_on_photographs(real: Path) -> None:
    data = folder(real, labels_per_class=5, batch_size=6, steps_per_epoch=3)
    strategy = PseudoLabel(threshold=0.0, warmup_epochs=1)
    module, fit = classifier(data, strategy), trainer(1)
    fit.fit(module, data)
    assert fit.global_step == 3 and len(strategy.rows_) == 48
    assert module.spec.class_names == tuple(sorted(path.name for path in (real / "train").iterdir()))
    assert module.scores["val"].confusion.sum() == 12
