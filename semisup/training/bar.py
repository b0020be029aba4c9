"""The progress bar of a training, one for the whole of each phase, where a person watches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import TQDMProgressBar
from pytorch_lightning.callbacks.progress.tqdm_progress import Tqdm

from semisup.batch import Batch
from semisup.classifier import Classifier

_FORMAT = "{desc} {percentage:3.0f}% |{bar}| step {n_fmt} of {total_fmt}, {remaining} left{postfix}"


class Bar(TQDMProgressBar):
    """Epoch of epochs, step of steps, time left, images a second, and what is logged for a bar (`prog_bar`).

    It reads the loss, and so waits for the device, as often as it is drawn: `refresh_rate` is in steps.
    """

    def init_train_tqdm(self) -> Tqdm:
        """A bar over optimiser steps."""
        bar = super().init_train_tqdm()
        bar.bar_format = _FORMAT
        return bar

    def on_train_epoch_start(self, trainer: pl.Trainer, *arguments: Any) -> None:
        """Names the epoch; the bar begins anew with a phase alone, and where a resumed run stands."""
        module, bar = _classifier(trainer), self.train_progress_bar
        if module.epoch == 0 or bar.total is None:
            bar.reset(module.total_steps)
            bar.n = bar.initial = module.phases.done(trainer)
        bar.set_description_str(f"{module.phases.title}epoch {module.epoch + 1} of {module.phases.max_epochs or '?'}")

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Batch, idx: int) -> None:
        """Moves on, every `refresh_rate` steps."""
        module, bar = _classifier(trainer), self.train_progress_bar
        done = module.phases.done(trainer)
        if self._should_update(done, module.total_steps):
            bar.n = done
            images = trainer.world_size * sum(map(len, batch.streams))
            rate = (done - bar.initial) * images / max(bar.format_dict["elapsed"], 1e-9)
            bar.set_postfix_str(", ".join([f"{rate:,.0f} images/s", *_metrics(trainer)]))

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Leaves the bar as it is."""

    def on_validation_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Closes the bar of the validation."""
        self.val_progress_bar.close()
        self.reset_dataloader_idx_tracker()


def _classifier(trainer: pl.Trainer) -> Classifier:
    module = trainer.lightning_module
    assert isinstance(module, Classifier)
    return module


def _metrics(trainer: pl.Trainer) -> Iterator[str]:
    for name, value in trainer.progress_bar_metrics.items():
        group, _, metric = name.partition("/")
        title = {"train": metric, "val": f"validation {metric}"}.get(group, name.replace("/", " "))
        yield f"{title} {100 * value:.1f} %" if metric == "accuracy" else f"{title} {value:,.4g}"
