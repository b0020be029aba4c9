"""What a run says to the person who started it: one line at a time, from one rank only."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from pytorch_lightning.utilities.rank_zero import rank_zero_only

from semisup.escape import nearby, printable, shell

_Item = TypeVar("_Item")
QUIET = 30.0  # seconds after which a line is due where there is no progress bar


@rank_zero_only
def say(line: str) -> None:
    """Prints a line at once, on rank 0; names in it don't steer the terminal."""
    print(printable(line), flush=True)


class Watched:
    """How far work is: a bar where a person watches, and a line every half a minute in a log.

    Args:
        title: what is done.
        total: of how many; None where nobody knows.
        unit: such as files.
        disable: this rank says nothing.
    """

    def __init__(self, title: str, total: int | None, unit: str, disable: bool = False) -> None:
        from tqdm import tqdm

        self.title, self.total, self.unit = title, total, unit
        self._bar: Any = tqdm(total=total, desc=title, unit=f" {unit}", leave=False, disable=disable or None)
        self._done, self._began = 0, time.monotonic()
        self._said = float("inf") if disable or not self._bar.disable else self._began

    def __enter__(self) -> Watched:
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.close()

    def update(self, count: int = 1) -> None:
        """So many more are done."""
        self._done, now = self._done + count, time.monotonic()
        self._bar.update(count)
        if now - self._said >= QUIET and self._done != self.total:
            far = f"{self._done:,} {self.unit}"
            if self.total:
                left = (self.total - self._done) * (now - self._began) / self._done
                far = f"{self._done:,} of {self.total:,} {self.unit}, about {duration(left)} left"
            say(f"{self.title}: {far}")
            self._said = now


def watched(items: Iterable[_Item], title: str, total: int | None = None, disable: bool = False) -> Iterator[_Item]:
    """Batches one after the other, with a `Watched` of them."""
    with Watched(title, total, "batches", disable) as watch:
        for item in items:
            yield item
            watch.update()


def command() -> str:
    """How this program was called, for advice on what to type next: `semisup`, or a Python with `-m semisup`."""
    if Path(sys.argv[0]).name == "semisup":
        return "semisup"
    python = Path(sys.executable)
    return f"{shell(nearby(python) if python.is_relative_to(Path.cwd()) else Path(python.name))} -m semisup"


def typed(*words: str | Path) -> str:
    """A command of this program, as it was called, to be pasted into a shell; paths as short as they can be."""
    return f"{command()} {shell(*(nearby(word) if isinstance(word, Path) else word for word in words))}"


def time_line(title: str, seconds: float, steps: int) -> str:
    """What a training says of the time that it takes, `title` being that of its phase."""
    return f"time: {title}about {duration(seconds)} for {steps:,} steps"


def time_told(said: str) -> float | None:
    """Seconds of the last `time_line` without a title in what a training said; None without one."""
    lines = re.findall(r"^time: about (?:(\d+) h )?(?:(\d+) min ?)?(?:(\d+) s)? for [\d,]+ steps$", said, re.MULTILINE)
    if not lines:
        return None
    hours, minutes, seconds = (int(part or 0) for part in lines[-1])
    return 3600.0 * hours + 60 * minutes + seconds


def duration(seconds: float) -> str:
    """Seconds in words: `2 h 5 min`, `3 min 20 s`, `40 s`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"
