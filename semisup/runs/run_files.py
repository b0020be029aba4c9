"""Opens the files of a run, and nothing that only looks like one.

A run directory may have been somebody else's. Where one of its files is a pipe, a reader would wait for ever; a device
may have no end, and a link may lead to any file that its reader may read. Every reader of a run opens its files here.
Standard library only.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from semisup.errors import InputError, require

MAX_BYTES = 1 << 30  # bytes of a file that is read as a whole


def is_there(path: Path) -> bool:
    """Whether there is anything of that name: also a link that leads nowhere, which `opened` will say more of."""
    return os.path.lexists(path)


def state_of(path: Path) -> tuple[int, int, int]:
    """What changes when a file is written anew."""
    status = path.lstat()
    return status.st_ino, status.st_mtime_ns, status.st_size


@contextmanager
def opened(path: Path, max_bytes: int = MAX_BYTES) -> Iterator[BinaryIO]:
    """A file of a run, open for reading.

    Args:
        path: the file. One that lies in no run may be a link to anywhere; what it leads to must be a file all the same.
        max_bytes: bytes that it may have.

    Raises:
        InputError: it is no regular file, a link that leads out of its run, larger than that, or can't be read.
    """
    path = Path(path)
    try:
        _check(path, os.stat(path), max_bytes)  # before it is opened: to open a device can have consequences
        with open(path, "rb", opener=_without_waiting) as file:
            _check(path, os.fstat(file.fileno()), max_bytes)
            yield file
    except OSError as error:
        raise InputError(f"{path} can't be read ({error.strerror or error})") from error


def content(path: Path, max_bytes: int = MAX_BYTES) -> bytes:
    """All that a file of a run holds; raises as `opened`."""
    with opened(path, max_bytes) as file:
        read = file.read(max_bytes + 1)
    require(len(read) <= max_bytes, f"{path} has more than {max_bytes:,} bytes, which no such file of a run has")
    return read


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _check(path: Path, status: os.stat_result, max_bytes: int) -> None:
    if not stat.S_ISREG(status.st_mode):
        kinds = {stat.S_ISDIR: "a folder", stat.S_ISFIFO: "a pipe", stat.S_ISSOCK: "a socket"}
        kind = next((name for test, name in kinds.items() if test(status.st_mode)), "a device")
        raise InputError(f"{path} is not a regular file but {kind}; remove it, or restore what was there")
    run = path.absolute().parent
    run = run.parent if run.name in ("checkpoints", "figures") else run
    if _is_run(run):
        _check_inside(path, run)
    require(
        status.st_size <= max_bytes,
        f"{path} has {status.st_size:,} bytes, and no such file of a run has over {max_bytes:,}",
    )


def check_folders(run: Path) -> None:
    """Looks at what lies in a run that goes on: what writes into its folders would follow a link.

    Raises:
        InputError: one of them is a link that leads out of it, or the run can't be listed.
    """
    try:
        folders = sorted(path for path in run.iterdir() if path.is_dir())
    except OSError as error:
        raise InputError(f"{run} can't be listed ({error.strerror or error})") from error
    for path in folders:
        _check_inside(path, run)


def _check_inside(path: Path, run: Path) -> None:
    real = path.resolve()
    advice = "put what is there in its place"
    require(run.resolve() in real.parents, f"{path} is a link that leads out of its run, to {real}; {advice}")


def _is_run(folder: Path) -> bool:
    return is_there(folder / "environment.txt") or is_there(folder / "checkpoints") or is_there(folder / "config.yaml")
