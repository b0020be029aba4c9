"""Pictures of every kind: equal to Pillow where Pillow sees all of them, and where it doesn't, to what they hold."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import zlib
from collections.abc import Callable
from math import isnan
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from picture_folders import (
    SIZE,
    assert_equals_pillow,
    bomb,
    by_name,
    cats_and_dogs,
    folder,
    images,
    kept,
    naive,
    picture,
    png,
    png16,
    tiff,
)
from PIL import Image

from datamodules.folder import Folder
from semisup.data import picture as reader
from semisup.data.deep import FLOATS, INTEGERS, Deep, scaled, seen_range
from semisup.data.picture import Budget, How, read, reading
from semisup.errors import InputError

SQUARE = (SIZE, SIZE)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Ten pictures of cats and ten of dogs."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    return cats_and_dogs(tmp_path / "data")


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


# ---- more than 8 bits


def levels(values: np.ndarray, black: float, white: float) -> np.ndarray:
    """The rule, number by number: floor(256 (v - black) / (white - black)) within 0..255; 0 for what is no number."""

    def level(value: float) -> int:
        return (
            0
            if value <= black or isnan(value)
            else 255
            if value >= white
            else int(256 * (value - black) / (white - black))
        )

    with np.errstate(invalid="ignore"):
        return np.vectorize(level, otypes=[np.uint8])(values.astype(np.float64))


def smooth(seed: int, shape: tuple[int, ...] = SQUARE) -> np.ndarray:
    """Values from 0 to 1 that differ."""
    return np.random.default_rng(seed).random(shape)


def whole(dtype: str, low: int, high: int) -> Callable[[np.ndarray], np.ndarray]:
    return lambda unit: (low + unit * (high - low)).round().astype(dtype)


KINDS: dict[str, tuple[str, Callable[[np.ndarray], np.ndarray], tuple[float, float]]] = {
    # how it is written, the values of something from 0 to 1, and what is black and white
    "12 bits in 16": ("x.png", whole("<u2", 0, 4095), (0, 4096)),
    "10 bits in 16": ("x.tif", whole("<u2", 0, 1023), (0, 1024)),
    "all 16 bits": ("x.png", whole("<u2", 0, 65535), (0, 65536)),
    "8 bits in 16": ("x.png", whole("<u2", 0, 255), (0, 256)),
    "16 bits, big-endian": ("x.tif", whole(">u2", 0, 4095), (0, 4096)),
    "16 bits, packed": ("packed.tif", whole(">u2", 0, 4095), (0, 4096)),
    "Hounsfield units": ("x.tif", whole("<i2", -1024, 3071), (-1024, 3072)),
    "signed 16 bits, big-endian and packed": ("packed.tif", whole(">i2", -1024, 3071), (-1024, 3072)),
    "signed 8 bits": ("x.tif", whole("i1", -128, 127), (-128, 128)),
    "signed 32 bits": ("x.tif", whole("<i4", -1000, 1000), (-1024, 1024)),
    "signed 32 bits, big-endian and packed": ("packed.tif", whole(">i4", 0, 100_000), (0, 114_688)),
    "32 bits": ("x.tif", whole("<u4", 0, 2**32 - 1), (0, 2**32)),
    "floats to 1": ("x.tif", lambda unit: unit.astype("<f4"), (0, 1)),
    "floats to 255": ("x.tif", lambda unit: (255 * unit).astype("<f4"), (0, 256)),
    "floats from -1 to 1": ("x.tif", lambda unit: (2 * unit - 1).astype("<f4"), (-1, 1)),
    "kelvins": ("x.tif", lambda unit: (290 + 20 * unit).astype("<f4"), (288, 312)),
    "floats of tiny values": ("x.tif", lambda unit: (unit * 1e-30).astype("<f4"), (0, 6 * 2.0**-102)),
    "floats of huge values": ("x.tif", lambda unit: ((unit - 0.5) * 1e38).astype("<f4"), (-3 * 2.0**124, 3 * 2.0**124)),
    "floats, big-endian": ("x.tif", lambda unit: unit.astype(">f4"), (0, 1)),
    "floats, big-endian and packed": ("packed.tif", lambda unit: unit.astype(">f4"), (0, 1)),
}


def written(path: Path, values: np.ndarray) -> Path:
    if path.suffix == ".png":
        return png16(path, values)
    return tiff(path, values, packed=path.stem == "packed")


@pytest.mark.parametrize("kind", KINDS)
def test_deep_pictures_are_seen_with_their_contrast_by_one_rule(kind: str, tmp_path: Path) -> None:
    name, values_of, (black, white) = KINDS[kind]
    expected = {}
    for part, low, high in (("cat", 0.0, 0.4), ("dog", 0.6, 1.0)):  # dark ones and bright ones
        for number in range(5):
            unit = low + smooth(number) * (high - low)
            unit[0, :2] = [(0, 0.02), (0.98, 1)][part == "dog"]
            unit[0, 0 if part == "cat" else 1] = part == "dog"
            path = written(tmp_path / f"train/{part}/{number}{name}", values := values_of(unit))
            expected[path.relative_to(tmp_path).as_posix()] = levels(values, black, white)
    data = folder(tmp_path)
    found = by_name(data.pools.labeled) | by_name(data.pools.val)
    assert found.keys() == expected.keys()
    for path_name, image in found.items():
        assert image.shape == (3, SIZE, SIZE) and np.array_equal(image[1], image[0]), path_name
        assert np.array_equal(image[0], expected[path_name]), path_name
    means = {part: np.mean([image.mean() for n, image in found.items() if f"/{part}/" in n]) for part in ("cat", "dog")}
    assert means["dog"] - means["cat"] > 70  # what differs in the pictures differs in what is seen of them


@pytest.mark.parametrize("bands", [2, 3, 4])
@pytest.mark.parametrize("most", [4095, 65535])
def test_colours_of_16_bits_keep_all_their_bits(most: int, bands: int, tmp_path: Path) -> None:
    for part in ("cat", "dog"):
        for number in range(5):
            values = whole("<u2", 0, most)(smooth(number, (*SQUARE, bands)))
            values[0, :2] = np.array([[0], [most]])
            if bands != 3:
                values[..., -1] = 65535  # opaque
            png16(tmp_path / f"train/{part}/{number}.png", values)
    found = by_name(folder(tmp_path).pools.labeled)
    for name, image in found.items():
        values = whole("<u2", 0, most)(smooth(int(Path(name).stem), (*SQUARE, bands)))
        values[0, :2] = np.array([[0], [most]])
        expected = levels(values, 0, most + 1).transpose(2, 0, 1)
        assert np.array_equal(image, expected[:3] if bands > 2 else np.repeat(expected[:1], 3, axis=0)), name


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("packed", [False, True])
def test_colour_tiffs_of_16_bits_in_either_order(packed: bool, order: str, tmp_path: Path) -> None:
    values = whole(f"{order}u2", 0, 4095)(smooth(0, (*SQUARE, 3)))
    tiff(tmp_path / "x.tif", values, packed)
    with reading(How(SIZE)):
        found = read(tmp_path / "x.tif", How(SIZE), {INTEGERS: (0, 4096)})
    assert (found.kind, found.low, found.high) == (INTEGERS, float(values.min()), float(values.max()))
    assert found.pixels is not None and np.array_equal(found.pixels, levels(values, 0, 4096))


def test_where_white_comes_first_it_stays_white(tmp_path: Path) -> None:
    how, unit = How(SIZE, 1), smooth(0)
    for values, kind, white in ((whole("<u2", 0, 4095)(unit), INTEGERS, 4096), (unit.astype("<f4"), FLOATS, 1)):
        tiff(tmp_path / "x.tif", values, white_first=True)
        with reading(how):
            found = read(tmp_path / "x.tif", how, {kind: (0, white)}).pixels
        assert found is not None and np.array_equal(found[..., 0], 255 - levels(values, 0, white))


def test_what_is_not_a_number_is_black_and_the_rest_keeps_its_contrast(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    values = smooth(1).astype("<f4")
    values[0, :4] = (np.nan, -np.inf, np.inf, 1)
    tiff(root / "unlabeled/some.tif", values)
    tiff(root / "unlabeled/none.tif", np.full(SQUARE, np.nan, "<f4"))
    found = by_name(folder(root).pools.without_label)
    assert list(found) == ["unlabeled/some.tif"] and np.array_equal(
        found["unlabeled/some.tif"][0], levels(values, 0, 1)
    )
    assert found["unlabeled/some.tif"][0, 0, :4].tolist() == [0, 0, 255, 255]
    out = capsys.readouterr().out
    assert "1 of 22 files are without a single finite value, and are left out: unlabeled/none.tif\n" in out
    assert "1 of 22 files hold numbers in floating point, seen from 0 (black) to 1 (white); --data.black and" in out


def test_deep_pictures_with_something_transparent(tmp_path: Path) -> None:
    how, values = How(SIZE, background=(255, 0, 0)), whole("<u2", 0, 4095)(smooth(2))
    opaque = np.where(np.arange(SIZE) < 8, 0, 65535).astype("<u2")
    with reading(how):
        for name, stored, chunks in (
            ("LA", np.stack([values, np.broadcast_to(opaque, SQUARE)], axis=2), {}),
            ("RGBA", np.stack([values] * 3 + [np.broadcast_to(opaque, SQUARE)], axis=2), {}),
            ("L", np.where(opaque > 0, values, 7777), {"tRNS": (7777).to_bytes(2, "big")}),
            (
                "RGB",
                np.stack([np.where(opaque > 0, values, 7777)] * 3, axis=2),
                {"tRNS": (7777).to_bytes(2, "big") * 3},
            ),
        ):
            path = png16(tmp_path / f"{name}.png", stored.astype("<u2"), **chunks)
            found = read(path, how, {INTEGERS: (0, 4096)}).pixels
            assert found is not None and (found[:, :8] == (255, 0, 0)).all(), name
            assert np.array_equal(found[:, 8:, 1], levels(values, 0, 4096)[:, 8:]), name


@pytest.mark.parametrize(
    ("low", "high", "kind", "expected"),
    [
        (0, 255, INTEGERS, (0, 256)),
        (0, 64, INTEGERS, (0, 256)),
        (0, 63, INTEGERS, (0, 64)),
        (100, 4000, INTEGERS, (0, 4096)),
        (0, 20_000, INTEGERS, (0, 65_536)),
        (30_000, 31_000, INTEGERS, (29_952, 31_104)),
        (0, 70_000, INTEGERS, (0, 81_920)),
        (-128, 127, INTEGERS, (-128, 128)),
        (7, 7, INTEGERS, (7, 7.125)),
        (0, 1, INTEGERS, (0, 1)),
        (0.23, 0.86, FLOATS, (0, 1)),
        (0, 0.2, FLOATS, (0, 0.21875)),
        (-0.5, 0.5, FLOATS, (-1, 1)),
        (0, 0, FLOATS, (0, 0.125)),
        (0.4, 0.6, FLOATS, (0.375, 0.625)),
        (-1e-3, 1, FLOATS, (-1, 1)),
    ],
)
def test_what_is_black_and_white_by_the_bounds_of_the_values(
    low: float, high: float, kind: str, expected: tuple[float, float]
) -> None:
    assert seen_range(low, high, kind) == expected


def test_the_range_holds_all_values_and_most_levels_are_used() -> None:
    rng = np.random.default_rng(0)
    for _ in range(2000):
        low, high = np.sort(rng.normal(size=2) * 10.0 ** rng.integers(-20, 20))
        black, white = seen_range(low, high, (INTEGERS, FLOATS)[rng.integers(2)])
        assert black <= low <= high <= white and (high - low) / (white - black) >= 0.25
        assert (
            scaled(np.array([[low, high]]), black, white).tolist()[0]
            == levels(np.array([low, high]), black, white).tolist()
        )


def test_a_defective_pixel_in_ten_thousand_changes_nothing() -> None:
    values = np.arange(20_000, dtype=np.uint16).reshape(100, 200)
    assert Deep(values).measure() == (2.0, 19_997.0)  # two of 20,000 at either end
    values[50, 60:62] = 65_535
    assert Deep(values).measure() == (2.0, 19_999.0)
    assert Deep(values[:10]).measure() == (0.0, 1999.0)  # fewer than ten thousand: none is stray


def test_the_training_pictures_say_what_is_black_and_white_unless_it_is_typed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    values = whole("<u2", 0, 4095)(smooth(0))
    values[0, :2] = (0, 4095)
    for part in ("cat", "dog"):
        for number in range(5):
            png16(tmp_path / f"train/{part}/{number}.png", values)
    brighter = whole("<u2", 0, 60_000)(smooth(1))
    png16(tmp_path / "test/bright.png", brighter)
    assert np.array_equal(by_name(folder(tmp_path).pools.test)["test/bright.png"][0], levels(brighter, 0, 4096))
    assert "11 of 11 files hold integers of more than 8 bits or with a sign, seen from 0 (black) to 4096 (white)" in (
        capsys.readouterr().out
    )
    for typed, (black, white) in (
        ({"black": 1000.0, "white": 2000.0}, (1000, 2000)),
        ({"white": 60_000.0}, (0, 60_000)),
        ({"black": -4096.0}, (-4096, 4096)),
    ):
        found = by_name(folder(tmp_path, **typed).pools.test)["test/bright.png"][0]
        assert np.array_equal(found, levels(brighter, black, white)), typed
    with pytest.raises(
        InputError, match=r"from 5000 \(black\) to 4096 \(white\), where they hold 0 to 4095; type both"
    ):
        _ = folder(tmp_path, black=5000.0).pools
    with pytest.raises(InputError, match=r"data\.black is 2\.0, but must be less than data\.white, which is 1\.0"):
        folder(tmp_path, black=2.0, white=1.0)
    with pytest.raises(InputError, match=r"data\.white is nan, but must be a finite number"):
        folder(tmp_path, white=float("nan"))


def test_new_pictures_that_change_the_range_change_all_of_their_kind(root: Path) -> None:
    small, large = smooth(0).astype("<f4"), (300 * smooth(1)).astype("<f4")

    def found() -> dict[str, np.ndarray]:
        pools = folder(root).pools
        return by_name(pools.labeled) | by_name(pools.val)

    tiff(root / "train/cat/small.tif", small)
    assert np.array_equal(found()["train/cat/small.tif"][0], levels(small, 0, 1))
    tiff(root / "train/dog/large.tif", large)
    assert np.array_equal(found()["train/cat/small.tif"][0], levels(small, 0, 320))
    assert np.array_equal(found()["train/dog/large.tif"][0], levels(large, 0, 320))
    (root / "train/dog/large.tif").unlink()
    assert np.array_equal(found()["train/cat/small.tif"][0], levels(small, 0, 1))


def test_where_nothing_is_to_be_seen_it_is_said(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(12):
        (root / "train/yak").mkdir(exist_ok=True)
        Image.new("RGB", (20, 20), (number, 7, 9)).save(root / f"train/yak/{number:02}.png")
    Image.new("RGB", (20, 20), "white").save(root / "train/cat/white.png")  # one of many is nobody's business
    for _ in range(2):  # made, and then reused
        _ = folder(root).pools
        listed = ", ".join(f"train/yak/{number:02}.png" for number in range(10))
        said = [line for line in capsys.readouterr().out.splitlines() if "warning" in line]
        assert said == [
            "data: warning: every picture of train/yak is of one colour, so that nothing can be learned from them: "
            f"{listed} and 2 more"
        ]


def test_pictures_that_lose_their_contrast_are_named(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(3):
        tiff(root / f"train/cat/{number}.tif", (255 * smooth(number)).astype("<f4"))
        tiff(root / f"train/dog/{number}.tif", smooth(number).astype("<f4"))  # from 0 to 1, unlike the cats
    _ = folder(root).pools
    lost = (
        "data: warning: in 3 of them nothing is to be seen like that: train/dog/0.tif, train/dog/1.tif, train/dog/2.tif"
    )
    assert lost in capsys.readouterr().out


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


@pytest.mark.parametrize("upright", [True, False])
def test_a_strip_is_cut_before_it_is_enlarged(upright: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int]] = []
    resize = Image.Image.resize

    def watched(image: Image.Image, to: tuple[int, int], *args: Any) -> Image.Image:
        asked.append(to)
        return resize(image, to, *args)

    monkeypatch.setattr(Image.Image, "resize", watched)
    pixels = np.zeros((4001, 2, 3), dtype=np.uint8)
    pixels[1980:2020] = (0, 0, 255)
    Image.fromarray(pixels if upright else pixels.transpose(1, 0, 2)).save(tmp_path / "x.png")
    with reading(How(SIZE)):
        square = read(tmp_path / "x.png", How(SIZE), {}).pixels
    assert square is not None and square.shape == (SIZE, SIZE, 3) and (square == (0, 0, 255)).all()
    assert asked == [(SIZE, 8 * SIZE) if upright else (8 * SIZE, SIZE)]


def test_a_very_large_jpeg_is_decoded_smaller_and_looks_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resized: list[tuple[int, int]] = []
    resize = Image.Image.resize

    def watched(image: Image.Image, to: tuple[int, int], *args: Any) -> Image.Image:
        resized.append(image.size)
        return resize(image, to, *args)

    picture(tmp_path / "x.jpg", 6000, 4000)
    expected = naive(tmp_path / "x.jpg").transpose(1, 2, 0).astype(int)
    picture(tmp_path / "smaller.jpg", 600, 400)
    monkeypatch.setattr(Image.Image, "resize", watched)
    with reading(How(SIZE)):
        found = read(tmp_path / "x.jpg", How(SIZE), {}).pixels
        read(tmp_path / "smaller.jpg", How(SIZE), {})
    assert resized == [(750, 500), (600, 400)]
    assert found is not None and np.abs(found.astype(int) - expected).max() <= 3


# ---- memory


def test_a_budget_is_never_exceeded_and_the_largest_is_alone() -> None:
    budget, lock, errors = Budget(100), threading.Lock(), []
    held: list[int] = []

    def work(seed: int) -> None:
        for cost in np.random.default_rng(seed).integers(1, 140, 60).tolist():
            with budget.take(cost):
                with lock:
                    held.append(cost)
                    if sum(held) > 100 and len(held) > 1:
                        errors.append(list(held))
                with lock:
                    held.remove(cost)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == [] and held == []
    with pytest.raises(ZeroDivisionError), budget.take(100):
        _ = 1 / 0
    with budget.take(100):  # was given back
        pass


def test_large_pictures_are_read_within_the_bound_of_memory(tmp_path: Path) -> None:
    """Four threads read pictures one at a time, and of each kind one takes no more than it is taken to need.

    The kinds come in the order of that, since what the system tells is the most memory that a process ever took.
    """
    side, kinds = 3000, ("RGBA png 4", "LA png 1", "RGB webp 1", "RGBA jp2 1")
    for number, (mode, suffix, threads) in enumerate(map(str.split, kinds)):
        large = tmp_path / f"{number}0.{suffix}"
        Image.new("RGBA", (side, side), (9, 99, 0, 99)).convert(mode).save(large)
        for copy in range(1, int(threads)):
            shutil.copy(large, tmp_path / f"{number}{copy}.{suffix}")
    script = f"""
