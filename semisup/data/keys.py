"""A key of every image, 64 bits of what it shows: equal images have equal keys, and others almost surely not.

The keys of a large memory-mapped file are kept beside it, so that its bytes are read once and not in every run.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from semisup.data.cache import user_cache
from semisup.errors import InputError
from semisup.runs.directory import replacing

_BYTES_AT_ONCE = 1 << 24  # bytes hashed at once: bounds the memory that hashing takes
_LARGE = 1 << 26  # bytes of a file whose keys are kept: smaller ones take less than a tenth of a second


def image_keys(images: np.ndarray) -> np.ndarray:
    """(N,) uint64: a sum of each image's words of 8 bytes, each times a random odd number, modulo 2**64.

    A word that differs changes the sum, since an odd number has an inverse; that the changes of several words cancel
    is as likely as that two random numbers of 64 bits are equal.

    Args:
        images: (N, ...) uint8; a memory map, or a view of one in whatever order of the axes. Read once, in its order.
    """
    file, images = _file(images), _as_stored(images)
    if file is None or images.nbytes < _LARGE:
        return _sums(images)
    stat = file.stat()
    # Of the view as well: another one of the same file may have other images.
    view = (len(images), images[0].size) if images.flags.c_contiguous else (images.shape, images.strides)
    state = f"{file.name} {stat.st_size} {stat.st_mtime_ns} {view} {_offset(images)}".encode()
    places = (
        file.with_name(f".{file.name}.keys"),
        user_cache() / f"{hashlib.sha256(bytes(file)).hexdigest()[:16]}.keys",
    )
    for place in places:
        if (kept := _kept(place, len(images), state)) is not None:
            return kept
    keys = _sums(images)
    for place in places:
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            with replacing(place) as temporary:
                temporary.write_bytes(_sealed(keys, state))
            break
        except (OSError, InputError):  # not writable, full, or no file: the next place, and at last none at all
            continue
    return keys


def _as_stored(images: np.ndarray) -> np.ndarray:
    """The images with their axes in the order of the memory: where it has no gaps, nothing has to be copied."""
    axes = sorted(range(1, images.ndim), key=lambda axis: -images.strides[axis])
    return images.transpose(0, *axes)


def _sums(images: np.ndarray) -> np.ndarray:
    size = int(np.prod(images.shape[1:]))
    words, rest = divmod(size, 8)
    weights = np.frombuffer(hashlib.shake_256(b"image keys").digest(8 * (words + rest)), "<u8") | np.uint64(1)
    keys = np.empty(len(images), dtype=np.uint64)
    step = max(1, _BYTES_AT_ONCE // max(1, size))
    for start in range(0, len(images), step):
        chunk = np.ascontiguousarray(images[start : start + step]).reshape(-1, size)
        head = np.ascontiguousarray(chunk[:, : 8 * words]).view("<u8")
        keys[start : start + step] = head @ weights[:words] + chunk[:, 8 * words :].astype(np.uint64) @ weights[words:]
    return keys


def _file(images: np.ndarray) -> Path | None:
    """The file that an array is a view of; None where it is in memory, or the file is gone."""
    name = images.filename if isinstance(images, np.memmap) else None
    return Path(name).absolute() if name is not None and Path(name).is_file() else None


def _offset(images: np.ndarray) -> int:
    """Where a view of a memory map begins in it, in bytes."""
    whole = images
    while isinstance(whole.base, np.ndarray):
        whole = whole.base
    return int(images.ctypes.data - whole.ctypes.data)


def _sealed(keys: np.ndarray, state: bytes) -> bytes:
    content = keys.astype("<u8").tobytes()
    return content + hashlib.sha256(content + state).digest()


def _kept(place: Path, count: int, state: bytes) -> np.ndarray | None:
    """Keys that were kept of `count` images in this state; None where there are others, or none."""
    try:
        stored = place.read_bytes() if place.is_file() else b""
    except OSError:  # not readable
        stored = b""
    keys = np.frombuffer(stored[: 8 * count], "<u8") if len(stored) == 8 * count + 32 else None
    return keys.astype(np.uint64) if keys is not None and stored == _sealed(keys, state) else None
