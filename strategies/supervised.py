"""Supervised training: the arm that every semi-supervised strategy is compared with.

python -m semisup fit --strategy supervised
"""

from __future__ import annotations

from semisup.batch import Batch
from semisup.classifier import Classifier
from semisup.losses import cross_entropy
from semisup.strategy import Loss, LossStrategy


class Supervised(LossStrategy):
    """Cross-entropy on the labeled images alone; the arm to compare with."""

    def loss(self, module: Classifier, batch: Batch) -> Loss:
        """Mean cross-entropy of the labeled images."""
        return cross_entropy(module(batch.labeled.views["weak"]), batch.labeled.target), {}
