"""What the faults need: small runs that something happens to, and what they leave."""

from __future__ import annotations

import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from semisup.__main__ import main as semisup
from semisup.runs.run import Run
from semisup.training.progress import Progress

SIX_STEPS = [
    *("--data.steps_per_epoch", "3", "--trainer.max_epochs", "2", "--trainer.log_every_n_steps", "1"),
    *("--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false"),
]
ALONE = ["--data", "digits", "--trainer.devices", "1", "--tracking.mode", "disabled"]
_LONG = 1800.0  # seconds after which a run hangs

Act = Callable[[Any, Any], object]  # on a trainer and a classifier


class Skipped(Exception):
    """A fault can't be injected here, and why."""


@dataclass
class Ended:
    """How a run ended.

    Attributes:
        code: exit code, or minus the signal that killed it.
        said: all that it printed.
        seconds: that it took.
    """

    code: int
    said: str
    seconds: float

    def line(self, word: str) -> str:
        """The first line that holds a word, without our own folders; empty where none does."""
        found = next((line for line in self.said.splitlines() if word in line), "")
        return re.sub(r"[^\s']*/(?=(runs|metrics\.csv|checkpoints|wandb)\b)", "", found).removeprefix(
            "semisup: error: "
        )

    def told(self, code: int, *words: str) -> dict[str, bool]:
        """Whether it ended with an exit code and said the words, on lines and not in a traceback."""
        here = {f"says {word!r}": word in self.said for word in words}
        return {f"exit code {code}": self.code == code, "no traceback": "Traceback" not in self.said} | here


# ---- runs


def start(root: Path, *options: str, act: Act | None = None, step: int = 4) -> BaseProcess:
    """Starts a fit under a folder, forked from this process, which has imported everything.

    Args:
        root: the folder; what the run says goes to `root.log`.
        options: of the command line.
        act: what happens before a step.
        step: which one; before -1, the run begins.
    """

    def strike(self: Any, trainer: pl.Trainer, module: pl.LightningModule, *_: Any) -> None:
        if act and trainer.global_step == step:
            act(trainer, module)

    def child() -> None:
        _print_into(root.with_suffix(".log"))
        Progress.on_train_batch_start = strike  # type: ignore[method-assign]
        if act and step == -1:
            act(None, None)
        _leave(["fit", *ALONE, *SIX_STEPS, "--trainer.default_root_dir", str(root), *options])

    root.parent.mkdir(parents=True, exist_ok=True)
    return _forked(child)


def _forked(child: Callable[[], None]) -> BaseProcess:
    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    return process


def _print_into(path: Path) -> None:
    log = path.open("w", buffering=1)
    os.dup2(log.fileno(), 1)
    os.dup2(log.fileno(), 2)
    sys.stdout = sys.stderr = log


def _leave(words: list[str]) -> None:
    """Runs the command line as `python -m semisup` does, and ends this process as it ends."""
    sys.argv = ["semisup", *words]
    try:
        code = semisup()
    except SystemExit as leaving:
        code = int(leaving.code or 0)
    os._exit(code)


def begin(folder: Path, name: str, *words: str) -> BaseProcess:
    """Starts a command line in a folder, forked from this process; what it says goes to `name.log` there."""

    def child() -> None:
        _print_into(folder / f"{name}.log")
        os.chdir(folder)
        sys.path.insert(0, str(folder))
        _leave([*words])

    return _forked(child)


def command(folder: Path, *words: str) -> Ended:
    """A command line in a folder, and how it ended."""
    since = time.monotonic()
    return wait(begin(folder, "command", *words), folder / "command", since)


def finished(folder: Path, whole: Path) -> Path:
    """A copy of the run under `whole`, in a folder."""
    run = run_under(whole)
    return Path(shutil.copytree(run, folder / "runs" / "digits" / "supervised" / run.name))


@contextmanager
def live(root: Path) -> Iterator[Path]:
    """A run that stands still before step 4, and goes on to its end when it is left."""
    here, go = root.with_suffix(".here"), root.with_suffix(".go")

    def stand(*_: Any) -> None:
        here.touch()
        while not go.exists():
            time.sleep(0.05)

    since, process = time.monotonic(), start(root, act=stand)
    while not here.exists() and process.is_alive():
        time.sleep(0.05)
    try:
        yield run_under(root)
    finally:
        go.touch()
        wait(process, root, since)


