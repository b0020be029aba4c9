"""Standard streams that outlast what they write to: a closed pipe, a full disk or a lost terminal ends no work.

`semisup fit | head -1` closes standard output after a line, a terminal that is closed takes both streams along, and
`> log` may fill its disk. Each would raise an error in whatever prints next (we, a progress bar, Lightning, a warning),
in the middle of a training. Here it is caught in the lowest layer, where all of them write, and ends the printing.
Standard library only: it is put in place before anything else is imported.
"""

from __future__ import annotations

import errno
import io
import os
import select
import sys
from contextlib import suppress
from typing import Any

_NAMES = {1: "standard output", 2: "standard error"}
_full: set[int] = set()  # file descriptors that took no more, other than by a reader who had enough


class _Lasting(io.FileIO):
    """A file descriptor that is pointed at nothing when it takes no more."""

    def write(self, data: Any, /) -> int:
        """Writes all of it, or drops what can't be written; how many bytes it was."""
        left = memoryview(data).cast("B")
        size = len(left)
        try:
            while left:
                if (written := super().write(left)) is None:  # another program has made the terminal non-blocking
                    select.select([], [self], [])
                left = left[written or 0 :]
        except OSError as error:
            _drop(self.fileno(), error)
        return size


def _drop(descriptor: int, error: OSError) -> None:
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, descriptor)
    os.close(nothing)
    if error.errno == errno.EPIPE:
        return
    _full.add(descriptor)
    with suppress(OSError):
        line = f"semisup: {_NAMES[descriptor]} takes no more ({error.strerror}): what is said from here on is lost"
        os.write(2, f"{line}\n".encode())


def outlast() -> None:
    """Puts such streams in the place of this process's own.

    A stream that is closed becomes one to nowhere: otherwise the next file that is opened would get its number, and
    with it what libraries write there.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free
    if sys.stdin is None:
        sys.stdin = open(0, closefd=False)  # noqa: SIM115
    for number, name in ((1, "stdout"), (2, "stderr")):
        if (now := getattr(sys, name)) is not None:
            with suppress(OSError):
                now.flush()
        raw, unbuffered = _Lasting(number, "w", closefd=False), bool(now and now.write_through)
        stream = io.TextIOWrapper(
            raw if unbuffered else io.BufferedWriter(raw),  # as Python itself with -u
            encoding=now.encoding if now else None,
            # A name that the terminal's encoding doesn't have is escaped: an error would end what prints it.
            errors=now.errors if now and now.errors != "strict" else "backslashreplace",
            newline="\n",
            line_buffering=bool(now and now.line_buffering),
            write_through=unbuffered,
        )
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def was_full() -> bool:
    """Whether standard output took less than it was given, for another reason than that its reader had enough."""
    sys.stdout.flush()
    return 1 in _full
