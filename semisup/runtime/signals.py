"""Signals that end a training in good order: Ctrl-C, a closed terminal's, a cluster's, and SLURM's requeue signal.

A signal during a training is only written down. At the end of the step all ranks agree on it, the checkpoint is
written, and `Stopped` is raised on every rank at the same step (semisup/training/checkpoints.py). Outside of a
training, where there is nothing to save, it is raised at once. A second Ctrl-C ends the process wherever it is.

Lightning has handlers of its own, but not ones to rely on: its SIGTERM handler starts a broadcast in the middle of
whatever the rank is computing, its SLURM handler saves in the middle of a step, into a file that any later run would
take up, and Ctrl-C saves nothing. Ours are installed over the first; the second it leaves out where there is a handler.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

from pytorch_lightning.plugins.environments import SLURMEnvironment
from pytorch_lightning.utilities.rank_zero import rank_zero_only

# What would end the process by itself: Ctrl-C; a cluster's or a shell's wish; a closed terminal; Ctrl-\; the limit of
# CPU time; and the two that are left to users, by which clusters warn before a job's time is over.
STOPPING = (
    *(signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT),
    *(signal.SIGXCPU, signal.SIGUSR1, signal.SIGUSR2),
)


class Stopped(SystemExit):
    """A signal ended the run; the exit code is 128 + its number, as a shell reports it.

    Attributes:
        number: of the signal.
        exit_code: of this process.
    """

    def __init__(self, number: int) -> None:
        self.number, self.exit_code = number, 128 + number
        super().__init__(self.exit_code)

    @property
    def name(self) -> str:
        """Of the signal, as a user knows it."""
        return "Ctrl-C" if self.number == signal.SIGINT else signal.Signals(self.number).name


class Signals:
    """Takes the signals of `STOPPING`, and those that are given besides.

    Args:
        besides: numbers of those that are given.
        again: what the second Ctrl-C does; by default it ends the process.

    Attributes:
        besides: numbers of those that were given, by which a scheduler asks for a run to be queued again.
        received: number of the first signal since the start, 0 for none.
        deferred: whether signals are only written down, for others to ask for; else `Stopped` is raised at once.
    """

    def __init__(self, besides: Iterable[int] = (), again: Any = signal.SIG_DFL) -> None:
        self._again = again
        self.received, self.deferred = 0, False
        self.besides = list(besides)
        self._before: dict[int, Any] = {}  # what became of the signals that come here now

    @contextmanager
    def handled(self) -> Iterator[None]:
        """While it lasts, the signals come here; in another thread than the main one, Python can't do that."""
        if threading.current_thread() is threading.main_thread():
            before = {number: signal.getsignal(number) for number in {*STOPPING, *self.besides}}
            # What was started with a signal ignored (by nohup, or with & in a script) goes on ignoring it; and what
            # Python doesn't know the handler of (None), it could not give back.
            self._before = {number: then for number, then in before.items() if then not in (signal.SIG_IGN, None)}
        self.install()
        try:
            yield
        finally:
            self.deferred = False
            for number, then in self._before.items():
                signal.signal(number, then)
            self._before = {}

    def install(self) -> None:
        """Takes the signals, while they are `handled`, from one who has taken them since."""
        for number in self._before:
            signal.signal(number, self._handle)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT:
            signal.signal(number, self._again)  # the next one leaves, also out of the middle of a long operation
        if not self.deferred:
            raise Stopped(number)
        # Not others: `timeout` and clusters send SIGTERM twice, to the process and to its group.
        if not self.received:
            _tell(f"{Stopped(number).name}: finishing the step, and saving; a second Ctrl-C leaves at once")
        self.received = self.received or number


@rank_zero_only
def _tell(line: str) -> None:
    """Says a line where a handler may: `print` must not be entered again where it was interrupted."""
    with suppress(OSError):  # the terminal is gone
        os.write(2, f"\n{line}\n".encode())


def requeue_signals(plugins: Iterable[Any]) -> list[int]:
    """The signal by which SLURM asks a run to save and to be queued again; none outside of a SLURM job.

    Args:
        plugins: the Trainer's; a `SLURMEnvironment` among them says which signal, or none (auto_requeue=False).
    """
    slurm = next((plugin for plugin in plugins if isinstance(plugin, SLURMEnvironment)), None)
    if slurm is None and SLURMEnvironment.detect():
        slurm = SLURMEnvironment()
    return [int(slurm.requeue_signal)] if slurm and slurm.auto_requeue and slurm.requeue_signal else []


def requeue() -> str:
    """Asks SLURM to queue this job again, and returns in a few words what came of it."""
    job = os.environ["SLURM_JOB_ID"]
    if array := os.environ.get("SLURM_ARRAY_JOB_ID"):
        job = f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    try:
        subprocess.run(["scontrol", "requeue", job], check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        return f"SLURM does not queue job {job} again ({getattr(error, 'stderr', '') or error})".replace("\n", " ")
    return f"SLURM queues job {job} again; with --resume auto in its script it goes on"
