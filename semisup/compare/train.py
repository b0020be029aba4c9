"""Trains the runs of a grid that are missing, each in a process of its own, and says a line of each."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from semisup.compare.collect import read_run
from semisup.compare.grid import Job, find, fit_command
from semisup.compare.processes import Task, parallel, run_all, share
from semisup.compare.record import Failure
from semisup.escape import shell
from semisup.runs.directory import redacted
from semisup.runtime.console import say


def train(jobs: Sequence[Job], out: Path, wanted: int | None, lock: int) -> list[Failure]:
    """Makes the runs that are missing, with a line for each; returns those that failed.

    Args:
        jobs: all runs of the grid.
        out: its folder; runs go to `out/runs`, what they say to `out/logs`.
        wanted: processes in parallel; None leaves it to the machine.
        lock: of the folder, from `alone`.

    Raises:
        KeyboardInterrupt: it was asked to stop, and the runs have been stopped.
    """
    root = out / "runs"
    states = [find(job, root) for job in jobs]
    due = [(job, run) for job, (run, finished) in zip(jobs, states, strict=True) if not finished]
    begun = sum(run is not None for _, run in due)
    done = len(jobs) - len(due)
    say(f"{len(jobs)} runs: {done} finished before, {begun} to go on with, {len(due) - begun} to begin")
    if not due:
        return []
    gpus = torch.cuda.device_count()
    at_once = wanted or parallel(gpus)
    threads = (os.environ | share(at_once, 0, gpus))["OMP_NUM_THREADS"]
    say(f"{at_once} at once, with OMP_NUM_THREADS={threads}; Ctrl-C stops them, and the same command goes on")
    tasks = [
        Task([sys.executable, "-m", "semisup", *fit_command(job, root, run)], out / "logs" / f"{job.slug}.log")
        for job, run in due
    ]
    failures, durations = [], []

    def ended(index: int, code: int, seconds: float) -> None:
        job, log = due[index][0], tasks[index].log
        durations.append(seconds)
        left = len(due) - len(durations)
        place = f"[{done + len(durations)}/{len(jobs)}] {job.name}"
        run, finished = find(job, root)
        if code or not finished or run is None:
            said = log.read_text(encoding="utf-8", errors="replace").strip().splitlines() or ["nothing was said"]
            command = shell(*redacted(["semisup", *tasks[index].command[3:]]))
            failures.append(Failure(job.name, code, said[-1], os.path.relpath(log, out), command))
            say(f"{place}: FAILED, {said[-1]}")
            return
        scores = read_run(run).run.scores
        pool = "test" if "last/test_accuracy" in scores else "val"
        reached = {which: scores.get(f"{which}/{pool}_accuracy") for which in ("best", "last")}
        said = [f"{which} {100 * score:.1f} %" for which, score in reached.items() if score is not None]
        eta = f"; about {_duration(sum(durations) / len(durations) * left / at_once)} left" if left else ""
        say(f"{place}: {', '.join(said)} on {pool}; {_duration(seconds)}{eta}; {os.path.relpath(run)}")

    try:
        run_all(tasks, at_once, gpus, lock, ended)
    except KeyboardInterrupt:
        say(f"stopped: {done + len(durations)} of {len(jobs)} runs are made; the same command goes on with the others")
        raise
    return failures


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"
