"""Pictures of more than 8 bits, of signed numbers and of floats: their values, and what of them is black and white.

What is black and what is white must be the same for all pictures of a dataset, or what is dark in one would be as
bright as what is bright in another. So pictures are measured first, and `seen_range` holds for them all.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from math import ceil, floor, frexp
from typing import Any

import numpy as np
from PIL import Image, ImageOps
from PIL.ImageFile import ImageFile

Range = tuple[float, float]
INTEGERS, FLOATS = "integers", "floats"  # kinds of values, each with a range of its own

_USUAL = ((0.0, 256.0), (0.0, 4096.0), (0.0, 65536.0))
_USUAL_FLOATS = ((0.0, 1.0), (-1.0, 1.0))
_STRAY = 10_000  # one pixel in as many, at either end, may lie outside of the range: sensors have defects
_STRIP = 1 << 20  # values scaled at once
_PHOTOMETRIC, _BITS, _PLANES, _FORMAT = 262, 258, 284, 339  # tags of TIFF 6.0
_OTHER = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}  # the other order of a number's bytes


@dataclass
class Deep:
    """The values of a picture.

    Attributes:
        values: (H, W) or (H, W, bands), of any type of number.
        alpha: (H, W) uint8, how opaque each pixel is; None where all are.
        inverted: whether the least value is white.
    """

    values: np.ndarray
    alpha: np.ndarray | None = None
    inverted: bool = False

    @property
    def kind(self) -> str:
        """Of its values."""
        return FLOATS if self.values.dtype.kind == "f" else INTEGERS

    def measure(self) -> Range | None:
        """The least and the largest value, but for one stray pixel in ten thousand; None where none is finite."""
        values = self.values.reshape(-1)
        values = values[np.isfinite(values)] if self.kind == FLOATS else values
        if not values.size:
            return None
        stray = values.size // _STRAY
        ordered = np.partition(values, (stray, values.size - 1 - stray))
        return float(ordered[stray]), float(ordered[values.size - 1 - stray])

    def image(self, black: float, white: float) -> Image.Image:
        """As L, RGB or CMYK of 8 bits; LA or RGBA where not all of it is opaque."""
        levels = scaled(self.values, black, white)
        levels = np.atleast_3d(255 - levels if self.inverted else levels)
        mode = {1: "L", 3: "RGB", 4: "CMYK"}[levels.shape[2]]
        if self.alpha is not None:
            mode, levels = f"{mode}A", np.concatenate([levels, self.alpha[..., None]], axis=2)
        return Image.frombytes(mode, levels.shape[1::-1], levels.tobytes())


def deep(file: ImageFile, again: Callable[[], ImageFile]) -> Deep | None:
    """The values of an opened picture that has more than 8 bits, turned as its EXIF orientation says; None for others.

    Args:
        file: the picture, whose pixels are not loaded yet.
        again: opens it once more.
    """
    tags = getattr(file, "tag_v2", {})
    white_first = tags.get(_PHOTOMETRIC) == 0
    signed = tags.get(_FORMAT, (1,))[0] == 2
    if file.mode in ("I", "F") or file.mode.startswith("I;16") or (file.mode == "L" and signed):
        _in_native_order(file)
        values = np.asarray(upright(file))
        if file.mode == "I" and tags.get(_BITS, (0,))[0] == 32 and not signed:
            values = values.view(np.uint32)  # Pillow has no mode for it
        elif file.mode == "L":
            values, white_first = values.view(np.int8), False  # which Pillow has turned around
        elif file.format == "FITS" and file.mode != "F":
            values = values.view(f"i{values.itemsize}")
        alpha = None
        if (clear := file.info.get("transparency")) is not None:
            alpha = np.where(values == clear, 0, 255).astype(np.uint8)
        return Deep(values, alpha, white_first)
    raw = rawmode(file)
    if not raw.partition(";")[2].startswith("16") or file.mode not in ("RGB", "RGBA", "CMYK") or raw.startswith("RGBa"):
        return None
    return _from_bytes(file, raw, again)


def _from_bytes(file: ImageFile, raw: str, again: Callable[[], ImageFile]) -> Deep:
    """Colours of 16 bits, of which Pillow gives the upper bytes: the lower ones are read as if in the other order."""
    other = again()
    if raw.startswith("LA;16"):  # in a PNG: bytes of grey and opacity
        _unpack_as(other, "RGBA")
        upper, lower, alpha, _ = np.moveaxis(np.asarray(upright(other)), 2, 0)
        return Deep(upper.astype(np.uint16) << 8 | lower, _unless_opaque(alpha))
    _unpack_as(other, raw[:-1] + _OTHER[raw[-1]])
    lower, upper = (np.asarray(upright(image)) for image in (other, file))
    values = upper.astype(np.uint16) << 8 | lower
    if file.mode == "RGBA":
        return Deep(values[..., :3], _unless_opaque(upper[..., 3]))
    alpha = None
    if (clear := file.info.get("transparency")) is not None:
        alpha = np.where((values == np.array(clear)).all(axis=2), 0, 255).astype(np.uint8)
    return Deep(values, alpha)


def _unless_opaque(alpha: np.ndarray) -> np.ndarray | None:
    return None if (alpha == 255).all() else alpha


def _in_native_order(file: ImageFile) -> None:
    """Mends what Pillow takes for big-endian, though libtiff, which unpacks it, has put its bytes in order."""
    raw = rawmode(file)
    if raw[-2:-1] == "B" and file.tile[0][0] == "libtiff":
        _unpack_as(file, f"{raw[:-2]}N{raw[-1]}")


def _unpack_as(file: ImageFile, raw: str) -> None:
    """Has Pillow take the pixels, which it has yet to load, for stored otherwise."""
    tiles: list[Any] = file.tile
    for number, tile in enumerate(tiles):
        *where, args = tile
        make = getattr(type(tile), "_make", tuple)  # it has names since Pillow 11
        tiles[number] = make((*where, raw if isinstance(args, str) else (raw, *args[1:])))


def rawmode(file: ImageFile) -> str:
    """How the pixels of an opened picture are stored, in Pillow's words, such as "RGB;16B"; empty where it isn't said.

    Raises:
        OSError: Pillow would misread it.
    """
    args = file.tile[0][3] if file.tile else ""
    raw = args[0] if isinstance(args, tuple) and args else args
    tags = getattr(file, "tag_v2", {})
    if tags.get(_PLANES) == 2 and tags.get(_BITS, (8,))[0] > 8 and raw in tuple("RGBACMYK"):
        raise OSError("planes of more than 8 bits, whose rows Pillow takes for bytes")
    return raw if isinstance(raw, str) else ""


def upright(image: Image.Image) -> Image.Image:
    """The picture, turned in place as its EXIF orientation says, whatever else may be wrong in its EXIF."""
    image.load()  # what is wrong with the pixels is raised here
    with suppress(Exception):  # Pillow has turned it, and then writes all other tags anew
        ImageOps.exif_transpose(image, in_place=True)
    return image


def seen_range(low: float, high: float, kind: str) -> Range:
    """What is black and what is white where the values of all pictures of a kind go from `low` to `high`.

    The least of the usual ranges that holds them, where they fill a quarter of it at least: 0 to 1 and -1 to 1 for
    floating point, and 0 to 256, 4096 or 65536, of which `scaled` takes the upper eight bits. Otherwise they are
    rounded outward, to an eighth of the least power of two that is no less than high - low: 0..1023 to 0 and 1024,
    -1024..3071 to -1024 and 3072, 290..310 to 288 and 312. So a few more pictures mostly change nothing.
    """
    width = high - low
    for black, white in (_USUAL_FLOATS if kind == FLOATS else ()) + _USUAL:
        if black <= low and high <= white:
            if width >= (white - black) / 4:
                return black, white
            break
    fraction, exponent = frexp(width) if width > 0 else (0.5, 1)
    step = max(2.0 ** (exponent - (fraction == 0.5)) / 8, sys.float_info.min)
    bottom, top = floor(low / step) * step, ceil(high / step) * step
    return bottom, max(top, bottom + step)


def scaled(values: np.ndarray, black: float, white: float) -> np.ndarray:
    """Values of any type as uint8 of the same shape: floor(256 (v - black) / (white - black)), kept within 0..255.

    What is not a number is black.
    """
    levels8 = np.empty(values.shape, np.uint8)
    rows = max(1, _STRIP // max(1, values[:1].size))
    with np.errstate(all="ignore"):
        for row in range(0, len(values), rows):
            levels = (values[row : row + rows].astype(np.float64) - black) * 256 / (white - black)
            levels8[row : row + rows] = np.nan_to_num(levels, nan=0.0).clip(0, 255)
    return levels8
