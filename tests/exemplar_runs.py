"""Fits that begin with surrogate classes, quick ones, and what they come to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from helpers import Blobs, classifier, trainer
from torch import Tensor

from semisup.classifier import Classifier
from semisup.tracking.record import ContinueRecord, MetricsCSV
from semisup.training.checkpoints import Checkpoints
from strategies.exemplar import Exemplar, SurrogateClasses

CPU = torch.device("cpu")
FAST: dict[str, Any] = {"images": 20, "samples_per_class": 4, "epochs": 3, "batch_size": 8, "svm": False}  # 30 steps


def fitted(ours: Exemplar, data: Blobs | None = None, epochs: int = 1, **kwargs: Any) -> Classifier:
    data = data or Blobs()
    module = classifier(data, ours)
    trainer(epochs, **kwargs).fit(module, data)
    return module


def samples(classes: SurrogateClasses, number: Tensor) -> Tensor:
    return classes.samples(classes.pool.gather(number // classes.per_class), number)


class Dies(pl.Callback):
    """Ends the process, as far as the run can tell, before a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_start(self, trainer: pl.Trainer, *args: Any) -> None:
        if trainer.global_step == self.step:
            raise RuntimeError("dies")


def recorded(
    folder: Path, ours: Exemplar, epochs: int = 2, ckpt: Path | None = None, dies: int = -1, **kwargs: Any
) -> Classifier:
    """A fit that leaves checkpoints and metrics as `semisup fit` does."""
    folder.mkdir(exist_ok=True)
    data = Blobs()
    module = classifier(data, ours)
    options = {"logger": MetricsCSV(folder), "enable_checkpointing": True, "log_every_n_steps": 4, **kwargs}
    fit = trainer(epochs, callbacks=[ContinueRecord(), Dies(dies), Checkpoints(folder)], **options)
    fit.fit(module, data, ckpt_path=ckpt, weights_only=True)
    return module


def state(strategy: Exemplar) -> dict[str, Tensor]:
    plain = {"rows": strategy.rows_, "centres": strategy.centres_, "accuracy": torch.tensor(strategy.accuracy_)}
    return strategy.backbone_ | plain | {name: torch.tensor(x) for name, x in strategy.svm_.items()}
