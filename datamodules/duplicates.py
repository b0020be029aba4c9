"""Finds the images of one array that another array holds too, byte for byte.

7,545 of STL-10's 100,000 unlabeled images are test images (arXiv 2506.03582); who trains on them trains on the test
set.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from semisup import randomness
from semisup.console import say
from semisup.data.cache import user_cache
from semisup.runs import replacing

_CHUNK = 1024  # images hashed at once: bounds the memory that the search takes


def duplicates(images: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Rows (n,) int64 of `images` that are in `others` too, ascending.

    Args:
        images: (N, D) uint8, a memory map for instance; read once, in order.
        others: (M, D) uint8, M at least 1.
    """
    hashes, known = _hashes(images), _hashes(others)
    order = np.argsort(known, kind="stable")
    place = np.searchsorted(known[order], hashes).clip(max=len(others) - 1)
    candidates = np.flatnonzero(known[order[place]] == hashes)
    # Equal images have equal hashes; that the reverse holds as well is looked up, not assumed.
    same = [np.array_equal(images[row], others[order[place[row]]]) for row in candidates]
    return candidates[np.array(same, dtype=bool)]


def _hashes(images: np.ndarray) -> np.ndarray:
    """(N,) uint64: a sum of each image's words, each times a random odd number, modulo 2**64."""
    size = images.shape[1]
    word = np.dtype(np.uint64 if size % 8 == 0 else np.uint8)
    generator = np.random.default_rng(randomness.key("image hash"))
    weights = generator.integers(0, 1 << 63, size // word.itemsize, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    hashes = np.empty(len(images), dtype=np.uint64)
    for start in range(0, len(images), _CHUNK):
        words = np.ascontiguousarray(images[start : start + _CHUNK]).view(word)
        hashes[start : start + _CHUNK] = words.astype(np.uint64, copy=False) @ weights
    return hashes


def cached_duplicates(images: Path, others: Path, size: int) -> np.ndarray:
    """`duplicates` of two files of images of `size` bytes each, searched once for these files.

    The answer is kept beside the first file, or in the user's cache folder where that can't be written to.
    """
    stats = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in (images, others)]
    name = f".semisup-duplicates-{hashlib.sha256(repr(stats).encode()).hexdigest()[:16]}.rows"
    folders = (images.parent, user_cache())
    for folder in folders:
        if (folder / name).is_file() and (kept := _rows(folder / name, images.stat().st_size // size)) is not None:
            return kept
    rows = duplicates(*(np.memmap(path, np.uint8, "r").reshape(-1, size) for path in (images, others)))
    for folder in folders:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with replacing(folder / name) as aside:
                aside.write_bytes(sealed(rows))
            break
        except OSError:  # not writable, or full: the next folder, and at last no cache at all
            continue
    return rows


def sealed(rows: np.ndarray) -> bytes:
    """Rows as the cache holds them: int64, little-endian, and then the SHA-256 of these bytes."""
    content = rows.astype("<i8").tobytes()
    return content + hashlib.sha256(content).digest()


def _rows(path: Path, count: int) -> np.ndarray | None:
    """Ascending rows of `count` images from a cache file; None where it holds anything else."""
    try:
        stored = path.read_bytes()
    except OSError:  # not readable
        stored = b""
    rows = np.frombuffer(stored[: (len(stored) - 32) // 8 * 8], "<i8") if len(stored) >= 32 else np.empty(0, "<i8")
    right = stored == sealed(rows) and (np.diff(rows, prepend=-1, append=count) > 0).all()
    if not right:
        say(f"data: {path} is damaged; duplicates are searched anew")
    return rows.astype(np.int64) if right else None
