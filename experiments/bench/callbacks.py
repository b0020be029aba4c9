"""Callbacks that benches give to `semisup fit` on its command line, and how what they saw comes back."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

_MARK = "bench: "  # begins the lines that a callback prints for the bench


class FirstStep(pl.Callback):
    """Tells when the first training step was done."""

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, idx: int) -> None:
        """After the optimiser's step."""
        if trainer.global_step == 1:
            _tell(time=time.time())


class Reached(pl.Callback):
    """Tells when validation first reached each of some accuracies, and ends the training at the highest.

    Args:
        accuracies: in [0, 1].
    """

    def __init__(self, accuracies: list[float]) -> None:
        self.accuracies, self._start = sorted(accuracies), 0.0

    def on_train_start(self, *args: Any) -> None:
        """Starts the clock."""
        self._start = time.time()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """After every epoch's validation, whose time is counted."""
        if trainer.sanity_checking:
            return
        while self.accuracies and trainer.callback_metrics["val/accuracy"] >= self.accuracies[0]:
            now, reached = time.time(), self.accuracies.pop(0)
            _tell(accuracy=reached, time=now, training=now - self._start, step=trainer.global_step)
        trainer.should_stop = trainer.should_stop or not self.accuracies


def _tell(**seen: float) -> None:
    print(f"{_MARK}{json.dumps(seen)}", flush=True)


def fit(callback: str, *options: str) -> tuple[float, list[dict[str, float]]]:
    """Runs `semisup fit` to its end in a new process and a folder that is removed.

    Args:
        callback: a class of this file.
        options: more of the command line.

    Returns:
        When the process was started, in seconds since the epoch, and what the callback told, in order.
    """
    with tempfile.TemporaryDirectory() as folder:
        ours = ["--trainer.default_root_dir", folder, "--trainer.callbacks", f"callbacks.{callback}"]
        path = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
        start = time.time()
        output = subprocess.run(
            [sys.executable, "-m", "semisup", "fit", *ours, *options],
            check=True,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": path},
        ).stdout
    return start, [json.loads(line.removeprefix(_MARK)) for line in output.splitlines() if line.startswith(_MARK)]
