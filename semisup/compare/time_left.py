"""How long a grid still takes: every arm, and all of it, by what its runs took."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heapreplace
from typing import Literal

from semisup.runs.statistics import mean
from semisup.runtime.console import duration


@dataclass
class RunState:
    """How a run of a grid stands.

    Attributes:
        arm: that it belongs to.
        state: a run of another process is waiting.
        seconds: that it took, of a finished one; that it takes in all by its own forecast, of one that is running; None
            where that isn't known.
        elapsed: seconds since a running one began.
    """

    arm: str
    state: Literal["waiting", "running", "finished", "failed"] = "waiting"
    seconds: float | None = None
    elapsed: float = 0.0

    @property
    def over(self) -> bool:
        """Whether nothing of it is left."""
        return self.state in ("finished", "failed")


def expected(runs: Sequence[RunState], arm: str) -> float | None:
    """Seconds that a run of an arm takes: the mean of its finished ones, else of its forecasts; None without either."""
    for state in ("finished", "running"):
        known = [run.seconds for run in runs if (run.arm, run.state) == (arm, state) and run.seconds is not None]
        if known:
            return mean(known)
    return None


def left(runs: Sequence[RunState], at_once: int) -> tuple[dict[str, float | None], bool]:
    """Arm -> seconds until its last run is over, and whether that is all: runs of unknown length count as nothing.

    Waiting runs begin in their order, each as soon as one of those before is over.

    Args:
        runs: of the grid, in the order in which they begin.
        at_once: how many run in parallel.

    Returns:
        None of an arm with a run to come of which nobody knows how long it takes.
    """
    length = {arm: expected(runs, arm) for arm in dict.fromkeys(run.arm for run in runs)}
    takes = {arm: seconds or 0.0 for arm, seconds in length.items()}
    until = dict.fromkeys(length, 0.0)
    running = [(run.arm, max(0.0, takes[run.arm] - run.elapsed)) for run in runs if run.state == "running"]
    for arm, rest in running:
        until[arm] = max(until[arm], rest)
    free = sorted([*(rest for _, rest in running), *[0.0] * (at_once - len(running))])  # when each place is free
    for run in runs:
        if run.state == "waiting":
            over = free[0] + takes[run.arm]
            heapreplace(free, over)
            until[run.arm] = max(until[run.arm], over)
    unknown = {run.arm for run in runs if not run.over and length[run.arm] is None}
    return {arm: None if arm in unknown else seconds for arm, seconds in until.items()}, not unknown


def line(runs: Sequence[RunState], arm: str, at_once: int) -> str:
    """How an arm stands, and the whole grid: `fixmatch, 40 labels: 2 of 5 runs, about 3 min 20 s left; all: ...`."""
    seconds, certain = left(runs, at_once)
    last = max((x for x in seconds.values() if x is not None), default=0.0)
    own = _stand([run for run in runs if run.arm == arm], seconds[arm], certain)
    return f"{arm}: {own}; all: {_stand(runs, last if certain or last else None, certain)}"


def _stand(runs: Sequence[RunState], seconds: float | None, certain: bool) -> str:
    finished, failed = (sum(run.state == state for run in runs) for state in ("finished", "failed"))
    said = f"{finished} of {len(runs)} runs{f', {failed} failed' if failed else ''}"
    if all(run.over for run in runs):
        return said
    about = "about" if certain else "at least"
    return f"{said}, {'time left unknown' if seconds is None else f'{about} {duration(seconds)} left'}"
