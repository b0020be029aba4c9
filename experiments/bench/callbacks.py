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
    """Tells when validation first reached an accuracy, and ends the training there.

    Args:
        accuracy: in [0, 1].
    """

    def __init__(self, accuracy: float) -> None:
        self.accuracy, self._start = accuracy, 0.0

    def on_train_start(self, *args: Any) -> None:
        """Starts the clock."""
        self._start = time.time()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """After every epoch's validation, whose time is counted."""
        if not trainer.sanity_checking and trainer.callback_metrics["val/accuracy"] >= self.accuracy:
            _tell(time=time.time(), training=time.time() - self._start, step=trainer.global_step)
            trainer.should_stop = True


def _tell(**seen: float) -> None:
    print(f"{_MARK}{json.dumps(seen)}", flush=True)


def fit(callback: str, *options: str) -> tuple[float, dict[str, float]]:
    """Runs `semisup fit` to its end in a new process and a folder that is removed.

    Args:
        callback: a class of this file.
        options: more of the command line.

    Returns:
        When the process was started, in seconds since the epoch, and what the callback told first; empty for nothing.
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
    told = [line.removeprefix(_MARK) for line in output.splitlines() if line.startswith(_MARK)]
    return start, json.loads(told[0]) if told else {}
