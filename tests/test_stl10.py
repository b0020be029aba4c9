"""STL-10's reader against torchvision's, its splits, its leak, and every way in which a file can be wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from helpers import classifier, trainer

from datamodules.duplicates import cached_duplicates, duplicates, sealed
from datamodules.stl10 import STL10
from semisup.batch import UNLABELED
from semisup.cli.front import main
from semisup.errors import InputError

NAMES = ("airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck")


def write_stl10(root: Path, side: int = 96, train: int = 50, test: int = 20, unlabeled: int = 30) -> Path:
    """Random pictures in STL-10's own format; unlabeled images 3 and 17 are test images 5 and 0."""
    folder = root / "stl10_binary"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    sizes = {"train": train, "test": test, "unlabeled": unlabeled}
    images = {part: rng.integers(0, 256, (count, 3, side, side), dtype=np.uint8) for part, count in sizes.items()}
    if unlabeled > 17:
        images["unlabeled"][[3, 17]] = images["test"][[5, 0]]
    for part, stored in images.items():
        stored.tofile(folder / f"{part}_X.bin")
        labels = (np.arange(len(stored)) % 10 + 1).astype(np.uint8)
        if part == "unlabeled":
            np.save(folder / "unlabeled_y.npy", labels)
        else:
            labels.tofile(folder / f"{part}_y.bin")
    (folder / "class_names.txt").write_text("\n".join(NAMES) + "\n")
    folds = [" ".join(map(str, rng.choice(train, 10, replace=False))) for _ in range(10)]
    (folder / "fold_indices.txt").write_text("\n".join(folds) + "\n")
    return folder


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small STL-10 of 96x96 pixels, to be read only."""
    root = tmp_path_factory.mktemp("stl10")
    write_stl10(root)
    return root


def images(pool: Any) -> torch.Tensor:
    return pool.gather(torch.arange(len(pool)))


@pytest.mark.parametrize("split", ["train", "test", "unlabeled"])
def test_pixels_and_labels_are_torchvisions(split: str, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torchvision.datasets.STL10, "_check_integrity", lambda self: True)
    theirs = torchvision.datasets.STL10(str(root), split=split)
    pools = STL10(str(root), split="full", keep_test_duplicates=True).pools
    ours = {"train": pools.labeled, "test": pools.test, "unlabeled": pools.without_label}[split]
    assert ours is not None
    assert torch.equal(images(ours), torch.from_numpy(theirs.data))
    expected = [UNLABELED] * len(theirs) if split == "unlabeled" else theirs.labels.tolist()
    assert ours.labels.tolist() == expected
    picture = np.asarray(theirs[7][0])  # (96, 96, 3), as a person would see it
    assert np.array_equal(images(ours)[7].permute(1, 2, 0).numpy(), picture)


def test_class_names_are_torchvisions(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torchvision.datasets.STL10, "_check_integrity", lambda self: True)
    assert list(STL10(str(root)).spec.class_names) == torchvision.datasets.STL10(str(root), split="test").classes


def test_folds_are_torchvisions(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torchvision.datasets.STL10, "_check_integrity", lambda self: True)
    for fold in range(10):
        theirs = torchvision.datasets.STL10(str(root), split="train", folds=fold)
        pools = STL10(str(root), split="fold", fold=fold).pools
        assert torch.equal(images(pools.labeled), torch.from_numpy(theirs.data))
        assert pools.labeled.labels.tolist() == theirs.labels.tolist()
        assert pools.val is None


def test_the_courses_split_is_stratified_disjoint_and_the_same_for_every_seed(root: Path) -> None:
    first, second = (STL10(str(root), seed=seed).pools for seed in (0, 1))
    assert first.val is not None and second.val is not None
    assert first.val.labels.bincount().tolist() == [1] * 10
    assert sorted([*first.labeled.rows, *first.val.rows]) == list(range(50))
    assert first.val.rows.tolist() == second.val.rows.tolist()


def test_the_full_sized_split_is_four_thousand_and_one_thousand(tmp_path: Path) -> None:
    write_stl10(tmp_path, side=2, train=5000)
    pools = STL10(str(tmp_path)).pools
    assert pools.val is not None
    assert pools.labeled.labels.bincount().tolist() == [400] * 10
    assert pools.val.labels.bincount().tolist() == [100] * 10
    assert STL10(str(tmp_path)).steps == 4000 // 64


def test_few_labels_leave_the_length_of_an_epoch_and_the_unlabeled_pool_alone(root: Path) -> None:
    data = STL10(str(root), labels_per_class=2, seed=5)
    assert data.pools.labeled.labels.bincount().tolist() == [2] * 10
    assert data.pools.train_size == 40
    apart = STL10(str(root), labels_per_class=2, seed=5, labeled_in_unlabeled=False).pools
    assert apart.without_label is not None and len(apart.without_label) == 28 and apart.unlabeled is apart.without_label


@pytest.mark.parametrize(
    "options", [{}, {"labels_per_class": 2}, {"split": "fold", "fold": 4}, {"split": "full", "labels_per_class": 1}]
)
def test_all_images_of_train_are_among_the_unlabeled_ones_but_those_that_validate(
    options: dict[str, Any], root: Path
) -> None:
    """As in TorchSSL's and USB's pool: the unlabeled images, and those of train."""
    pools = STL10(str(root), seed=5, **options).pools
    assert pools.unlabeled is not None and pools.without_label is not None and pools.hidden_labels is not None
    val = [] if pools.val is None else pools.val.rows.tolist()
    labeled = pools.labeled.rows.tolist()
    rest = [row for row in range(50) if row not in {*labeled, *val}]
    loose = [row for row in range(30) if row not in (3, 17)]
    files = {part: np.fromfile(root / f"stl10_binary/{part}_X.bin", np.uint8) for part in ("train", "unlabeled")}
    stored = {part: x.reshape(-1, 3, 96, 96).transpose(0, 1, 3, 2) for part, x in files.items()}
    expected = [*stored["unlabeled"][loose], *stored["train"][[*rest, *labeled]]]
    assert np.array_equal(images(pools.unlabeled), expected)
    assert [pools.unlabeled.name(row) for row in range(len(pools.unlabeled))] == [
        *map(str, loose),
        *(f"train/{row}" for row in (*rest, *labeled)),
    ]
    assert pools.hidden_labels.tolist() == [row % 10 for row in (*loose, *rest)] and pools.labeled_in_unlabeled == len(
        labeled
    )
    assert len(pools.without_label) == len(loose) + len(rest)


def test_validation_images_are_left_out_of_the_unlabeled_ones_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_stl10(tmp_path, side=4)
    before = STL10(str(tmp_path)).pools
    assert before.val is not None
    stored = np.fromfile(folder / "unlabeled_X.bin", np.uint8).reshape(30, -1)
    train = np.fromfile(folder / "train_X.bin", np.uint8).reshape(50, -1)
    stored[[8, 29]] = train[before.val.rows[[0, 7]]]
    stored[11] = train[before.labeled.rows[0]]  # a labeled image is no leak
    stored.tofile(folder / "unlabeled_X.bin")
    capsys.readouterr()
    pools = STL10(str(tmp_path), labeled_in_unlabeled=False).pools
    said = capsys.readouterr().out
    assert pools.unlabeled is not None
    assert pools.unlabeled.rows.tolist() == [row for row in range(30) if row not in (3, 8, 17, 29)]
    assert pools.left_out == 4
    assert "2 of 30 unlabeled images are test images too, and left out" in said
    assert "2 of 30 unlabeled images are validation images too, and left out" in said
    held = {image.tobytes() for pool in (pools.val, pools.test) for image in images(pool).numpy()}
    assert not any(image.tobytes() in held for image in images(STL10(str(tmp_path)).pools.unlabeled).numpy())
    kept = STL10(str(tmp_path), keep_test_duplicates=True).pools
    assert kept.without_label is not None and len(kept.without_label) == 30 and kept.left_out == 0
    full = STL10(str(tmp_path), split="full").pools  # where nothing validates, nothing else is left out
    assert full.left_out == 2 and full.val is None


def test_test_images_are_left_out_of_the_unlabeled_ones(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pools = STL10(str(root)).pools
    assert pools.without_label is not None
    assert pools.without_label.rows.tolist() == [row for row in range(30) if row not in (3, 17)]
    assert "2 of 30 unlabeled images are test images too" in capsys.readouterr().out
    kept = STL10(str(root), keep_test_duplicates=True).pools
    assert kept.without_label is not None and len(kept.without_label) == 30
    # The truth stays with its images.
    assert pools.hidden_labels is not None
    assert pools.hidden_labels.tolist() == [row % 10 for row in range(30) if row not in (3, 17)]


@pytest.mark.parametrize("size", [27, 48])  # hashed by bytes and by words
def test_duplicates_are_those_of_a_naive_search(size: int) -> None:
    rng = np.random.default_rng(1)
    others = rng.integers(0, 3, (40, size), dtype=np.uint8)
    some = rng.integers(0, 3, (3000, size), dtype=np.uint8)
    some[[5, 6, 1023, 1024, 2999]] = others[[0, 0, 39, 7, 7]]
    some[9] = others[3][::-1]  # the same bytes in another order
    known = {row.tobytes() for row in others}
    assert duplicates(some, others).tolist() == [i for i, row in enumerate(some) if row.tobytes() in known]


def test_the_search_for_duplicates_is_done_once_for_the_same_files(tmp_path: Path) -> None:
    folder = write_stl10(tmp_path, side=4)
    files = folder / "unlabeled_X.bin", folder / "test_X.bin"
    assert cached_duplicates(*files, 48).tolist() == [3, 17]
    (cache,) = folder.glob(".semisup-duplicates-*")
    cache.write_bytes(sealed(np.array([1])))  # what is read back now is the cache's
    assert cached_duplicates(*files, 48).tolist() == [1]
    files[0].write_bytes(files[0].read_bytes())  # written anew: another time stamp
    assert cached_duplicates(*files, 48).tolist() == [3, 17]


def test_a_small_variant_trains(tmp_path: Path) -> None:
    write_stl10(tmp_path, side=16)
    data = STL10(str(tmp_path), batch_size=10, steps_per_epoch=2)
    module, fit = classifier(data), trainer(1)
    fit.fit(module, data)
    assert data.spec.image_size == 16 and fit.global_step == 2


def cut(name: str, size: int) -> Any:
    def apply(folder: Path) -> None:
        path = folder / name
        path.write_bytes(path.read_bytes()[:size])

    return apply


def put(name: str, row: int, value: int) -> Any:
    def apply(folder: Path) -> None:
        content = bytearray((folder / name).read_bytes())
        content[row] = value
        (folder / name).write_bytes(content)

    return apply


FAULTS = {
    "train cut short": (cut("train_X.bin", 2000), "train_X.bin has 2,000 bytes"),
    "test cut short": (cut("test_X.bin", 100), "test_X.bin has 100 bytes, which is not a whole number of 4x4 images"),
    "unlabeled cut short": (cut("unlabeled_X.bin", 47), "unlabeled_X.bin has 47 bytes"),
    "fewer labels": (cut("test_y.bin", 19), "20 images in test_X.bin, but 19 labels in test_y.bin"),
    "label 0": (put("train_y.bin", 7, 0), "train_y.bin has 1 labels outside of 1 to 10, the first is 0 in row 7"),
    "label 11": (put("test_y.bin", 3, 11), "test_y.bin has 1 labels outside of 1 to 10, the first is 11 in row 3"),
    "no train": (lambda folder: (folder / "train_X.bin").unlink(), "there is no STL-10 in"),
    "no test": (lambda folder: (folder / "test_X.bin").unlink(), "test_X.bin is missing"),
    "no names": (lambda folder: (folder / "class_names.txt").unlink(), "class_names.txt is missing"),
    "names not text": (lambda folder: (folder / "class_names.txt").write_bytes(b"\xff\xfe"), "is not a text file"),
    "truth too short": (
        lambda folder: np.save(folder / "unlabeled_y.npy", np.ones(3, np.uint8)),
        "unlabeled_y.npy holds uint8 of shape (3,), but must hold 30 whole numbers",
    ),
    "truth is no array": (lambda folder: (folder / "unlabeled_y.npy").write_text("x"), "is not an array of numpy"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_wrong_file_is_one_error(fault: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    apply, message = FAULTS[fault]
    apply(write_stl10(tmp_path, side=4))
    before = sorted(tmp_path.rglob("*"))
    arguments = ["--data", "stl10", "--data.root", str(tmp_path), "--trainer.default_root_dir", str(tmp_path / "runs")]
    assert main(["fit", *arguments]) == 2
    (error,) = capsys.readouterr().err.strip().splitlines()
    assert error.startswith("semisup: error: ") and message in error
    assert [path for path in sorted(tmp_path.rglob("*")) if "duplicates" not in path.name] == before


@pytest.mark.parametrize("content", ["1 2 3", "\n".join(["0 1"] * 9 + ["0 50"]), "\n".join(["0 1"] * 9 + ["0 -1"])])
def test_wrong_folds_are_one_error(content: str, tmp_path: Path) -> None:
    (write_stl10(tmp_path, side=4) / "fold_indices.txt").write_text(content)
    with pytest.raises(InputError, match=r"fold_indices.txt(, line 10: expected rows .* 0 to 49| has 1 lines)"):
        _ = STL10(str(tmp_path), split="fold", fold=0).pools


def test_an_empty_unlabeled_pool_is_asked_for_by_a_strategy_that_needs_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_stl10(tmp_path, side=16, unlabeled=0)
    assert (folder / "unlabeled_X.bin").stat().st_size == 0
    arguments = ["--data", "stl10", "--data.root", str(tmp_path), "--trainer.default_root_dir", str(tmp_path / "runs")]
    assert main(["fit", "--strategy", "pseudolabel", "--tracking.mode", "disabled", *arguments]) == 2
    assert "needs unlabeled images and stl10 has none" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "fold"}, "data.fold is missing"),
        ({"split": "fold", "fold": 10}, "data.fold is 10, but must be from 0 to 9"),
        ({"fold": 3}, "data.fold is 3, but data.split is course"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        STL10(**options)
