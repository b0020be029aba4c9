"""Faults of what a run prints to: its reader has enough, it is closed, or it is full."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

from .outcome import Outcome
from .runs import fit, same_end


def _printing(folder: Path, whole: Path, lose: Callable[[], None]) -> Outcome:
    """A training that loses a stream before it begins, and must come to its end all the same."""
    ended = fit(folder / "runs", act=lambda *_: lose(), step=-1)
    met = ended.told(0) | {"same end": same_end(folder / "runs", whole)}
    return Outcome(f"exit code {ended.code}", "ends as if nothing had happened" if met["same end"] else "", met)


def _print_to(descriptor: int) -> None:
    """Standard output goes to an open file."""
    os.dup2(descriptor, 1)
    sys.stdout = os.fdopen(1, "w", buffering=1, closefd=False)


def reader_has_enough(folder: Path, whole: Path) -> Outcome:
    """Standard output is a pipe whose reader has gone, as in `| head -1`."""

    def lose() -> None:
        reading, writing = os.pipe()
        os.close(reading)
        _print_to(writing)

    return _printing(folder, whole, lose)


def output_is_full(folder: Path, whole: Path) -> Outcome:
    """Standard output is /dev/full."""
    outcome = _printing(folder, whole, lambda: _print_to(os.open("/dev/full", os.O_WRONLY)))
    said = (folder / "runs.log").read_text()
    outcome.met["says so"] = "semisup: standard output takes no more (No space left on device)" in said
    return outcome


def errors_are_closed(folder: Path, whole: Path) -> Outcome:
    """Standard error is closed."""

    def lose() -> None:
        os.close(2)
        sys.stderr = None  # type: ignore[assignment]  # as Python itself then

    return _printing(folder, whole, lose)


FAULTS = [reader_has_enough, output_is_full, errors_are_closed]
