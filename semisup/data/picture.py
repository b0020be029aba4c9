"""One picture of any size, depth and kind, read as a square of bytes, within a bound of memory."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np
from PIL import Image, ImageColor, PngImagePlugin
from PIL import __version__ as pillow_version
from PIL.ImageFile import ImageFile

from semisup.data.deep import Range, deep, rawmode, upright
from semisup.errors import InputError

READER = f"3, Pillow {pillow_version}"  # the version of this file: pixels of another one may be others

MEMORY = 1 << 30  # bytes that the pictures being read may take together; a larger one is read alone
_PLAIN, _DEEP, _PROGRESSIVE = 12, 24, 6  # bytes that reading takes for each pixel, at most; the last one on top
_CLEAR = 2  # on top where what is transparent is converted first
_DECODERS = {"AVIF": 12, "HEIF": 12, "JPEG2000": 16, "WEBP": 12}  # on top, for values of the decoder's own
_BLOCK = 1 << 26  # bytes that Pillow asks for at once; the C library keeps up to half as many for later
_DRAFT = MEMORY // 4  # bytes beyond which a JPEG is decoded at a half, a quarter or an eighth of its size
_DRAFTED = 4  # times the size wanted, which a JPEG decoded like that is at least
_LONGEST = 8  # how many times longer than wide a picture is resized as a whole
_FLAT = 2  # levels of 255 that the pixels of a picture differ at most where nothing can be seen in it


@dataclass(frozen=True)
class How:
    """How pictures are made equal.

    Attributes:
        size: height and width in pixels.
        channels: 3 for RGB, 1 for grey.
        background: (red, green, blue) behind what is transparent.
        black: the value that is black in pictures of more than 8 bits; None to measure it.
        white: the value that is white in them, or None.
        max_megapixels: pictures of more are refused.
        max_metadata_mb: PNGs with more megabytes of text or profile in one piece are refused.
    """

    size: int
    channels: int = 3
    background: tuple[int, int, int] = (255, 255, 255)
    black: float | None = None
    white: float | None = None
    max_megapixels: float = 179
    max_metadata_mb: float = 1

    @property
    def shape(self) -> tuple[int, int, int]:
        """(H, W, C) of every picture."""
        return self.size, self.size, self.channels

    @property
    def range(self) -> Range | None:
        """What is black and what is white, where neither must be measured."""
        return None if self.black is None or self.white is None else (self.black, self.white)


def colour(text: str) -> tuple[int, int, int]:
    """Red, green and blue of `--data.background`.

    Raises:
        InputError: it is no colour.
    """
    try:
        red, green, blue, *_ = ImageColor.getrgb(text)
    except ValueError as error:
        raise InputError(
            f"data.background is {text!r}, but must be a colour: a name such as white, or red, green and blue such as "
            f"'#ff8000'"
        ) from error
    return red, green, blue


@dataclass(frozen=True)
class Reading:
    """What came of reading a file.

    Attributes:
        pixels: (size, size, channels) uint8; None where the file can't be read, or its range isn't known yet.
        reason: why it can't be read: one of `REASONS`, or the operating system's words; empty where it can.
        passing: whether the reason may be gone the next time, the file being the same.
        kind: what a picture of more than 8 bits is of, such as "float"; empty for all others.
        low: the least value of such a picture, but for a few stray ones.
        high: the largest one.
        several: whether the file has more pages or frames; the first one is used.
        heif: whether pillow-heif reads it.
    """

    pixels: np.ndarray | None = None
    reason: str = ""
    passing: bool = False
    kind: str = ""
    low: float = 0.0
    high: float = 0.0
    several: bool = False
    heif: bool = False

    @property
    def flat(self) -> bool:
        """Whether nothing is to be seen in it: it is of one colour."""
        return self.pixels is not None and bool((np.ptp(self.pixels, axis=(0, 1)) <= _FLAT).all())


UNREADABLE, LARGE, METADATA, HEIF, EMPTY, MEMORY_FULL = "unreadable", "large", "metadata", "heif", "empty", "memory"
REASONS = {
    UNREADABLE: "not readable pictures",
    LARGE: "of more pixels than the {how.max_megapixels:g} million of --data.max_megapixels",
    METADATA: "PNGs with more text or profile than the {how.max_metadata_mb:g} MB of --data.max_metadata_mb",
    HEIF: "HEIC, which takes a package to read: type pip install pillow-heif",
    EMPTY: "without a single finite value",
    MEMORY_FULL: "larger than the memory that is free",
}


class Budget:
    """A number of bytes, of which many threads take what they need and wait where too few are left.

    Who needs more than there are gets them alone.
    """

    def __init__(self, size: int) -> None:
        self.size = self._free = size
        self._changed = threading.Condition()

    @contextmanager
    def take(self, cost: int) -> Iterator[None]:
        """Waits for `cost` bytes, and gives them back at the end."""
        cost = min(cost, self.size)
        with self._changed:
            self._changed.wait_for(lambda: self._free >= cost)
            self._free -= cost
        try:
            yield
        finally:
            with self._changed:
                self._free += cost
                self._changed.notify_all()


_budget = Budget(MEMORY)


@cache
def heif_version() -> str:
    """Of pillow-heif, which from now on reads HEIC for Pillow; empty where it isn't installed."""
    try:
        import pillow_heif
    except ImportError:
        return ""
    pillow_heif.register_heif_opener()
    return str(pillow_heif.__version__)


