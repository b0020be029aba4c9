"""Killed at a named step and resumed, a run ends to the bit as if nothing had happened, whatever flags it has.

A run of three epochs of four batches goes through once. Before the batches that are named, its directory is copied:
that is what a process that is killed there leaves behind. Each copy is put in the run's place and resumed, and must end
with the checkpoint and the record of the run that nobody disturbed.
"""

from __future__ import annotations

import math
import shlex
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import install_blobs
from torch import Tensor

from semisup.cli import fit
from semisup.cli.front import main
from semisup.training import checkpoints
from semisup.training.checkpoints import Checkpoints

BASE = (
    "--data blobs --tracking.mode disabled --trainer.accelerator cpu --trainer.devices 1 --trainer.max_epochs 3 "
    "--trainer.log_every_n_steps 1 --trainer.num_sanity_val_steps 0"
)
KILLED = (6, 8)  # batches of the whole run before which it is: within the second epoch, and between two
MORE = (7,)  # where it is validated within epochs: after such a validation
CALLBACK = "--trainer.callbacks pytorch_lightning.callbacks."
FLAGS = {
    "nothing": "",
    "accumulation": "--trainer.accumulate_grad_batches 2",
    "accumulation that leaves a rest": "--trainer.accumulate_grad_batches 3",
    "accumulation by epoch": CALLBACK + "GradientAccumulationScheduler --trainer.callbacks.scheduling '{1: 2}'",
    "validation by fraction": "--trainer.val_check_interval .5",
    "validation by number": "--trainer.val_check_interval 3",
    "validation by number over epochs": "--trainer.val_check_interval 5 --trainer.check_val_every_n_epoch null",
    "validation by time": "--trainer.val_check_interval 00:01:00:00",
    "validation every second epoch": "--trainer.check_val_every_n_epoch 2",
    "limited by number": "--trainer.limit_train_batches 3 --trainer.limit_val_batches 1",
    "limited by fraction": "--trainer.limit_train_batches .75 --trainer.limit_val_batches .5",
    "overfitting": "--trainer.overfit_batches 3",
    "clipped by norm": "--trainer.gradient_clip_val .1",
    "clipped by value": "--trainer.gradient_clip_val .01 --trainer.gradient_clip_algorithm value",
    "at most ten steps": "--trainer.max_steps 10",
    "at least ten steps": "--trainer.max_epochs 2 --trainer.min_steps 10",
    "at least three epochs": "--trainer.min_epochs 3",
    "at most an hour": "--trainer.max_time 00:01:00:00",
    "64-true": "--trainer.precision 64-true",
    "bf16-true": "--trainer.precision bf16-true",
    "bf16-mixed": "--trainer.precision bf16-mixed",
    "reloaded loaders": "--trainer.reload_dataloaders_every_n_epochs 1",
    "adam": "--optimizer adam",
    "adam, fused": "--optimizer adam --optimizer.fused true --optimizer.amsgrad true",
    "adafactor": "--optimizer adafactor",
    "lbfgs": "--optimizer lbfgs --optimizer.max_iter 3",
    "rprop": "--optimizer rprop",
    "halving": "--lr_scheduler halving --lr_scheduler.every_epochs 1",
    "own checkpoints": CALLBACK
    + "ModelCheckpoint --trainer.callbacks.monitor val/accuracy --trainer.callbacks.mode max "
    "--trainer.callbacks.filename {epoch}-{val/accuracy:.2f} --trainer.callbacks.save_last true",
    "own checkpoints by step": CALLBACK + "ModelCheckpoint --trainer.callbacks.every_n_train_steps 2 "
    "--trainer.callbacks.save_top_k -1",
    "early stopping": CALLBACK + "EarlyStopping --trainer.callbacks.monitor val/loss --trainer.callbacks.min_delta 9",
    "early stopping with patience": CALLBACK + "EarlyStopping --trainer.callbacks.monitor val/loss",
    "early stopping, validation by fraction": "--trainer.val_check_interval .5 "
    + CALLBACK
    + "EarlyStopping --trainer.callbacks.monitor val/loss --trainer.callbacks.min_delta .2 "
    "--trainer.callbacks.patience 2",
    "own checkpoints, validation by number": "--trainer.val_check_interval 1 "
    + CALLBACK
    + "ModelCheckpoint --trainer.callbacks.monitor val/loss --trainer.callbacks.save_top_k 2",
    "SWA": CALLBACK + "StochasticWeightAveraging --trainer.callbacks.swa_lrs .01 --trainer.callbacks.swa_epoch_start 1",
    "SWA at the end": CALLBACK + "StochasticWeightAveraging --trainer.callbacks.swa_lrs .01",
    "an average": CALLBACK + "EMAWeightAveraging --trainer.callbacks.decay .9",
    "learning rates": CALLBACK + "LearningRateMonitor",
    "fixmatch in 64-true": "--strategy fixmatch --fixmatch.ratio 1 --fixmatch.ema_decay .9 --trainer.precision 64-true",
    "pseudolabel": "--strategy pseudolabel --pseudolabel.warmup_epochs 1 --pseudolabel.every_n_epochs 1 "
    "--pseudolabel.threshold .4 --trainer.accumulate_grad_batches 2",
}


