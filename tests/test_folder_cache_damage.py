"""A damaged cache of pictures is found out, and made again from the files that it was made from."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from picture_folders import ROW, all_images, assert_whole, by_name, folder, images, kept, picture, tiff

from datamodules import folder_cache
from semisup.data import store
from semisup.errors import InputError


@pytest.mark.parametrize("place", ["first", "middle", "last"])
def test_a_damaged_block_is_found_when_it_is_read_and_made_again(
    place: str, root: Path, read: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(folder_cache, "_ROWS", 5)
    whole = all_images(root)
    _, rows = kept(root)
    row = {"first": 0, "middle": 12, "last": 19}[place]
    content = bytearray(rows.read_bytes())
    content[row * ROW + 100] ^= 1
    rows.write_bytes(content)

    files = [f"train/{name}/{name}{number}.png" for name in ("cat", "dog") for number in range(10)]
    damaged = files[row]
    del read[:]
    capsys.readouterr()
    pools = folder(root).pools
    assert read == [] and "damaged" not in capsys.readouterr().out  # nobody has read it yet
    names = pools.labeled.names or []
    other = next(number for number, name in enumerate(names) if files.index(name) // 5 != row // 5)
    assert np.array_equal(pools.labeled.gather(torch.tensor([other]))[0], whole[names[other]])
    assert read == []
    everything = {name: image for pool in (pools.labeled, pools.val) for name, image in by_name(pool).items()}
    assert everything.keys() == whole.keys()
    assert all(np.array_equal(everything[name], image) for name, image in whole.items())
    block = sorted(Path(name).name for name in files[row - row % 5 : row - row % 5 + 5])
    out = capsys.readouterr().out
    assert sorted(read) == block and "not readable" not in out and damaged in everything
    assert f"data: 5 pictures in {rows} were damaged, and are made again from their files\n" in out
    again = all_images(root)  # and now for good
    assert all(np.array_equal(again[name], image) for name, image in whole.items())
    assert len(read) == 5 and "damaged" not in capsys.readouterr().out


def test_whatever_is_damaged_good_pictures_are_neither_lost_nor_blamed(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(folder_cache, "_ROWS", 4)
    (root / "train/cat/bad.png").write_bytes(b"not a picture")
    tiff(root / "train/cat/deep.tif", np.linspace(0, 1, 400, dtype="<f4").reshape(20, 20))
    whole = all_images(root)
    rng = np.random.default_rng(0)
    for trial in range(40):
        for path in kept(root):
            content = bytearray(path.read_bytes())
            how = rng.integers(6)
            if how < 3:  # some bytes are others
                for place in rng.integers(len(content), size=rng.integers(1, 20)):
                    content[place] = rng.integers(256)
            elif how == 3:
                del content[rng.integers(len(content)) :]
            elif how == 4:
                start = rng.integers(len(content))
                content[start : start + rng.integers(2000)] = b""
            else:
                content += bytes(rng.integers(0, 256, rng.integers(1, 2000), np.uint8))
            path.write_bytes(content)
        for _ in range(2):
            found = all_images(root)
            assert found.keys() == whole.keys(), trial
            assert all(np.array_equal(found[name], image) for name, image in whole.items()), trial
            out = capsys.readouterr().out
            assert "1 of 22 files are not readable pictures, and are left out: train/cat/bad.png\n" in out, trial
        assert "damaged" not in out and "resized" not in out, trial  # the second time all is well
    (root / ".semisup-cache" / "x").write_text("something else")


def test_a_damaged_picture_whose_file_changed_meanwhile_is_one_error(root: Path) -> None:
    _ = folder(root).pools
    _, rows = kept(root)
    rows.write_bytes(bytes(20 * ROW))
    pools = folder(root).pools
    picture(root / "train/cat/cat0.png", 30, 30)
    with pytest.raises(InputError, match=r"kept of .*cat0\.png is damaged, and the picture itself was changed since"):
        images(pools.labeled)
    assert_whole(root)


def test_views_of_the_pictures_are_checked_as_well(root: Path) -> None:
    whole = all_images(root)
    _, rows = kept(root)
    rows.write_bytes(bytes(20 * ROW))
    found = folder_cache.load(root, sorted(whole), ["train"] * 20, folder(root).how)
    assert np.array_equal(found.images.transpose(0, 2, 3, 1)[found.rows[:1]][0].transpose(2, 0, 1), whole[min(whole)])
    found = folder_cache.load(root, sorted(whole), ["train"] * 20, folder(root).how)
    assert np.array_equal(found.images[int(found.rows[3])], whole[sorted(whole)[3]])
    assert type(found.images[:2]) is np.ndarray


@pytest.mark.parametrize("instead", ["a link", "a folder", "a pipe"])
@pytest.mark.parametrize("kind", ["rows", "index", "lock"])
def test_nothing_is_written_to_what_is_no_plain_file(
    kind: str, instead: str, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert_whole(root)
    (path,) = (root / ".semisup-cache").glob(f"*.{kind}")
    for file in kept(root):
        file.unlink()
    path.unlink(missing_ok=True)
    (tmp_path / "precious").write_text("not to be written to")
    make = {"a link": lambda: path.symlink_to(tmp_path / "precious"), "a folder": path.mkdir}
    make.get(instead, lambda: os.mkfifo(path))()
    assert_whole(root)
    assert (tmp_path / "precious").read_text() == "not to be written to"
    assert str(tmp_path / "xdg") in capsys.readouterr().out


FORGED = {
    "of another length": [0, 1, "x", [], 5],
    "a place that is none": [-5, 3, "x", []],
    "text for a place": ["a", 3, "x", []],
    "a broken place": [0.5, 1, "x", []],
    "more than a disk holds": [0, 10**12, "x", []],
    "no records": [0, 1, "x", None],
    "a record that is none": [0, 1, "x", [5]],
    "no name": [0, 1, "x", [[["train/cat/cat0.png"]], []]],
    "a short record": [0, 1, "x", [["train/cat/cat0.png"]]],
    "a record of other things": [0, 1, "x", [["train/cat/cat0.png", "a", [1, "b"], "", "", "", [0, 0], None, 0, 0]]],
}


@pytest.mark.parametrize("what", FORGED)
def test_lines_that_no_store_writes_are_passed_over(what: str, root: Path) -> None:
    assert_whole(root)
    (index,) = (root / ".semisup-cache").glob("*.index")
    with index.open("ab") as file:
        file.write(store._sealed(FORGED[what]))
    assert_whole(root)
