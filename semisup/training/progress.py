"""How far a training is: its images and seconds, and the accuracy of every epoch."""

from __future__ import annotations

import time
from typing import Any

import pytorch_lightning as pl

from semisup.batch import Batch
from semisup.classifier import Classifier
from semisup.runtime.console import say


class Progress(pl.Callback):
    """Counts images and seconds of training, and says every epoch's accuracy where there is no progress bar.

    Attributes:
        began: whether this process took a step, or was about to; not where the training had ended before.
    """

    def __init__(self) -> None:
        self.images, self.seconds = 0, 0.0
        self.began, self._since = False, 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Starts the clock, also in the middle of an epoch that a run resumes in."""
        self.began, self._since = True, time.monotonic()

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Batch, idx: int) -> None:
        """Counts a batch's images, over all ranks."""
        unlabeled = 0 if batch.unlabeled is None else len(batch.unlabeled)
        self.images += (len(batch.labeled) + unlabeled) * trainer.world_size
        self._count_seconds()

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
            name = "" if pl_module.phase.name == "training" else f"{pl_module.phase.name}: "
            say(f"{name}epoch {pl_module.epoch + 1} of {epochs}: validation accuracy {accuracy:.1f} %")
