"""Processes in parallel: each with its share of the machine and its own log, and none left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import NoReturn

from semisup.runs.lock import Held
from semisup.runtime.console import say
from semisup.runtime.signals import STOPPING

GRACE_SECONDS = 60.0  # to finish the step, save, and close W&B
_POLL_SECONDS = 0.1
_ASK_SECONDS = 2.0  # from one question to the next whether another process is still at a task
_MEMORY = 4 * 1024**3  # bytes of a process that trains on a CPU


@dataclass(frozen=True)
class Task:
    """A process to be run.

    Attributes:
        command: program and arguments.
        log: the file that all it says is added to.
    """

    command: list[str]
    log: Path


def parallel(gpus: int) -> int:
    """How many processes train at once where nobody says it: 1, which takes what GPUs it likes.

    Without a GPU, 1 for each core and 4 GB of free memory: several networks on a thread each train faster than one
    after the other on several threads.
    """
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return 1 if gpus else max(1, min(len(os.sched_getaffinity(0)), free // _MEMORY))


def share(jobs: int, slot: int, gpus: int) -> dict[str, str]:
    """What a process's environment says of its share of the machine.

    Args:
        jobs: processes at once.
        slot: this one's place among them, from 0.
        gpus: that there are.

    Returns:
        The threads, unless the user's environment says how many: the cores are divided among the processes. With
        several GPUs and several processes, one of the GPUs that the user's environment allows.
    """
    variables = {}
    if "OMP_NUM_THREADS" not in os.environ:
        variables["OMP_NUM_THREADS"] = str(max(1, len(os.sched_getaffinity(0)) // jobs))
    if jobs > 1 and gpus > 1:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(gpus)))
        names = visible.split(",")
        variables["CUDA_VISIBLE_DEVICES"] = names[slot % len(names)].strip()
    return variables


def run_all(
    count: int,
    jobs: int,
    gpus: int,
    begin: Callable[[int], Task | None],
    ended: Callable[[int, int, float | None], None],
    turn: Callable[[], None] = lambda: None,
) -> None:
    """Runs tasks in their order, some at once, and calls `ended` after each with its index, exit code and seconds.

    A task that another process has at work is passed over, and asked for again until it is free or done.

    Whatever ends this function early (Ctrl-C or another signal that asks for it, an error) stops the processes as well:
    they get a SIGTERM, on which a training saves itself, and are killed after 60 s or at another Ctrl-C.

    Args:
        count: how many tasks there are.
        jobs: how many run at once.
        gpus: that there are.
        begin: called with a task's index when there is room for it; what to start, None where nothing is left to do,
            or `Held` is raised where another process is at it.
        ended: called after each; None seconds where there was nothing to do.
        turn: called now and then, while something runs.

    Raises:
        KeyboardInterrupt: this process was asked to end.
    """
    waiting, free = dict.fromkeys(range(count), 0.0), list(range(jobs))  # index -> when to ask for it
    running: dict[int, tuple[subprocess.Popen[bytes], int, float]] = {}  # index -> process, slot, start
    with _signals():
        try:
            while waiting or running:
                for index in [index for index, due in waiting.items() if due <= time.monotonic()]:
                    if not free:
                        break
                    try:
                        task = begin(index)
                    except Held:
                        waiting[index] = time.monotonic() + _ASK_SECONDS
                        continue
                    del waiting[index]
                    if task is None:
                        ended(index, 0, None)
                        continue
                    slot = free.pop(0)
                    running[index] = (_start(task, os.environ | share(jobs, slot, gpus)), slot, time.monotonic())
                time.sleep(_POLL_SECONDS)
                turn()
                for index, (process, slot, since) in list(running.items()):
                    if (code := process.poll()) is not None:
                        del running[index]
                        free.append(slot)
                        ended(index, code, time.monotonic() - since)
        finally:
            _stop([process for process, _, _ in running.values()])


def _start(task: Task, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    """Starts a task in a session of its own, so that Ctrl-C reaches us alone, and a signal all that it starts."""
    task.log.parent.mkdir(parents=True, exist_ok=True)
    with task.log.open("ab") as log:
        return subprocess.Popen(
            task.command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )


def _stop(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    if running := [process for process in processes if process.poll() is None]:
        say(f"stopping {len(running)} run{'s' * (len(running) > 1)}, which save themselves; Ctrl-C again kills them")
    try:
        _send(processes, signal.SIGTERM)
        deadline = time.monotonic() + GRACE_SECONDS
        while any(process.poll() is None for process in processes) and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
    finally:
        _send(processes, signal.SIGKILL)
        for process in processes:
            process.wait()


def _send(processes: Sequence[subprocess.Popen[bytes]], number: signal.Signals) -> None:
    """To every process that still runs, and to those that it started."""
    for process in processes:
        if process.poll() is None:
            os.killpg(process.pid, number)


@contextmanager
def _signals() -> Iterator[None]:
    """Lets what a scheduler or a closed terminal sends stop us as Ctrl-C does, where it isn't ignored (nohup)."""

    def interrupt(number: int, frame: FrameType | None) -> NoReturn:
        raise KeyboardInterrupt

    before = {number: signal.getsignal(number) for number in STOPPING}
    for number, handler in before.items():
        if handler not in (signal.SIG_IGN, None):
            signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            if handler is not None:
                signal.signal(number, handler)
