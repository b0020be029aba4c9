"""Files that can't be read as pictures, or not whole: what is said of them."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest
from picture_folders import SQUARE, assert_equals_pillow, bomb, by_name, folder, kept, naive, picture
from PIL import Image

from semisup.data import picture as reader


def test_what_is_no_picture_is_named_counted_and_left_out(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = root / "train/cat/cut.jpg"
    picture(bad, 200, 200)
    bad.write_bytes(bad.read_bytes()[:2000])
    (root / "train/dog/empty.png").touch()
    (root / "unlabeled").mkdir()
    (root / "unlabeled/notes.txt").write_text("not a picture")
    (root / "unlabeled/gone.jpg").symlink_to(root / "nowhere.jpg")
    (root / "unlabeled/loop.jpg").symlink_to("loop.jpg")
    os.mkfifo(root / "unlabeled/pipe.jpg")
    bomb(root / "unlabeled/bomb.png")
    picture(root / "unlabeled/good.png")
    (root / "train/cat/.hidden").write_text("ignored")
    (root / "train/.hidden").mkdir()
    for _ in range(2):  # made, and then reused
        pools = folder(root).pools
        out = capsys.readouterr().out
        listed = "train/cat/cut.jpg, train/dog/empty.png, unlabeled/notes.txt, unlabeled/pipe.jpg"
        assert f"data: 4 of 28 files are not readable pictures, and are left out: {listed}\n" in out
        assert "data: 2 of 28 files are broken links, and are left out: unlabeled/gone.jpg, unlabeled/loop.jpg\n" in out
        large = "of more pixels than the 179 million of --data.max_megapixels, and are left out: unlabeled/bomb.png\n"
        assert f"data: 1 of 28 files are {large}" in out
        assert pools.without_label is not None and pools.without_label.names == ["unlabeled/good.png"]
        assert len(pools.labeled) == 16
        assert_equals_pillow(pools.labeled, root)
        assert_equals_pillow(pools.without_label, root)
    assert [path.suffix for path in kept(root)] == [".index", ".rows"]


def test_only_ten_unreadable_files_are_named(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(13):
        (root / f"train/cat/x{number:02}.jpg").touch()
    folder(root).read()
    out = capsys.readouterr().out
    assert "13 of 33 files" in out and "train/cat/x09.jpg and 3 more\n" in out and "x10" not in out


@pytest.mark.parametrize("brand", [b"heic", b"heix", b"mif1"])
def test_heic_without_its_reader_is_told(
    brand: bytes, root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)  # as if it were not installed
    reader.heif_version.cache_clear()
    try:
        (root / "unlabeled").mkdir()
        (root / "unlabeled/x.jpg").write_bytes(b"\0\0\0\x18ftyp" + brand + bytes(40))  # whatever its name
        assert folder(root).pools.without_label is None
    finally:
        reader.heif_version.cache_clear()
    told = "HEIC, which takes a package to read: type pip install pillow-heif, and are left out: unlabeled/x.jpg"
    assert told in capsys.readouterr().out


def test_heic_is_read_once_its_reader_is_there(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    image = Image.open(picture(root.parent / "x.png", 64, 48))
    (root / "unlabeled").mkdir()
    pillow_heif.from_pillow(image).save(root / "unlabeled/x.heic", quality=-1)
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "pillow_heif", None)
        reader.heif_version.cache_clear()
        for name in ("HEIF", "AVIF"):  # registered by an earlier test
            if name == "HEIF" and name in Image.OPEN:
                Image.OPEN.pop(name)
                Image.ID.remove(name)
        assert folder(root).pools.without_label is None and "pip install pillow-heif" in capsys.readouterr().out
    reader.heif_version.cache_clear()
    found = by_name(folder(root).pools.without_label)["unlabeled/x.heic"]
    assert np.abs(found.astype(int) - naive(root.parent / "x.png")).max() <= 8  # it subsamples colours
    assert "pillow-heif" not in capsys.readouterr().out


def test_of_several_frames_or_pages_the_first_is_used_and_it_is_said_once(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (root / "unlabeled").mkdir()
    first, second = (Image.new("RGB", SQUARE, colour) for colour in ("white", "black"))
    names = [f"unlabeled/x.{ending}" for ending in ("gif", "png", "tif", "webp")]
    for name in names:
        first.save(root / name, save_all=True, append_images=[second, first])
    first.save(root / "unlabeled/single.gif")
    for _ in range(2):
        found = by_name(folder(root).pools.without_label)
        assert len(found) == 5 and all((image >= 254).all() for image in found.values())
        said = [line for line in capsys.readouterr().out.splitlines() if "several pages" in line]
        assert said == [
            f"data: 4 of 25 files hold several pages or frames, of which the first is used: {', '.join(names)}"
        ]
