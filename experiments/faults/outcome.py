"""What became of a fault."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .runs import Ended, fit, half_written, left, same_end, step_of


@dataclass
class Outcome:
    """What became of a fault: in words, what was left, and which expectations were met."""

    happened: str
    left: str
    met: dict[str, bool]


def ended_well(ended: Ended, word: str, root: Path, met: dict[str, bool], whole: Path | None = None) -> Outcome:
    """The outcome of a run, told by the line that holds a word; given `whole`, it goes on, and must end as that did."""
    met = met | {"nothing half-written": not half_written(root), "good weights": step_of(root) >= 0}
    happened, remains = f"exit code {ended.code}: {ended.line(word)}", left(root)
    if whole:
        going = fit(root, "--resume", "auto")
        met |= {"goes on": going.code == 0, "same end": going.code == 0 and same_end(root, whole)}
        remains += "; goes on" if met["goes on"] else "; does not go on"
    remains += "; ends as if nothing had happened" if met.get("same end") else ""
    return Outcome(happened, remains, met)


@contextmanager
def variables(**values: str) -> Iterator[None]:
    """Environment variables, while it lasts."""
    before = dict(os.environ)
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
