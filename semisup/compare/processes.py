"""Processes in parallel: each with its share of the machine and its own log, and none left behind."""

from __future__ import annotations

import fcntl
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

from semisup.errors import InputError
from semisup.runtime.console import say

GRACE_SECONDS = 60.0  # to finish the step, save, and close W&B
_POLL_SECONDS = 0.1
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
    found = {}
    if "OMP_NUM_THREADS" not in os.environ:
        found["OMP_NUM_THREADS"] = str(max(1, len(os.sched_getaffinity(0)) // jobs))
    if jobs > 1 and gpus > 1:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(gpus)))
        names = visible.split(",")
        found["CUDA_VISIBLE_DEVICES"] = names[slot % len(names)].strip()
    return found


def run_all(tasks: Sequence[Task], jobs: int, gpus: int, lock: int, ended: Callable[[int, int, float], None]) -> None:
    """Runs the tasks in their order, some at once, and calls `ended` after each with its index, exit code and seconds.

    Whatever ends this function early (Ctrl-C, SIGTERM, SIGHUP, an error) stops the processes as well: they get a
    SIGTERM, on which a training saves itself, and are killed after 60 s or at another Ctrl-C.

    Args:
        tasks: what to run.
        jobs: how many at once.
        gpus: that there are.
        lock: a file descriptor of `alone`, which each process holds as well.
        ended: called after each.

    Raises:
        KeyboardInterrupt: this process was asked to end.
    """
    waiting, free = list(enumerate(tasks)), list(range(jobs))
    running: dict[int, tuple[subprocess.Popen[bytes], int, float]] = {}  # index -> process, slot, start
    with _signals():
        try:
            while waiting or running:
                while waiting and free:
                    index, task = waiting.pop(0)
                    slot = free.pop(0)
                    running[index] = (_start(task, os.environ | share(jobs, slot, gpus), lock), slot, time.monotonic())
                time.sleep(_POLL_SECONDS)
                for index, (process, slot, since) in list(running.items()):
                    if (code := process.poll()) is not None:
                        del running[index]
                        free.append(slot)
                        ended(index, code, time.monotonic() - since)
        finally:
            _stop([process for process, _, _ in running.values()])


def _start(task: Task, environment: dict[str, str], lock: int) -> subprocess.Popen[bytes]:
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
            pass_fds=[lock],
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

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    for number, handler in before.items():
        if handler != signal.SIG_IGN:
            signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def alone(folder: Path) -> Iterator[int]:
    """Keeps other comparisons out of a folder while we, or processes that outlived us, are at work in it.

    Yields:
        The file descriptor of the lock, for the processes to inherit.

    Raises:
        InputError: another one is at work there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder / ".lock", os.O_CREAT | os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield descriptor
    except BlockingIOError as error:
        raise InputError(
            f"another semisup compare, or a run that it started, is at work in {folder}; wait for it, end it, or type "
            f"--out for another folder"
        ) from error
    finally:
        os.close(descriptor)
