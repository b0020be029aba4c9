"""Pictures of any size and kind, made equal once and kept in one memory-mapped file.

The file holds the pixels of every picture, (N, H, W, C) uint8 in the order of the names, and then N bytes that say
which could be read. Its name is a hash of what the pictures are, so one of the expected name and length is right.
"""

from __future__ import annotations

import hashlib
import math
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import suppress
from functools import cache, partial
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

import numpy as np
from PIL import Image, ImageOps
from tqdm import tqdm

from semisup.data.cache import user_cache
from semisup.errors import InputError
from semisup.runtime.console import say

_VERSION = 1  # of the file's layout and of how pictures are resized
_THREADS = 4  # Pillow lets go of the interpreter while it works; each thread holds one whole picture in memory
_AHEAD = 256  # pictures resized before they are written: bounds the memory, however slow the disk is
_LONGEST = 8  # how many times longer than wide a picture is resized as a whole


def square(path: Path, size: int, channels: int) -> np.ndarray | None:
    """A picture as (size, size, channels) uint8, or None where the file is not a picture that can be read.

    Turned as its EXIF orientation says, made RGB or grey (an alpha channel is dropped, of 16 bits the
    upper eight are kept), its shorter side resized to `size` with Pillow's bicubic filter, and cut to the middle.
    """
    if not os.path.isfile(path):  # a named pipe would be waited for
        return None
    try:
        with Image.open(path, formats=_formats()) as file:
            image = ImageOps.exif_transpose(file)
            if image.mode.startswith("I;16"):  # Pillow itself would turn all above 255 white
                image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
            image = image.convert("RGB" if channels == 3 else "L")
    except Exception:  # Pillow's readers raise whatever a damaged file makes them stumble over
        return None
    shorter = min(image.size)
    if max(image.size) > _LONGEST * shorter:  # 1x1,000,000 pixels would be resized to 96x96,000,000
        image = _middle(image, min(image.width, _LONGEST * shorter), min(image.height, _LONGEST * shorter))
    width, height = (round(side * size / shorter) for side in image.size)
    resized = _middle(image.resize((width, height), Image.Resampling.BICUBIC), size, size)
    return np.asarray(resized).reshape(size, size, channels)


@cache
def _formats() -> list[str]:
    """Those that Pillow reads itself. EPS is a program, which it gives to Ghostscript to run."""
    Image.init()
    return [name for name in Image.OPEN if name != "EPS"]


def _middle(image: Image.Image, width: int, height: int) -> Image.Image:
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))


def load(root: Path, names: list[str], size: int, channels: int) -> tuple[np.ndarray, np.ndarray]:
    """The pictures, from the cache, which is made where there is none that fits.

    Args:
        root: the folder that holds the pictures.
        names: (N,) paths of the pictures, relative to root.
        size: height and width to give them.
        channels: 3 for RGB, 1 for grey.

    Returns:
        Memory map (N, size, size, channels) uint8, and (N,) bool, which of them could be read.

    Raises:
        InputError: the cache can't be written.
    """
    if not names:
        return np.empty((0, size, size, channels), np.uint8), np.empty(0, bool)
    shape = (size, size, channels)
    name, length = f"{_hash(root, names, shape)}.pixels", len(names) * (math.prod(shape) + 1)
    paths = (folder / name for folder in _folders(root))
    path = next((path for path in paths if os.access(path, os.R_OK) and path.stat().st_size == length), None)
    images = np.memmap(path or _make(root, name, names, shape), np.uint8, "r", shape=(len(names), *shape))
    return images, np.fromfile(str(images.filename), np.uint8, offset=images.size) == 1


def _hash(root: Path, names: list[str], shape: tuple[int, int, int]) -> str:
    """Of all that the cache depends on; a file's permission is in it, so that one made readable is read."""
    digest = hashlib.sha256(f"{_VERSION} {shape}\0".encode())
    for name in names:
        path = root / name
        stat = path.stat() if os.access(path, os.R_OK) else None
        state = f"{stat.st_size} {stat.st_mtime_ns}" if stat else "unreadable"
        digest.update(os.fsencode(name) + f"\0{state}\0".encode())
    return digest.hexdigest()[:32]


def _folders(root: Path) -> tuple[Path, Path]:
    """Where a cache may be, the better place first."""
    return root / ".semisup-cache", user_cache() / hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:16]


def _make(root: Path, name: str, names: list[str], shape: tuple[int, int, int]) -> Path:
    """Writes the cache aside and then puts it in place, where others find all of it or none; returns its path."""
    file = _aside(root, name)
    aside = Path(file.name)
    path = aside.with_name(name)
    readable = np.zeros(len(names), dtype=np.uint8)
    try:
        with file:
            for row, image in enumerate(_squares([root / name for name in names], shape)):
                readable[row] = image is not None
                file.write(bytes(math.prod(shape)) if image is None else image.tobytes())
            file.write(readable.tobytes())
            file.flush()
            os.fsync(file.fileno())  # or the name could outlive a power cut, and the pixels not
        os.replace(aside, path)
    except OSError as error:
        raise InputError(
            f"can't write {len(names) * math.prod(shape) / 1e6:,.0f} MB of resized pictures to {path.parent} "
            f"({error.strerror}); make room, or type a smaller --data.image_size"
        ) from error
    finally:
        aside.unlink(missing_ok=True)
    say(f"data: resized {len(names):,} files, kept in {path}")
    return path


def _aside(root: Path, name: str) -> BinaryIO:
    """A new file beside the future cache, under a name of its own, in the first folder that can be written."""
    for folder in _folders(root):
        with suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            return (folder / f"{name}.{uuid4().hex}.part").open("xb")
    raise InputError(
        f"neither {' nor '.join(map(str, _folders(root)))} can be written, and resized pictures must be kept; "
        f"type XDG_CACHE_HOME=FOLDER before the command"
    )


def _squares(paths: list[Path], shape: tuple[int, int, int]) -> Iterator[np.ndarray | None]:
    """`square` of every path, in order, `_AHEAD` at a time."""
    Image.init()  # or threads would race to load Pillow's rarer formats, and take such pictures for unreadable
    with warnings.catch_warnings(), ThreadPool(_THREADS) as pool:
        warnings.simplefilter("ignore")  # about what is read all the same: odd metadata, a hundred megapixels
        chunks = (paths[first : first + _AHEAD] for first in range(0, len(paths), _AHEAD))
        one = partial(square, size=shape[0], channels=shape[2])
        squares = (image for chunk in chunks for image in pool.map(one, chunk))
        yield from tqdm(squares, "resizing", len(paths), unit="file", leave=False, disable=not sys.stderr.isatty())
