"""The memory of a process: how a CPU keeps it between steps, how much was needed, and how much there is."""

from __future__ import annotations

import ctypes
import re
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # glibc's names in malloc.h, M_...
_CGROUPS = Path("/sys/fs/cgroup")


def keep_freed_memory() -> None:
    """Lets the C library reuse large blocks of memory instead of handing them back to the system.

    glibc gives every freed block of more than 32 MB back. A training step on a CPU asks for many such blocks, and the
    system clears each page of each of them anew, which takes up to half of the step's time (experiments/RESULTS.md).
    The process keeps the most memory that it ever needed. Does nothing where the C library is another one.
    """
    if (mallopt := _glibc("mallopt")) is not None:
        mallopt(_MMAP_MAX, 0)
        mallopt(_TRIM_THRESHOLD, -1)


def forget_peak(device: torch.device) -> None:
    """Hands freed memory back, and lets `peak` count from here."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    elif (trim := _glibc("malloc_trim")) is not None:
        trim(0)
        with suppress(OSError):  # only Linux has it
            Path("/proc/self/clear_refs").write_text("5")  # the high-water mark, and nothing else


def peak(device: torch.device) -> int:
    """Most bytes that this process held on a device since `forget_peak`; 0 where that can't be told."""
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device)
    return _kilobytes(Path("/proc/self/status"), "VmHWM") if device.type == "cpu" else 0


def available(device: torch.device) -> int:
    """Bytes that this process could still have on a device, in the limits of its container or job as well.

    0 where that can't be told.
    """
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    if device.type != "cpu":
        return 0
    free = _kilobytes(Path("/proc/meminfo"), "MemAvailable")
    return min([free, *_left_in_groups()]) if free else 0


def _left_in_groups(root: Path = _CGROUPS, membership: Path = Path("/proc/self/cgroup")) -> list[int]:
    """Bytes that the control groups (version 2) of this process leave, each with a limit; files that are kept in memory
    make room where they must."""
    left = []
    with suppress(OSError, ValueError):
        groups = [line[3:] for line in membership.read_text().splitlines() if line.startswith("0::")]
        group = root / (groups[0] if groups else "").lstrip("/")
        for folder in (group, *group.parents):
            if not folder.is_relative_to(root):
                break
            with suppress(OSError, ValueError):  # the root has no limit, nor has "max"
                limit = int((folder / "memory.max").read_text())
                files = re.search(r"^file (\d+)$", (folder / "memory.stat").read_text(), re.MULTILINE)
                used = int((folder / "memory.current").read_text()) - (int(files[1]) if files else 0)
                left.append(max(0, limit - used))
    return left


def _kilobytes(file: Path, name: str) -> int:
    with suppress(OSError):
        match = re.search(rf"^{name}:\s+(\d+) kB$", file.read_text(), re.MULTILINE)
        return 1024 * int(match[1]) if match else 0
    return 0


def _glibc(function: str) -> Any:
    return getattr(ctypes.CDLL(None), function, None) if sys.platform == "linux" else None
