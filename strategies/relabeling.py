"""What strategies share that label the unlabeled images between steps: which have a label now, and what it is."""

from __future__ import annotations

import pytorch_lightning as pl
import torch
from torch import Tensor

from semisup.classifier import Classifier
from semisup.data.pool import Pool
from semisup.selection import Candidates
from semisup.strategy import LossStrategy
from semisup.targets import kept


class Relabeling(LossStrategy):
    """Labels of some of the unlabeled images (`Pools.without_label`), which the strategy gives them anew and again."""

    def __init__(self) -> None:
        self.rows_, self.targets_ = torch.empty(2, 0, dtype=torch.int64)  # (n,) of which images, and what

    def unlabeled(self, module: Classifier) -> Pool:
        """The images without a true label, of which there must be some."""
        pool = module.datamodule.pools.without_label
        assert pool is not None
        return pool

    def relabel(self, module: Classifier, chosen: Candidates) -> None:
        """Gives images their targets, and serves them where the strategy asks for those alone."""
        self.rows_, self.targets_ = chosen.rows, chosen.targets
        module.datamodule.relabeled.assign(self.rows_, self.targets_)

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Serves the labels that a resumed run had."""
        assert isinstance(pl_module, Classifier)
        pl_module.datamodule.relabeled.assign(self.rows_, self.targets_)

    def union(self, module: Classifier) -> Pool:
        """The truly labeled images, and behind them those that were given a label."""
        return module.datamodule.pools.with_pseudo_labels(self.rows_, self.targets_)

    def remap(self, module: Classifier, places: Tensor) -> None:
        """Keeps the labels of the images that are still there and have no true one."""
        pool = module.datamodule.pools.without_label
        rows, there = kept(self.rows_, places, len(pool) if pool else 0)
        self.rows_, self.targets_ = rows[there], self.targets_[there]