@contextmanager
def reading(how: How) -> Iterator[None]:
    """Prepares Pillow, whose limits belong to the process: threads may call `read` inside.

    Its own limits, which raise errors of their own, become those of `how`. It asks for large blocks of memory, which go
    back to the system when they are freed: of small ones the C library would keep some for each thread.
    """
    Image.init()  # or threads would race to load Pillow's rarer formats, and take such pictures for unreadable
    kept = Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY
    block = Image.core.get_block_size()
    Image.core.set_block_size(_BLOCK)
    Image.MAX_IMAGE_PIXELS = int(how.max_megapixels * 1e6 / 2)  # Pillow's error comes at twice as many
    PngImagePlugin.MAX_TEXT_CHUNK = int(how.max_metadata_mb * (1 << 20))
    PngImagePlugin.MAX_TEXT_MEMORY = 64 * PngImagePlugin.MAX_TEXT_CHUNK
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about what is read all the same: odd metadata, a hundred megapixels
            yield
    finally:
        Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY = kept
        Image.core.set_block_size(block)


def read(path: Path, how: How, ranges: Mapping[str, Range]) -> Reading:
    """Reads a file, inside of `reading`.

    The picture is turned as its EXIF orientation says, put before the background where it is transparent, made RGB or
    grey, its shorter side resized with Pillow's bicubic filter, and cut to the middle.

    Args:
        path: the file.
        how: what to make of it.
        ranges: what is black and what is white in each kind of picture of more than 8 bits. Of a kind that isn't there,
            a picture is only measured.
    """
    if not os.path.isfile(path):  # a named pipe would be waited for
        return Reading(reason=UNREADABLE)
    try:
        # Closed twice: before the memory is given back, and where there was none to take.
        with Image.open(path, formats=_formats()) as file, _budget.take(_draft(file, how)), closing(file):
            return _read(file, path, how, ranges)
    except Image.DecompressionBombError:
        return Reading(reason=LARGE)
    except MemoryError:
        return Reading(reason=MEMORY_FULL, passing=True)
    except Exception as error:  # Pillow's readers raise whatever a damaged file makes them stumble over
        if isinstance(error, OSError) and error.errno is not None:  # Pillow's own have no number
            return Reading(reason=error.strerror or str(error), passing=True)
        if isinstance(error, ValueError) and "MAX_TEXT" in str(error):
            return Reading(reason=METADATA)
        return Reading(reason=HEIF if _is_heif(path) and not heif_version() else UNREADABLE)


