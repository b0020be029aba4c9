"""Pictures of more than 8 bits: what is black and white in them, and that no contrast is lost."""

from __future__ import annotations

from collections.abc import Callable
from math import isnan
from pathlib import Path

import numpy as np
import pytest
from picture_folders import SIZE, SQUARE, by_name, folder, png16, tiff
from PIL import Image

from semisup.data.deep import FLOATS, INTEGERS, Deep, scaled, seen_range
from semisup.data.picture import How, read, reading
from semisup.errors import InputError


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
