"""Pictures of every kind of 8 bits: equal to Pillow, in colour and in grey, with what is transparent."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from picture_folders import SIZE, SQUARE, assert_equals_pillow, folder, images, kept, picture
from PIL import Image

from datamodules.folder import Folder
from semisup.data.picture import How, read, reading
from semisup.errors import InputError

SHAPES: dict[str, dict[str, Any]] = {
    "wide.jpg": {"width": 90, "height": 31},
    "tall.jpg": {"width": 17, "height": 60},
    "small.png": {"width": 3, "height": 7},
    "exact.png": {"width": SIZE, "height": SIZE},
    "L.png": {"mode": "L"},
    "LA.png": {"mode": "LA"},
    "LA.tif": {"mode": "LA"},
    "one.png": {"mode": "1"},
    "P.png": {"mode": "P"},
    "PA.tif": {"mode": "PA"},
    "P.gif": {"mode": "P"},
    "RGBA.png": {"mode": "RGBA"},
    "RGBA.webp": {"mode": "RGBA"},
    "RGBX.tif": {"mode": "RGBX"},
    "CMYK.jpg": {"mode": "CMYK"},
    "CMYK.tif": {"mode": "CMYK"},
    "YCbCr.tif": {"mode": "YCbCr"},
    "LAB.tif": {"mode": "LAB"},
    **{f"turned{k}.jpg": {"width": 40, "height": 20, "orientation": k} for k in range(1, 9)},
}


def test_every_kind_of_picture_equals_pillow(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, how in SHAPES.items():
        picture(root / "test" / name, **how)
    pools = folder(root).pools
    assert pools.test is not None and pools.test.names == sorted(f"test/{name}" for name in SHAPES)
    assert images(pools.test).dtype == torch.uint8 and pools.test.shape == (3, SIZE, SIZE)
    assert_equals_pillow(pools.test, root)
    assert_equals_pillow(pools.labeled, root)
    assert capsys.readouterr().out.startswith("data: resized")  # and nothing else is to be said


@pytest.mark.parametrize("mode", ["LAB", "CMYK", "YCbCr", "RGBX", "PA", "LA", "1"])
def test_every_kind_becomes_grey_by_way_of_its_colours(mode: str, tmp_path: Path) -> None:
    path = picture(tmp_path / "x.tif", *SQUARE, mode=mode)
    with reading(How(SIZE, 1)):
        grey = read(path, How(SIZE, 1), {}).pixels
    assert grey is not None
    assert np.array_equal(grey[..., 0], np.asarray(Image.open(path).convert("RGB").convert("L")))


# ---- what is transparent


@pytest.mark.parametrize(
    "kind", ["RGBA.png", "LA.png", "RGBA.webp", "RGBA.tif", "P.png", "P.gif", "PA.tif", "tRNS.png"]
)
@pytest.mark.parametrize("background", ["white", "#ff8000", "black"])
def test_what_is_transparent_shows_the_background(background: str, kind: str, tmp_path: Path) -> None:
    red, green, blue = {"white": (255, 255, 255), "#ff8000": (255, 128, 0), "black": (0, 0, 0)}[background]
    rgba = np.zeros((*SQUARE, 4), np.uint8)
    rgba[:, 8:] = (90, 90, 90, 255)
    image, more = Image.fromarray(rgba), {}
    if kind.startswith("P"):
        image = image.convert("RGB").quantize(2)
        image.info["transparency"] = clear = image.getpixel((0, 0))
        more = {"transparency": clear}
        image = image.convert("PA") if kind == "PA.tif" else image
    elif kind.startswith("LA"):
        image = image.convert("LA")
    elif kind.startswith("tRNS"):
        image, more = image.convert("RGB"), {"transparency": (0, 0, 0)}
    image.save(tmp_path / kind, **more, **({"lossless": True} if kind.endswith("webp") else {}))
    data = Folder(str(tmp_path), image_size=SIZE, background=background)
    with reading(data.how):
        found = read(tmp_path / kind, data.how, {}).pixels
    assert found is not None and (found[:, :8] == (red, green, blue)).all() and (found[:, 8:] == 90).all()


def test_what_is_half_transparent_is_half_the_background(tmp_path: Path) -> None:
    Image.new("RGBA", SQUARE, (100, 200, 0, 51)).save(tmp_path / "x.png")
    how = How(SIZE, background=(0, 100, 200))
    with reading(how):
        found = read(tmp_path / "x.png", how, {}).pixels
    assert found is not None and (found == (20, 120, 160)).all()  # a fifth and four fifths


def test_a_background_is_a_colour_and_has_a_cache_of_its_own(root: Path) -> None:
    for number in range(2):
        Image.new("RGBA", (20, 20), (0, 0, 0, 0)).save(
            (root / "unlabeled").mkdir(exist_ok=True) or root / f"unlabeled/{number}.png"
        )
    for background, value in (("white", 255), ("black", 0), ("white", 255)):
        assert (images(folder(root, background=background).pools.without_label) == value).all()
    with pytest.raises(InputError, match=r"data\.background is 'whyte', but must be a colour: a name such as white"):
        folder(root, background="whyte")


# ---- sizes


def test_grey_pictures_stay_one_channel_and_colours_become_grey(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for part in ("train/dark", "train/light"):
        (tmp_path / part).mkdir(parents=True)
        for number in range(5):
            Image.fromarray(rng.integers(0, 256, (28, 28), np.uint8)).save(tmp_path / part / f"{number}.png")
    Image.fromarray(rng.integers(0, 256, (28, 28, 3), np.uint8)).save(tmp_path / "train/light/4.png")
    data = Folder(str(tmp_path), image_size=28, channels=1)
    assert data.spec.channels == 1 and data.pools.val is not None
    found = 0
    for pool in (data.pools.labeled, data.pools.val):
        assert pool.shape == (1, 28, 28)
        for index, image in enumerate(images(pool)):
            expected = np.asarray(Image.open(tmp_path / pool.name(index)).convert("L"))
            assert np.array_equal(image[0], expected)
            found += 1
    assert found == 10
    assert Folder(str(tmp_path), image_size=28).pools.labeled.shape == (3, 28, 28)  # and has a cache of its own
    assert [path.suffix for path in kept(tmp_path)] == [".index", ".rows"] * 2


@pytest.mark.parametrize("ending", ["jpg", "png", "webp"])
@pytest.mark.parametrize(
    ("tag", "kind", "value"), [(0x128, 2, b"\0\0\0\0"), (0x11A, 2, b"abc\0"), (0x8769, 4, b"\xff" * 4)]
)
def test_a_picture_is_turned_whatever_else_its_exif_holds(
    tag: int, kind: int, value: bytes, ending: str, tmp_path: Path
) -> None:
    """Cameras and programs write tags of other types than they should be of."""
    entries = struct.pack("<HHIHH", 0x112, 3, 1, 6, 0) + struct.pack("<HHI", tag, kind, 1 if kind == 4 else 4) + value
    odd = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 2) + entries + bytes(4)
    right = Image.Exif()
    right[0x112] = 6
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 24, 3), dtype=np.uint8))
    for name, exif in {"right": right.tobytes(), "odd": odd}.items():
        (tmp_path / name).mkdir()
        image.save(tmp_path / f"{name}/x.{ending}", exif=exif)
    how = How(SIZE)
    with reading(how):
        expected, found = (read(tmp_path / name / f"x.{ending}", how, {}).pixels for name in ("right", "odd"))
    assert expected is not None and found is not None and np.array_equal(found, expected)
