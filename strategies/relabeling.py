"""What strategies share that label the unlabeled images between steps: which have a label now, and what it is."""

from __future__ import annotations

import torch
from torch import Tensor

from semisup.classifier import Classifier
from semisup.data.pool import Pool
from semisup.strategy import LossStrategy
from semisup.targets import kept


class Relabeling(LossStrategy):
    """Labels of some of the unlabeled images (`Pools.without_label`), which the strategy gives them anew and again."""

    def __init__(self) -> None:
        self.rows_, self.targets_ = torch.empty(2, 0, dtype=torch.int64)  # (n,) of which images, and what

    def union(self, module: Classifier) -> Pool:
        """The truly labeled images, and behind them those that were given a label."""
        return module.datamodule.pools.with_pseudo_labels(self.rows_, self.targets_)

    def remap(self, module: Classifier, places: Tensor) -> None:
        """Keeps the labels of the images that are still there and have no true one."""
        pool = module.datamodule.pools.without_label
        rows, there = kept(self.rows_, places, len(pool) if pool else 0)
        self.rows_, self.targets_ = rows[there], self.targets_[there]
