"""How far a training is: its images and seconds, and the accuracy of every epoch; in a long one a line now and then."""

from __future__ import annotations

import time
from typing import Any

import pytorch_lightning as pl
from torch import Tensor

from semisup.batch import Batch
from semisup.classifier import Classifier
from semisup.runtime.console import QUIET, duration, say


class Progress(pl.Callback):
    """Counts images and seconds of training, and says how it goes where there is no progress bar.

    That is the accuracy of every epoch, and how far it is where nothing was said for half a minute.

    Attributes:
        began: whether this process took a step, or was about to; not where the training had ended before.
    """

    def __init__(self) -> None:
        self.images, self.seconds = 0, 0.0
        self.began, self._since = False, 0.0
        self._said = self._said_step = self._said_images = 0.0  # when, and what was done by then

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Starts the clock, also in the middle of an epoch that a run resumes in, and says where that is."""
        assert isinstance(pl_module, Classifier)
        self.began, self._since = True, time.monotonic()
        self._mark(trainer)
        if trainer.global_step:
            phases, steps = pl_module.phases, pl_module.total_steps
            step = phases.done(trainer)
            say(f"{phases.title}goes on after step {step:,} of {steps:,}, in epoch {pl_module.epoch + 1}")

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Batch, idx: int) -> None:
        """Counts a batch's images, over all ranks."""
        self.images += trainer.world_size * sum(map(len, batch.streams))
        self._count_seconds()
        if self._since - self._said >= QUIET and trainer.progress_bar_callback is None:
            self._say_how_far(trainer, pl_module, outputs["loss"])

    def on_validation_batch_end(
        self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Says how far a validation is that takes long."""
        if self.began and time.monotonic() - self._said >= QUIET and trainer.progress_bar_callback is None:
            say(f"validation: batch {batch_idx + 1:,} of {sum(trainer.num_val_batches):,.0f}")
            self._mark(trainer)

    def _say_how_far(self, trainer: pl.Trainer, module: Classifier, loss: Tensor) -> None:
        """Of the phase; the rate and the time left are by what was done since the last line."""
        seconds = self._since - self._said
        phases, steps = module.phases, module.total_steps
        done = phases.done(trainer)
        if trainer.global_step > self._said_step:
            left = (steps - done) * seconds / (trainer.global_step - self._said_step)
            rate = (self.images - self._said_images) / seconds
            say(
                f"{phases.title}epoch {module.epoch + 1} of {phases.max_epochs}, step {done:,} of {steps:,}: "
                f"loss {float(loss):.4g}, {rate:,.0f} images/s, about {duration(left)} left"
            )
        self._mark(trainer)

    def _mark(self, trainer: pl.Trainer) -> None:
        self._said, self._said_step, self._said_images = time.monotonic(), trainer.global_step, self.images

    def _count_seconds(self) -> None:
        now = time.monotonic()
        self.seconds, self._since = self.seconds + now - self._since, now

    def state_dict(self) -> dict[str, Any]:
        """What was counted, so that a resumed run counts on."""
        return {"images": self.images, "seconds": self.seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes up the count of the run that is resumed."""
        self.images, self.seconds = state_dict["images"], state_dict["seconds"]

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Says how far it is, after epochs that were validated."""
        self._count_seconds()
        validated = (trainer.current_epoch + 1) % (trainer.check_val_every_n_epoch or 1) == 0
        if validated and trainer.progress_bar_callback is None and "val/accuracy" in trainer.callback_metrics:
            assert isinstance(pl_module, Classifier)
            accuracy, epochs = 100 * trainer.callback_metrics["val/accuracy"].item(), pl_module.phases.max_epochs
            say(
                f"{pl_module.phases.title}epoch {pl_module.epoch + 1} of {epochs}: validation accuracy {accuracy:.1f} %"
            )
            self._mark(trainer)
