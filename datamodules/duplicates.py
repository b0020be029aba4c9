"""Finds the images of one array that another array holds too, byte for byte.

7,545 of STL-10's 100,000 unlabeled images are test images (arXiv 2506.03582); who trains on them trains on the test
set.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from semisup.data.cache import user_cache
from semisup.data.keys import image_keys
from semisup.runs.directory import replacing
from semisup.runtime.console import say


def duplicates(images: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Rows (n,) int64 of `images` that are in `others` too, ascending.

    Args:
        images: (N, D) uint8, a memory map for instance; read once, in order.
        others: (M, D) uint8, M at least 1.
    """
    keys, known = image_keys(images), image_keys(others)
    order = np.argsort(known, kind="stable")
    place = np.searchsorted(known[order], keys).clip(max=len(others) - 1)
    candidates = np.flatnonzero(known[order[place]] == keys)
    # Equal images have equal keys; that the reverse holds as well is looked up, not assumed.
    same = [np.array_equal(images[row], others[order[place[row]]]) for row in candidates]
    return candidates[np.array(same, dtype=bool)]


def cached_duplicates(images: Path, others: Path, size: int, of: np.ndarray | None = None) -> np.ndarray:
    """`duplicates` of two files of images of `size` bytes each, searched once for these files.

    The answer is kept beside the first file, or in the user's cache folder where that can't be written to.

    Args:
        images: the file whose rows are wanted.
        others: the other file.
        size: bytes of an image in both.
        of: (n,) int64, n at least 1: the rows of the other file that are looked for; None for all.
    """
    stats: list[object] = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in (images, others)]
    stats += [] if of is None else [hashlib.sha256(of.astype("<i8").tobytes()).hexdigest()]
    name = f".semisup-duplicates-{hashlib.sha256(repr(stats).encode()).hexdigest()[:16]}.rows"
    folders = (images.parent, user_cache())
    for folder in folders:
        if (folder / name).is_file() and (kept := _rows(folder / name, images.stat().st_size // size)) is not None:
            return kept
    mapped, known = (np.memmap(path, np.uint8, "r").reshape(-1, size) for path in (images, others))
    rows = duplicates(mapped, known if of is None else known[of])
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
