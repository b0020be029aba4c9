"""Links in a folder of pictures: followed, in one part alone, and named where they lead nowhere."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from picture_folders import assert_equals_pillow, by_name, folder, picture

from semisup.errors import InputError


def test_links_are_followed_and_come_behind_a_folders_own_files(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("one/a.png", "one/deep/b.png", "two/c.png", "three/a.png", "three/deep/b.png"):
        picture(tmp_path / "elsewhere" / name)
    for name in ("unlabeled/z/own.png", "unlabeled/own.png"):
        picture(root / name)
    (root / "unlabeled/batch").symlink_to(tmp_path / "elsewhere/one")
    (root / "train/cat/more").symlink_to(os.path.relpath(tmp_path / "elsewhere/two", root / "train/cat"))
    (root / "train/yak").symlink_to(tmp_path / "elsewhere/three")  # a class
    (root / "val").symlink_to(tmp_path / "validation")  # a part
    picture(tmp_path / "validation/cat/v.png")
    (root / "train/dog/file.png").symlink_to(tmp_path / "elsewhere/two/c.png")
    data = folder(root)
    loose = ["unlabeled/own.png", "unlabeled/z/own.png", "unlabeled/batch/a.png", "unlabeled/batch/deep/b.png"]
    assert data.pools.without_label is not None and data.pools.without_label.names == loose
    assert data.spec.class_names == ("cat", "dog", "yak")
    labels = dict(zip(data.pools.labeled.names or [], data.pools.labeled.labels.tolist(), strict=True))
    assert labels["train/cat/more/c.png"] == 0 and labels["train/dog/file.png"] == 1 and len(labels) == 24
    assert labels["train/yak/a.png"] == labels["train/yak/deep/b.png"] == 2
    assert data.pools.val is not None and data.pools.val.names == ["val/cat/v.png"]
    assert_equals_pillow(data.pools.labeled, root)
    assert_equals_pillow(data.pools.without_label, root)
    assert "left out" not in capsys.readouterr().out


def test_links_that_lead_back_or_to_the_same_files_are_named_and_left_out(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a/1.png", "b/2.png", "c/3.png"):
        picture(root / "unlabeled" / name)
    (root / "unlabeled/a/up").symlink_to("..")  # a loop
    (root / "unlabeled/a/self").symlink_to(".")
    (root / "unlabeled/a/other").symlink_to("../b")  # b's own files stay b's
    (root / "unlabeled/b/other").symlink_to(root / "unlabeled/a")
    (root / "unlabeled/all").symlink_to(tmp_path)  # all of it, with the class of every picture in its path
    (root / "train/cat/dogs").symlink_to("../dog")
    data = folder(root)
    assert data.pools.without_label is not None and data.pools.without_label.names is not None
    assert data.pools.without_label.names == ["unlabeled/a/1.png", "unlabeled/b/2.png", "unlabeled/c/3.png"]
    names, labels = data.pools.labeled.names or [], data.pools.labeled.labels.tolist()
    assert len(names) == 16 and [("cat", "dog")[label] for label in labels] == [name.split("/")[1] for name in names]
    out = capsys.readouterr().out
    assert "data: left out, as their files were found in another place already: train/cat/dogs, " in out
    for name in ("a/up", "a/self", "a/other", "b/other", "all/data/train/cat", "all/data/unlabeled"):
        assert f"unlabeled/{name}" in next(line for line in out.splitlines() if "unlabeled/a/up" in line)


@pytest.mark.parametrize("part", ["val", "unlabeled", "test", "unlabeled/more"])
def test_no_picture_is_in_two_parts_by_a_link(part: str, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / part).parent.mkdir(exist_ok=True)
    (root / part).symlink_to(root / "train")
    pools = folder(root).pools
    names = [
        name for pool in (pools.labeled, pools.val, pools.test, pools.without_label) if pool for name in pool.names
    ]
    assert sorted(names) == sorted(f"train/{x}/{x}{k}.png" for x in ("cat", "dog") for k in range(10))
    assert f"data: left out, as their files were found in another place already: {part}" in capsys.readouterr().out


def test_a_link_from_train_leaves_the_test_images_to_the_test(root: Path) -> None:
    picture(root / "test/cat/t.png")
    (root / "train/cat/more").symlink_to(root / "test/cat")
    pools = folder(root).pools
    assert pools.test is not None and pools.test.names == ["test/cat/t.png"]
    assert "train/cat/more/t.png" not in (pools.labeled.names or [])


@pytest.mark.parametrize("part", ["train", "unlabeled", "Validation", "test"])
def test_a_part_that_is_a_link_to_nowhere_is_an_error(part: str, root: Path, tmp_path: Path) -> None:
    if (root / part).exists():
        (root / part).rename(root / "cats and dogs")
    (root / part).symlink_to(tmp_path / "unmounted")
    told = re.escape(f"{root / part} is a link that leads nowhere, to {tmp_path / 'unmounted'}; bring that back, or")
    with pytest.raises(InputError, match=told):
        _ = folder(root).pools


def test_files_and_broken_links_in_the_place_of_folders_are_named(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (root / "unlabeled").write_text("a file")
    (root / "more").symlink_to(root / "more")
    (root / "train/yak").symlink_to("nowhere")
    (root / "notes.txt").write_text("nobody expects it to be used")
    assert folder(root).spec.class_names == ("cat", "dog")
    _ = folder(root).pools
    out = capsys.readouterr().out
    assert f"data: not used in {root}: more (a link that leads nowhere), unlabeled\n" in out
    assert f"data: left out of {root / 'train'}, as in no class's folder: yak (a link that leads nowhere)\n" in out


def test_two_links_to_one_folder_give_its_files_once(root: Path, tmp_path: Path) -> None:
    picture(tmp_path / "elsewhere/sub/x.png")
    picture(tmp_path / "elsewhere/y.png")
    (root / "unlabeled").mkdir()
    (root / "unlabeled/first").symlink_to(tmp_path / "elsewhere/sub")
    (root / "unlabeled/second").symlink_to(tmp_path / "elsewhere")
    assert list(by_name(folder(root).pools.without_label)) == ["unlabeled/first/x.png", "unlabeled/second/y.png"]
