"""Flags of the Trainer and optimisers under which a killed run must end to the bit as one that nobody disturbed.

Shared by `test_exact_resume.py`, which kills at named steps, and `experiments/kill.py`, which kills every strategy at
random moments.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

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
    "early stopping": CALLBACK + "EarlyStopping --trainer.callbacks.monitor val/loss --trainer.callbacks.min_delta 9 "
    "--trainer.callbacks.patience 1",
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
}


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
