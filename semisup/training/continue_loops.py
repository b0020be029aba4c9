"""What Lightning leaves out when it restores the loops of a training."""

from __future__ import annotations

import pytorch_lightning as pl
from pytorch_lightning.callbacks import GradientAccumulationScheduler, StochasticWeightAveraging

# Lightning's own callbacks that set the trainer up when an epoch begins, for as long as it lasts.
_SET_UP_BY_EPOCH = (GradientAccumulationScheduler, StochasticWeightAveraging)


class ContinueLoops(pl.Callback):
    """Lets a resumed training go on where it was; it stands first among the callbacks.

    With `max_steps`, Lightning takes an epoch whose last step was taken for one that goes on: it would end it a second
    time, and train one epoch less. And within an epoch it does not call what sets the epoch up.
    """

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begins the next epoch, or sets up the one that goes on."""
        loop = trainer.fit_loop
        if loop.restarted_on_epoch_end:
            loop.epoch_progress.increment_completed()
            loop.reset_restart_stage()
            loop._restarting = loop.epoch_loop.restarting = False  # the loop's own setter would make it true again
        elif loop.restarted_mid_epoch:
            for callback in trainer.callbacks:  # type: ignore[attr-defined]
                if isinstance(callback, _SET_UP_BY_EPOCH):
                    callback.on_train_epoch_start(trainer, pl_module)
