"""Trains the runs of a grid that are missing, each in a process of its own, and says a line of each."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import torch

from semisup.compare.grid import Job, find, fit_command
from semisup.compare.processes import Task, parallel, run_all, share
from semisup.compare.record import Failure
from semisup.compare.time_left import RunState, expected, line
from semisup.escape import shell
from semisup.runs.lock import LOCK, Held, Lock
from semisup.runs.redaction import redacted
from semisup.runs.run import Run
from semisup.runtime.console import duration, say, time_told


def train(jobs: Sequence[Job], out: Path, wanted: int | None) -> list[Failure]:
    """Makes the runs that are missing, with a line for each; returns those that failed.

    Several comparisons may be at work in one folder: each run belongs to one of them, and the others wait for it.

    Args:
        jobs: all runs of the grid.
        out: its folder; runs go to `out/runs`, what they say to `out/logs`, who makes them is in `out/locks`.
        wanted: processes in parallel; None leaves it to the machine.

    Raises:
        KeyboardInterrupt: it was asked to stop, and the runs have been stopped.
    """
    states = [find(job, out / "runs") for job in jobs]
    due = [job for job, (_, finished) in zip(jobs, states, strict=True) if not finished]
    made = [(job, run) for job, (run, finished) in zip(jobs, states, strict=True) if run and finished]
    begun, before = sum(run is not None and not finished for run, finished in states), len(made)
    say(f"{len(jobs)} runs: {before} finished before, {begun} to go on with, {len(due) - begun} to begin")
    if not due:
        return []
    gpus = torch.cuda.device_count()
    # Those of the whole grid, so that one that goes on has the threads, and with them the bits, that it began with.
    at_once = min(wanted or parallel(gpus), len(jobs))
    threads = (os.environ | share(at_once, 0, gpus))["OMP_NUM_THREADS"]
    say(f"{at_once} at once, with OMP_NUM_THREADS={threads}; Ctrl-C stops them, and the same command goes on")
    with ExitStack() as all_locks:
        work = _Work(due, out, made, at_once, all_locks)
        for arm in dict.fromkeys(job.arm for job in due):
            say(work.line(arm))
        try:
            run_all(len(due), at_once, gpus, work.begin, work.ended, work.look)
        except KeyboardInterrupt:
            say(f"stopped: {before + work.made} of {len(jobs)} runs are made; the same command goes on with the others")
            raise
    return work.failures


@dataclass
class _AtWork:
    """A process that makes a run.

    Attributes:
        task: what was started.
        lock: that the run is this comparison's.
        since: when, by the monotonic clock.
        said: bytes of its log that have been looked at.
    """

    task: Task
    lock: ExitStack
    since: float
    said: int


class _Work:
    """The runs that are to be made, and what has become of them.

    Args:
        jobs: those that were not finished.
        out: the grid's folder.
        before: the others, and where they lie.
        at_once: how many run in parallel.
        locks: gives free what is still at work when it is closed.

    Attributes:
        made: how many have ended, one way or the other.
        failures: of those that failed.
    """

    def __init__(
        self, jobs: Sequence[Job], out: Path, before: Sequence[tuple[Job, Path]], at_once: int, locks: ExitStack
    ) -> None:
        self.jobs, self.out, self.before, self.at_once, self.locks = jobs, out, len(before), at_once, locks
        self.made, self.failures = 0, list[Failure]()
        self._at_work: dict[int, _AtWork] = {}
        self._told: set[int] = set()
        self._states = [RunState(job.arm) for job in jobs]
        self._runs = [*self._states, *(RunState(job.arm, "finished", Run(run).seconds) for job, run in before)]

    def begin(self, index: int) -> Task | None:
        """The process that makes a run or goes on with it; None where another comparison has made it meanwhile.

        Raises:
            Held: another process is at it.
        """
        job, folder = self.jobs[index], self.out / "locks"
        folder.mkdir(parents=True, exist_ok=True)
        try:
            with ExitStack() as held:
                held.enter_context(Lock(folder / f"{job.slug}.lock", wait=0))
                run, finished = find(job, self.out / "runs")
                if finished:
                    return None
                if run and (holder := Lock(run / LOCK).holder()):  # started by hand, or by a comparison that was killed
                    raise Held(run, holder)
                command = [sys.executable, "-m", "semisup", *fit_command(job, self.out / "runs", run)]
                task = Task(command, self.out / "logs" / f"{job.slug}.log")
                lock, said = self.locks.enter_context(held.pop_all()), _size(task.log)
                self._at_work[index] = _AtWork(task, lock, time.monotonic(), said)
                self._states[index].state = "running"
        except Held as error:
            if index not in self._told:
                say(f"{job.name}: {error.holder or 'another process'}, is at it, and is waited for")
            self._told.add(index)
            raise
        return task

    def ended(self, index: int, code: int, seconds: float | None) -> None:
        """Says what a process came to, or that there was nothing to do, and gives the run free."""
        job, self.made = self.jobs[index], self.made + 1
        place = f"[{self.before + self.made}/{self.before + len(self.jobs)}] {job.name}"
        run, finished = find(job, self.out / "runs")
        state = self._states[index]
        if started := self._at_work.pop(index, None):
            started.lock.close()
            if code or not finished:
                state.state = "failed"
                self._failed(job, started.task, code, place)
                say(self.line(job.arm))
                return
        assert run is not None
        scores = Run(run).scores
        pool = "test" if "last/test_accuracy" in scores else "val"
        reached = {which: scores.get(f"{which}/{pool}_accuracy") for which in ("best", "last")}
        said = [f"{which} {100 * score:.1f} %" for which, score in reached.items() if score is not None]
        state.state, state.seconds = "finished", max(seconds or 0.0, Run(run).seconds or 0.0)  # it may have gone on
        took = "made by another process" if seconds is None else duration(seconds)
        say(f"{place}: {', '.join(said)} on {pool}; {took}; {os.path.relpath(run)}")
        say(self.line(job.arm))

    def look(self) -> None:
        """Says how an arm stands when its first run has told how long it takes."""
        for index, work in self._at_work.items():
            state = self._states[index]
            if state.seconds is None and _size(work.task.log) > work.said:
                with work.task.log.open("rb") as log:
                    log.seek(work.said)
                    new = log.read()
                work.said += new.rfind(b"\n") + 1
                if (left := time_told(new.decode(errors="replace"))) is not None:
                    first = expected(self._runs, state.arm) is None
                    state.seconds = time.monotonic() - work.since + left
                    if first:
                        say(self.line(state.arm))

    def line(self, arm: str) -> str:
        """How an arm stands, and the grid (`semisup.compare.time_left.line`)."""
        for index, work in self._at_work.items():
            self._states[index].elapsed = time.monotonic() - work.since
        return line(self._runs, arm, self.at_once)

    def _failed(self, job: Job, task: Task, code: int, place: str) -> None:
        said = task.log.read_text(encoding="utf-8", errors="replace").strip().splitlines() or ["nothing was said"]
        command = shell(*redacted(["semisup", *task.command[3:]]))
        self.failures.append(Failure(job.name, code, said[-1], os.path.relpath(task.log, self.out), command))
        say(f"{place}: FAILED, {said[-1]}")


def _size(log: Path) -> int:
    return log.stat().st_size if log.exists() else 0