def _read(file: ImageFile, path: Path, how: How, ranges: Mapping[str, Range]) -> Reading:
    done = partial(Reading, several=_several(file), heif=file.format == "HEIF")
    values = deep(file, partial(Image.open, path, formats=_formats()))
    if values is None:
        return done(square(file, how))
    measured = values.measure()
    if measured is None:
        return done(reason=EMPTY)
    done = partial(done, kind=values.kind, low=measured[0], high=measured[1])
    if values.kind not in ranges:
        return done()
    image = values.image(*ranges[values.kind])
    del values  # or it would be in memory together with the copies to come
    return done(_square(_plain(image, how.background), how))


def _formats() -> list[str]:
    """Those that Pillow reads itself. EPS is a program, which it gives to Ghostscript to run."""
    return [name for name in Image.OPEN if name != "EPS"]


def _several(file: ImageFile) -> bool:
    try:
        return bool(getattr(file, "is_animated", False))
    except Exception:  # a damaged second frame takes nothing from the first one
        return True


def _is_heif(path: Path) -> bool:
    """By its first bytes: a box of the type `ftyp` with one of the brands of ISO/IEC 23008-12."""
    with path.open("rb") as file:
        head = file.read(12)
    return head[4:8] == b"ftyp" and head[8:] in (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")


def _draft(file: ImageFile, how: How) -> int:
    """The bytes that reading takes; a very large JPEG is set to be decoded smaller than it is."""
    extra = _PROGRESSIVE * file.width * file.height if file.info.get("progressive") else 0
    if file.format in ("JPEG", "MPO") and file.width * file.height * _PLAIN > _DRAFT:
        file.draft(None, (_DRAFTED * how.size, _DRAFTED * how.size))
    is_deep = file.mode in ("I", "F") or ";16" in file.mode + rawmode(file)
    each = (_DEEP if is_deep else _PLAIN) + _DECODERS.get(file.format or "", 0)
    each += _CLEAR if file.mode in ("LA", "La", "PA", "RGBa") else 0
    return file.width * file.height * each + extra


def square(image: Image.Image, how: How) -> np.ndarray:
    """A picture of 8 bits, which is turned upright in place, as (size, size, channels) uint8."""
    return _square(_plain(upright(image), how.background), how)


def _plain(image: Image.Image, background: tuple[int, int, int]) -> Image.Image:
    """A picture of 8 bits as L or RGB."""
    if image.mode == "La":
        image = image.convert("LA")
    clear = "transparency" in image.info and image.mode in ("1", "L", "RGB", "P")
    if clear or image.mode in ("RGBA", "LA", "PA", "RGBa"):
        image = image if image.mode == "RGBA" else image.convert("RGBA")
        ground = Image.new("RGB", image.size, background)
        ground.paste(image, mask=image.getchannel("A"))
        return ground
    if image.mode in ("1", "L"):
        return image.convert("L")
    return image if image.mode == "RGB" else image.convert("RGB")


def _square(image: Image.Image, how: How) -> np.ndarray:
    mode = "RGB" if how.channels == 3 else "L"
    image = image if image.mode == mode else image.convert(mode)
    shorter = min(image.size)
    if max(image.size) > _LONGEST * shorter:  # 1x1,000,000 pixels would be resized to 96x96,000,000
        image = _middle(image, min(image.width, _LONGEST * shorter), min(image.height, _LONGEST * shorter))
    width, height = (round(side * how.size / shorter) for side in image.size)
    resized = _middle(image.resize((width, height), Image.Resampling.BICUBIC), how.size, how.size)
    return np.asarray(resized).reshape(how.shape)


def _middle(image: Image.Image, width: int, height: int) -> Image.Image:
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))
