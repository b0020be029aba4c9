"""The cache of a folder of pictures: each file is read once, wherever the cache is kept."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from picture_folders import (
    ROW,
    SIZE,
    all_images,
    assert_equals_pillow,
    assert_whole,
    folder,
    images,
    kept,
    picture,
    tiff,
)
from PIL import Image

from datamodules import folder_stores
from datamodules.folder import Folder
from semisup.data import store as stores
from semisup.errors import InputError

# ---- what is read, and when


def test_a_file_is_read_again_only_when_it_changes(root: Path, read: list[str]) -> None:
    first = images(folder(root).pools.labeled)
    assert len(read) == 20
    assert torch.equal(images(folder(root, seed=3).pools.labeled), first) and len(read) == 20

    changed = root / "train/cat/cat0.png"
    stat = changed.stat()
    os.utime(changed, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))  # as after an edit that keeps the file's size
    assert torch.equal(images(folder(root).pools.labeled), first) and read[20:] == ["cat0.png"]

    Image.new("RGB", (20, 20), "white").save(changed)
    os.utime(changed, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))  # another size at the same time
    _ = folder(root).pools
    assert read[21:] == ["cat0.png"]
    picture(root / "val/cat/v.png")  # another file; and now all of train/ is in the labeled pool
    pools = folder(root).pools
    assert read[22:] == ["v.png"] and pools.labeled.name(0) == "train/cat/cat0.png"
    assert (images(pools.labeled)[0] == 255).all()
    assert_equals_pillow(pools.labeled, root)
    assert_equals_pillow(pools.val, root)

    assert Folder(str(root), image_size=SIZE + 1).pools.labeled.shape == (3, SIZE + 1, SIZE + 1) and len(read) == 44
    changed.unlink()
    assert "train/cat/cat0.png" not in (folder(root).pools.labeled.names or []) and len(read) == 44
    os.rename(root / "train/cat/cat1.png", root / "train/dog/cat1.png")
    pools = folder(root).pools
    assert read[44:] == ["cat1.png"] and "train/dog/cat1.png" in (pools.labeled.names or [])
    assert_equals_pillow(pools.labeled, root)


def test_ten_more_pictures_are_ten_more_rows(root: Path, read: list[str]) -> None:
    _ = folder(root).pools
    index, rows = kept(root)
    before = index.read_bytes(), rows.read_bytes()
    assert len(before[1]) == 20 * ROW
    for number in range(10):
        picture(root / f"unlabeled/{number}.png")
    assert_whole(root)
    assert read[20:] == [f"{number}.png" for number in range(10)]
    assert kept(root) == [index, rows]
    assert index.read_bytes().startswith(before[0]) and len(rows.read_bytes()) == 30 * ROW
    assert rows.read_bytes().startswith(before[1])


def test_a_file_that_could_not_be_opened_is_read_once_it_can(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = root / "train/cat/cat3.png"
    access = os.access
    with monkeypatch.context() as patch:  # not even the superuser
        patch.setattr(os, "access", lambda path, mode: Path(path) != closed and access(path, mode))
        assert "train/cat/cat3.png" not in all_images(root)
    assert "train/cat/cat3.png" in all_images(root)

    original = Image.open

    def failing(path: Any, *arguments: Any, **more: Any) -> Any:
        if Path(path).name == "v.png":
            raise OSError(5, "Input/output error")
        return original(path, *arguments, **more)

    picture(root / "val/cat/v.png")
    picture(root / "val/cat/w.png")
    with monkeypatch.context() as patch:
        patch.setattr(Image, "open", failing)
        assert "val/cat/v.png" not in all_images(root)
    assert "val/cat/v.png" in all_images(root)  # the file is the same, and its disk is well again


def test_each_way_of_making_pictures_equal_has_a_store_of_its_own(
    root: Path, read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tiff(root / "train/cat/deep.tif", np.arange(400, dtype="<f4").reshape(20, 20))
    ways: list[dict[str, Any]] = [{}, {"channels": 1}, {"background": "red"}, {"black": 1.0}, {"white": 9.0}]
    for number, way in enumerate(ways, start=1):
        for _ in range(2):
            _ = folder(root, **way).pools
            assert len({path.stem for path in kept(root)}) == number
    before = len(read)
    for name, way in (("red", {"background": "red"}), ("#ff0000", {"background": "#ff0000"})):  # the same colour
        _ = folder(root, **way).pools
        assert len(read) == before, name
    monkeypatch.setattr(folder_stores, "READER", "another")
    _ = folder(root).pools
    assert len({path.stem for path in kept(root)}) == len(ways) + 1


# ---- places


def test_the_cache_is_with_the_user_where_root_can_not_be_written(root: Path) -> None:
    (root / ".semisup-cache").touch()  # so that not even the superuser can make that folder
    first = images(folder(root).pools.labeled)
    (cache,) = (root.parent / "xdg/semisup").glob("*/*.rows")
    stamp = cache.stat()
    assert torch.equal(images(folder(root).pools.labeled), first)
    assert (cache.stat().st_mtime_ns, cache.stat().st_size) == (stamp.st_mtime_ns, stamp.st_size)
    shutil.rmtree(root.parent / "xdg")
    (root.parent / "xdg").touch()
    with pytest.raises(InputError, match=r"\.semisup-cache nor .*xdg/semisup/.* can be written.*XDG_CACHE_HOME=FOLDER"):
        folder(root).read()


def test_a_store_that_can_not_be_written_serves_what_it_has(
    root: Path, read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "unlabeled").mkdir()
    (root / "unlabeled/gone.png").symlink_to("nowhere")
    whole = all_images(root)
    del read[:]

    def locked(*_: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(stores.Store, "lock", locked)
    assert all_images(root).keys() == whole.keys() and read == []  # a broken link is no reason to write
    _, rows = kept(root)
    rows.write_bytes(bytes(20 * ROW))
    found = all_images(root)  # and what is damaged is mended in memory
    assert all(np.array_equal(found[name], image) for name, image in whole.items())
    assert rows.read_bytes() == bytes(20 * ROW)


def test_a_read_only_root_is_enough(root: Path) -> None:
    root.chmod(0o555)
    try:
        if os.access(root, os.W_OK):
            pytest.skip("this user may write everywhere")
        assert len(folder(root).pools.labeled) == 16
    finally:
        root.chmod(0o755)
    assert not (root / ".semisup-cache").exists() and len(list((root.parent / "xdg/semisup").glob("*/*.rows"))) == 1


@pytest.mark.parametrize("where", ["append", "fsync"])
def test_a_full_disk_is_one_error_and_leaves_nothing_behind(
    where: str, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(*((os, "fsync", full) if where == "fsync" else (stores.Store, "append", full)))
        with pytest.raises(InputError, match=r"can't write 0 MB .*No space left on device.*--data.image_size"):
            folder(root).read()
        assert list((root / ".semisup-cache").iterdir()) == []
    _ = folder(root).pools
    before = [path.read_bytes() for path in kept(root)]
    picture(root / "unlabeled/x.png")
    with monkeypatch.context() as patch:
        patch.setattr(*((os, "fsync", full) if where == "fsync" else (stores.Store, "append", full)))
        with pytest.raises(InputError, match=r"No space left on device"):
            folder(root).read()
    assert all(path.read_bytes().startswith(was) for path, was in zip(kept(root), before, strict=True))
    assert_whole(root)
