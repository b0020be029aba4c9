"""Labels of a folder of pictures that are in a file, and folders that are classes without a train/ around them."""

from __future__ import annotations

from pathlib import Path

import pytest
from picture_folders import cats_and_dogs, folder, picture

from semisup.cli.yaml_files import with_places
from semisup.data.datamodule import DataModule
from semisup.errors import InputError
from semisup.runs.options import identity

NAMES = [f"some/{k}.png" for k in range(6)] + [f"other/deep/{k}.png" for k in range(6, 12)] + ["loose.png"]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Pictures in folders that say nothing, and one beside them."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    for name in NAMES:
        picture(tmp_path / "data" / name)
    return tmp_path / "data"


def written(root: Path, *rows: str, head: str = "path,class") -> str:
    path = root / "labels.csv"
    path.write_text("\n".join([head, *rows]) + "\n")
    return str(path)


def parts(data: DataModule) -> dict[str, dict[str, int]]:
    """The names and labels of every pool."""
    pools = data.pools
    every = {"labeled": pools.labeled, "unlabeled": pools.without_label, "val": pools.val, "test": pools.test}
    return {
        part: dict(zip(pool.names or [], pool.labels.tolist(), strict=True)) for part, pool in every.items() if pool
    }


def test_labels_in_a_file_and_the_rest_is_unlabeled(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [f"{name},{'dog' if k % 2 else 'cat'}" for k, name in enumerate(NAMES[:8])]
    rows[0] = f"{root}/some/0.png,cat"  # as a file manager gives it
    rows[1] = "./some/1.png,dog"
    found = parts(folder(root, labels_csv=written(root, *rows, rows[2])))
    known = found["labeled"] | found["val"]
    assert known == {name: k % 2 for k, name in enumerate(NAMES[:8])} and len(found["val"]) == 1
    assert found["unlabeled"] == dict.fromkeys(NAMES[8:], -1) and found.keys() == {"labeled", "unlabeled", "val"}
    assert "not readable" not in capsys.readouterr().out  # labels.csv lies among them, and is none
    data = folder(root, labels_csv=written(root, *rows, "loose.png,eel"), labels_per_class=2)
    assert data.spec.class_names == ("cat", "dog", "eel") and data.pools.hidden_labels is None
    assert sorted(data.pools.labeled.labels.tolist()) == [0, 0, 1, 1, 2]
    said = capsys.readouterr().out
    assert "labels.csv has one picture of eel; label some more" in said
    assert "data: fewer labels than --data.labels_per_class 2 asks for: eel 1; all are given" in said


def test_the_folders_of_train_say_nothing_where_the_labels_are_in_a_file(root: Path) -> None:
    cats_and_dogs(root, 3)
    for name in ("val/cat/v.png", "val/dog/v.png", "test/t.png", "unlabeled/u.png"):
        picture(root / name)
    rows = ["train/cat/cat0.png,cat", "train/dog/dog1.png,dog", "unlabeled/u.png,dog"]
    found = parts(folder(root, labels_csv=written(root, *rows)))
    assert found["labeled"] == {"train/cat/cat0.png": 0, "train/dog/dog1.png": 1, "unlabeled/u.png": 1}
    assert {*found["unlabeled"]} == {f"train/{c}/{c}{k}.png" for c in ("cat", "dog") for k in range(3)} - {
        *found["labeled"]
    }
    assert found["val"] == {"val/cat/v.png": 0, "val/dog/v.png": 1} and found["test"] == {"test/t.png": -1}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["some/0.png,cat", "some/1.jpg,dog", "3.png,dog"], "names 2 pictures that are not in "),
        (["some/0.png,cat", "some/1.png,cat"], "labels.csv has 1 classes (cat), but must have two or more"),
        (["some/0.png,cat", "./some/0.png,dog"], "has the classes cat and dog for some/0.png; keep one"),
        (["some/0.png,cat", "some/0.png,dog"], "has more than one class for some/0.png"),
        (["some/0.png,cat", "test/x/0.png,dog"], "names 1 pictures of val/ or test/, which are not trained on"),
        (["some/0.png,cat", "bad.png,dog"], "there is no readable picture of class dog in "),
        (["some/0.png,cat", "loose.png"], "row 3 of "),
        ([], "labels.csv has 0 classes (none)"),
    ],
)  # fmt: skip
def test_each_mistake_in_the_file_is_one_error(rows: list[str], message: str, root: Path) -> None:
    (root / "bad.png").write_text("no picture")
    if "val/ or test/" in message:
        picture(root / "test/x/0.png")
        rows = [*rows, "some/2.png,x"]
    with pytest.raises(InputError) as caught:
        _ = folder(root, labels_csv=written(root, *rows)).pools
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_a_file_that_is_not_one_is_one_error(root: Path) -> None:
    with pytest.raises(
        InputError, match="has the columns path, label; expected a CSV file with the columns path,class"
    ):
        _ = folder(root, labels_csv=written(root, "a,b", head="path,label")).spec
    with pytest.raises(InputError, match=r"nowhere.csv can't be read"):
        _ = folder(root, labels_csv="nowhere.csv").spec


def test_the_folders_of_the_root_are_the_classes_where_there_is_no_train(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    root = cats_and_dogs(tmp_path / "data") / "train"
    for name in ("Unlabelled/u.png", "test/dog/t.png", "readme.png"):
        picture(root / name)
    data = folder(root, labels_per_class=3)
    assert data.spec.class_names == ("cat", "dog")
    found = parts(data)
    every = {f"{c}/{c}{k}.png": int(c == "dog") for c in ("cat", "dog") for k in range(10)}
    assert found["labeled"].items() <= every.items() and found["val"].items() <= every.items()
    assert len(found["val"]) == 4 and len(found["labeled"]) == 6 and found["test"] == {"test/dog/t.png": 1}
    assert {*found["unlabeled"]} == {"Unlabelled/u.png", *every} - {*found["labeled"]} - {*found["val"]}
    assert f"data: there is no train/ in {root}, so its folders are the classes: cat, dog\n" in capsys.readouterr().out
    (tmp_path / "more").mkdir()
    with pytest.raises(InputError, match="holds data/, more/, but no train/"):
        _ = folder(tmp_path).spec  # one folder further up, which holds train/


def test_the_place_of_the_file_is_remembered(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(root, "x,y")
    monkeypatch.chdir(root)
    text = with_places("data:\n  name: folder\n  root: .\n  labels_csv: labels.csv\n")
    here = Path.cwd()
    assert f'  # typed as "."\n  root: {here}\n  # typed as "labels.csv"\n  labels_csv: {here}/labels.csv\n' in text
    typed, run = ({"data": {"root": "/x", "labels_csv": name}} for name in ("labels.csv", f"{here}/labels.csv"))
    assert identity(typed) == identity(run)