@pytest.fixture(autouse=True)
def blobs(monkeypatch: pytest.MonkeyPatch) -> None:
    """`--data blobs`, a checkpoint after every step, and no scoring after the training."""
    install_blobs(monkeypatch)
    monkeypatch.setattr(checkpoints, "SECONDS", 0.0)
    monkeypatch.setattr(fit, "_report", lambda *arguments: None)


def ends(run: Path) -> dict[str, Any]:
    """What a run ends with: all of its last checkpoint, the weights of the best one, and the record."""
    found = {path.stem: torch.load(path, weights_only=True) for path in (run / "checkpoints").iterdir()}
    best = found.get("best", {}).get("state_dict")  # none where nothing was validated
    return {**found["last"], "best": best, "metrics.csv": (run / "metrics.csv").read_text()}


def differences(one: Any, other: Any, where: str = "") -> Iterator[str]:
    """Where two checkpoints differ in a bit; not in times, in the seal, which is over those, and in what
    Lightning saves and does not restore.
    """
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        for key in {**one, **other}:
            if key not in ("digest", "seconds", "Timer", "current_score"):
                yield from differences(one.get(key), other.get(key), f"{where}/{key}")
    elif isinstance(one, list | tuple) and isinstance(other, list | tuple) and len(one) == len(other):
        for place, pair in enumerate(zip(one, other, strict=True)):
            yield from differences(*pair, f"{where}/{place}")
    elif isinstance(one, Tensor) and isinstance(other, Tensor):
        if one.dtype != other.dtype or not torch.equal(one, other):
            yield where
    elif one != other and not (isinstance(one, float) and isinstance(other, float) and math.isnan(one + other)):
        yield f"{where}: {one} and {other}"


@pytest.mark.parametrize("name", FLAGS)
def test_a_run_killed_at_a_step_ends_as_if_nothing_had_happened(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    started, batches = Checkpoints.on_train_batch_start, iter(range(99))

    def copying(self: Checkpoints, *arguments: Any) -> None:
        if (batch := next(batches)) in (*KILLED, *(MORE if "validation" in name else ())):
            shutil.copytree(self.folder.parent, tmp_path / "killed" / str(batch))
        started(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "on_train_batch_start", copying)
        assert main(["fit", *BASE.split(), *shlex.split(FLAGS[name])]) == 0
    (run,) = Path("runs").glob("*/*/*")
    expected = ends(run)
    killed = sorted((tmp_path / "killed").iterdir())
    assert killed
    for left in killed:
        shutil.rmtree(run)
        left.rename(run)
        assert main(["fit", "--resume", str(run), "--trust"]) == 0
        assert list(differences(expected, ends(run), f"killed before batch {left.name}")) == []
