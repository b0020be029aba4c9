"""Faults of several processes, and of the clock."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
from PIL import Image

from .outcome import Outcome
from .runs import SIX_STEPS, fit, half_written, left, same_end, shell, start, step_of, wait


class Dies(pl.Callback):
    """Kills a rank before step 4, as the kernel does where memory is short."""

    def __init__(self, rank: int) -> None:
        self.rank = rank

    def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        if (trainer.global_rank, trainer.global_step) == (self.rank, 4):
            os.kill(os.getpid(), signal.SIGKILL)


def rank_1_dies(folder: Path, whole: Path) -> Outcome:
    """Of two ranks on one machine, the one that the other started is killed before step 4."""
    return _rank_dies(folder, 1, "semisup", "fit", "--trainer.devices", "2")


def rank_0_dies(folder: Path, whole: Path) -> Outcome:
    """Of two ranks on one machine, the one that started the other is killed before step 4."""
    return _rank_dies(folder, 0, "semisup", "fit", "--trainer.devices", "2")


def rank_under_torchrun_dies(folder: Path, whole: Path) -> Outcome:
    """Of two ranks that torchrun started, the second is killed before step 4."""
    meeting = ["--rdzv_backend", "c10d", "--rdzv_endpoint", "127.0.0.1:0", "--nproc_per_node", "2"]
    return _rank_dies(folder, 1, "torch.distributed.run", *meeting, "-m", "semisup", "fit")


def _rank_dies(folder: Path, rank: int, *command: str) -> Outcome:
    dying = [
        "--trainer.callbacks+=faults.processes.Dies",
        f"--trainer.callbacks.rank={rank}",
        "--tracking.mode",
        "disabled",
    ]
    place = ["--data", "digits", "--trainer.default_root_dir", str(folder / "runs")]
    ended, alive = shell(*command, *dying, *place, *SIX_STEPS)
    words = "ends because another rank of this run did"
    met = {"an error": ended.code != 0, "nobody is left": alive == 0, "saved": step_of(folder) == 3}
    met |= {"says so": words in ended.said, "nothing of gloo's": "gloo" not in ended.said}
    happened = f"exit code {ended.code}; {alive} processes lived on; of the other rank: {ended.line(words)}"
    return Outcome(happened, left(folder), met)


def two_at_one_cache(folder: Path, whole: Path) -> Outcome:
    """Two runs that begin at once resize the same pictures into the same cache."""
    noise = np.random.default_rng(0)
    for number in range(60):
        path = folder / f"pictures/train/{'abc'[number % 3]}/{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise.integers(0, 256, (300, 300, 3)).astype(np.uint8)).save(path)
    pictures = ["--data", "folder", "--data.root", str(folder / "pictures"), "--data.image_size", "32"]
    since, roots = time.monotonic(), [folder / "one", folder / "two"]
    both = [wait(process, root, since) for process, root in [(start(root, *pictures), root) for root in roots]]
    caches = list(folder.rglob("*.rows"))
    met = {"both end": [ended.code for ended in both] == [0, 0], "one cache": len(caches) == 1}
    met |= {"nothing half-written": not half_written(folder), "same end": same_end(*roots)}
    made = sum("data: resized 60 files" in ended.said for ended in both)
    return Outcome(f"exit codes {both[0].code} and {both[1].code}; {made} of them wrote it", "one cache", met)


def clock_goes_back(folder: Path, whole: Path) -> Outcome:
    """After a run the clock goes back an hour and stands still; two more runs follow."""
    stopped = time.localtime(time.time() - 3600)
    real = time.strftime

    def back(*_: Any) -> None:
        time.strftime = lambda form, *given: real(form, *(given or (stopped,)))  # type: ignore[assignment]

    first = fit(folder / "runs")
    before = {path: path.read_bytes() for path in folder.rglob("runs/**/*") if path.is_file()}
    codes = [first.code, *(fit(folder / "runs", act=back, step=-1).code for _ in range(2))]
    names = sorted(path.parent.name for path in folder.rglob("environment.txt"))
    met = {"all end": codes == [0, 0, 0], "three directories": len(names) == 3, "-2": names[1] == f"{names[0]}-2"}
    met["the first run is as it was"] = all(path.read_bytes() == content for path, content in before.items())
    return Outcome(f"exit codes {codes}", f"the runs {', '.join(names)}", met)


FAULTS = [rank_1_dies, rank_0_dies, rank_under_torchrun_dies, two_at_one_cache, clock_goes_back]
