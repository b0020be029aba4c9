"""How a process on a CPU keeps its memory between steps."""

from __future__ import annotations

import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # glibc's names in malloc.h, M_...


def keep_freed_memory() -> None:
    """Lets the C library reuse large blocks of memory instead of handing them back to the system.

    glibc gives every freed block of more than 32 MB back. A training step on a CPU asks for many such blocks, and the
    system clears each page of each of them anew, which takes up to half of the step's time (experiments/RESULTS.md).
    The process keeps the most memory that it ever needed. Does nothing where the C library is another one.
    """
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        if mallopt is not None:
            mallopt(_MMAP_MAX, 0)
            mallopt(_TRIM_THRESHOLD, -1)