from multiprocessing.pool import ThreadPool
from pathlib import Path
from PIL import Image
from semisup.data import picture
from semisup.data.picture import Budget, How, read, reading
def most():
    status = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    return 1024 * int(status["VmHWM"].split()[0])  # getrusage has the memory of who started this process in it
picture._budget = Budget(1)  # byte: each is read alone
how = How(16)
with reading(how), ThreadPool(4) as pool:
    pool.map(lambda name: 1, range(4))
    before = most()
    for kind in range({len(kinds)}):
        paths = sorted(Path({str(tmp_path)!r}).glob(f"{{kind}}*"))
        with Image.open(paths[0]) as file:
            cost = picture._draft(file, how)
        found = pool.map(lambda path: read(path, how, {{}}).pixels, paths)
        assert all(pixels.shape == (16, 16, 3) for pixels in found)
        print(paths[0].name, cost, most() - before)
"""
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    lines = [line.split() for line in found.stdout.splitlines()]
    kept = 1 << 25  # bytes that the C library may keep of what was freed
    assert len(lines) == len(kinds) and all(side**2 < int(taken) < int(cost) + kept for _, cost, taken in lines), lines


# ---- what can't be read, and why


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


def test_a_limit_of_pixels_can_be_raised_and_lowered(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bomb(root / "unlabeled/x.png", 1200)  # 1.44 megapixels
    for limit, readable in ((179, True), (1.4, False), (1.5, True), (1.4, False), (179, True)):
        pool = folder(root, max_megapixels=limit).pools.without_label
        assert (pool is not None) == readable, limit
        told = f"of more pixels than the {limit:g} million of --data.max_megapixels, and are left out: unlabeled/x.png"
        assert (told in capsys.readouterr().out) != readable, limit
        if pool is not None:
            assert (images(pool) == 255).all()
    for wrong in (0, -1, float("nan"), float("inf")):
        with pytest.raises(InputError, match=r"data\.max_megapixels is .*, but must be more than 0"):
            folder(root, max_megapixels=wrong)


@pytest.mark.parametrize("chunk", ["zTXt", "iTXt", "iCCP"])
def test_a_limit_of_metadata_can_be_raised(chunk: str, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    packed = zlib.compress(bytes(3 << 20) if chunk == "iCCP" else b"a" * (3 << 20))
    more = {"zTXt": b"k\0\0", "iTXt": b"k\0\1\0\0\0", "iCCP": b"p\0\0"}[chunk] + packed
    png(root / "unlabeled/x.png", 20, 20, 8, 0, (b"\0" + b"\x80" * 20) * 20, **{chunk: more})
    for limit, readable in ((1, False), (4, True), (1, False), (4, True)):
        pool = folder(root, max_metadata_mb=limit).pools.without_label
        assert (pool is not None) == readable
        told = "are PNGs with more text or profile than the 1 MB of --data.max_metadata_mb, and are left out: unlabeled"
        assert (told in capsys.readouterr().out) != readable
        if pool is not None:
            assert (images(pool) == 128).all()


def test_the_limits_of_others_are_left_as_they_were(root: Path) -> None:
    from PIL import PngImagePlugin

    before = Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY
    _ = folder(root, max_megapixels=1000, max_metadata_mb=50).pools
    assert before == (Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY)


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