def stopped(root: Path, *options: str, number: int = signal.SIGTERM) -> Ended:
    """A fit that gets a signal before step 4."""
    return fit(root, *options, act=lambda *_: os.kill(os.getpid(), number))


def wait(process: BaseProcess, root: Path, since: float) -> Ended:
    """Waits for the end of what was started under a folder at some time."""
    process.join(_LONG)
    process.kill()  # what hangs
    process.join()
    assert process.exitcode is not None
    return Ended(process.exitcode, root.with_suffix(".log").read_text(), time.monotonic() - since)


def fit(root: Path, *options: str, act: Act | None = None, step: int = 4) -> Ended:
    """`start`, and `wait`."""
    since = time.monotonic()
    return wait(start(root, *options, act=act, step=step), root, since)


def shell(*command: str, **environment: str) -> tuple[Ended, int]:
    """A module of Python's with arguments: how it ended, and how many processes outlived it that it had started."""
    mark, since = uuid.uuid4().hex, time.monotonic()
    mine = {"SEMISUP_FAULT": mark, "PYTHONPATH": str(Path(__file__).parents[1]), "OMP_NUM_THREADS": "1", **environment}
    ways: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    process = subprocess.Popen([sys.executable, "-m", *command], env=os.environ | mine, text=True, **ways)
    alive: list[int] = []
    try:
        said, _ = process.communicate(timeout=_LONG)  # till none of them can print any more
    except subprocess.TimeoutExpired:
        alive = _killed(mark)
        said, _ = process.communicate()
    seconds = time.monotonic() - since
    return Ended(process.returncode, said, seconds), len(alive + _killed(mark))


def _killed(mark: str) -> list[int]:
    """Kills the processes whose environment holds a mark, and returns which they were."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if mark.encode() in path.read_bytes():
                os.kill(int(path.parent.name), signal.SIGKILL)
                found.append(int(path.parent.name))
        except OSError:  # another user's, or it has just ended
            continue
    return found


# ---- what they leave


def run_under(root: Path) -> Path:
    """The only run directory under a folder."""
    (path,) = root.rglob("environment.txt")
    return path.parent


def step_of(root: Path) -> int:
    """Steps that the last checkpoint under a folder has seen; 0 without one, -1 where its weights are not finite."""
    for path in root.rglob("last.ckpt"):
        checkpoint = torch.load(path, weights_only=True)
        finite = all(bool(x.isfinite().all()) for x in checkpoint["state_dict"].values())
        return int(checkpoint["global_step"]) if finite else -1
    return 0


def half_written(root: Path) -> list[str]:
    """Names of the files under a folder that were not yet put into place."""
    return [path.name for pattern in ("*.temporary", ".*.tmp", "*.part") for path in root.rglob(pattern)]


def left(root: Path) -> str:
    """What there is under a folder, in words."""
    steps = step_of(root)
    found = [f"the checkpoint after {steps} steps"] if steps else []
    found += [f"metrics.csv of {len(_losses(path.parent))} steps" for path in root.rglob("metrics.csv")]
    return ", ".join([*found, *half_written(root)]) or "nothing"


def same_end(root: Path, other: Path) -> bool:
    """Whether the runs under two folders have the same weights and losses, to the bit."""
    runs = run_under(root), run_under(other)
    for name in ("best.ckpt", "last.ckpt"):
        ours, theirs = (torch.load(run / "checkpoints" / name, weights_only=True)["state_dict"] for run in runs)
        if ours.keys() != theirs.keys() or not all(torch.equal(x, theirs[key]) for key, x in ours.items()):
            return False
    return _losses(runs[0]) == _losses(runs[1])


def _losses(run: Path) -> list[tuple[float, float]]:
    return [(row["step"], row["train/loss"]) for row in Run(run).metrics if "train/loss" in row]


# ---- where they lie


@contextmanager
def disk(folder: Path, kilobytes: int) -> Iterator[Path]:
    """A disk of its own in a folder."""
    folder.mkdir(parents=True)
    try:
        mount("-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(folder))
    except (OSError, subprocess.CalledProcessError) as error:
        raise Skipped("this user may not mount a disk") from error
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def mount(*arguments: str) -> None:
    """Mounts something, or mounts it anew."""
    subprocess.run(["mount", *arguments], check=True, capture_output=True)
