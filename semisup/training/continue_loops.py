"""What Lightning leaves out when it restores the loops of a training."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import (
    EarlyStopping,
    GradientAccumulationScheduler,
    StochasticWeightAveraging,
    Timer,
)
from pytorch_lightning.callbacks.early_stopping import EarlyStoppingReason

# Lightning's own callbacks that set the trainer up when an epoch begins, for as long as it lasts.
_SET_UP_BY_EPOCH = (GradientAccumulationScheduler, StochasticWeightAveraging)


class ContinueLoops(pl.Callback):
    """Lets a resumed training go on where it was; it stands first among the callbacks. Lightning by itself

    - takes an epoch whose last step was taken for one that goes on, where there is a `max_steps`: it would end it a
      second time, and train one epoch less;
    - does not call what sets an epoch up that goes on;
    - does not know of a training that a callback had stopped, and would go on until that callback is asked again;
    - checks the validation once more between two epochs, and forgets how much of it was done;
    - does not restore the learning rates of its weight averaging in the epoch that this adds.
    """

    def __init__(self) -> None:
        self._within_epoch = False  # one that goes on, and was not set up yet

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Leaves the check of the validation to trainings that begin."""
        if trainer.ckpt_path is not None:
            trainer.num_sanity_val_steps = 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begins the next epoch, or ends a training that was stopped."""
        loop = trainer.fit_loop
        if loop.restarted_on_epoch_end:
            loop.epoch_progress.increment_completed()
            loop.reset_restart_stage()
            loop._restarting = loop.epoch_loop.restarting = False  # the loop's own setter would make it true again
        self._within_epoch = loop.restarted_mid_epoch
        if trainer.ckpt_path is not None:
            trainer.should_stop = any(map(_has_stopped, trainer.callbacks))  # type: ignore[attr-defined]

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Restores a weight averaging that goes on with its additional epoch, as if that were the one before."""
        epochs = trainer.fit_loop.epoch_progress.current
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            averages = isinstance(callback, StochasticWeightAveraging) and not callback._initialized
            if averages and trainer.current_epoch == callback.swa_end + 1:
                epochs.completed -= 1
                callback.on_train_epoch_start(trainer, pl_module)
                epochs.completed += 1

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Sets up an epoch that goes on, now that every callback has begun: they look at how the trainer was made."""
        if self._within_epoch:
            self._within_epoch = False
            for callback in trainer.callbacks:  # type: ignore[attr-defined]
                if isinstance(callback, _SET_UP_BY_EPOCH):
                    callback.on_train_epoch_start(trainer, pl_module)


def _has_stopped(callback: pl.Callback) -> bool:
    """Whether a callback had stopped the training, as its restored state says."""
    if isinstance(callback, EarlyStopping):
        return callback.stopping_reason is not EarlyStoppingReason.NOT_STOPPED
    left = callback.time_remaining() if isinstance(callback, Timer) else None
    return left is not None and left <= 0
