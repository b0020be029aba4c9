"""A run that is still training, as figures see it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import pytorch_lightning as pl

from semisup.classifier import Classifier
from semisup.errors import require
from semisup.figures.artifacts import RunArtifacts
from semisup.runs.run import Run
from semisup.tracking.record import MetricsCSV


class Live(RunArtifacts):
    """The network and the strategies as they are now; predictions are those of the validation images.

    Args:
        trainer: that trains it.
        module: the classifier.
        epochs: of training that have ended.
    """

    live = True
    _judged_on: ClassVar[dict[str, str]] = {"val": "validation images"}

    def __init__(self, trainer: pl.Trainer, module: Classifier, epochs: int) -> None:
        records = [logger.run_dir for logger in trainer.loggers if isinstance(logger, MetricsCSV)]
        self.path = records[0] if records else Path(trainer.default_root_dir)
        self.run = Run(self.path)
        self.module, self.data, self.epochs = module, module.datamodule, epochs
        self.strategies = [*module.strategy.parts]

    def state(self, strategy: str) -> dict[str, Any]:
        """What a strategy, named by its class, would write into a checkpoint."""
        states = {part.state_key: part for part in self.module.strategy.parts.values()}
        require(strategy in states, f"the run is not trained with {strategy}")
        return states[strategy].state_dict()
