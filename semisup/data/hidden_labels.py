"""Labels of the unlabeled images that are hidden from training, and how right a strategy's targets are by them.

They lie in here and nowhere else: no batch, no pool and no loader holds them, so they can't reach a loss.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from semisup.batch import UNLABELED, move
from semisup.runtime.ranks import mean


class HiddenLabels:
    """True classes of the unlabeled pool, to measure with and never to train on.

    Args:
        labels: (N,) class of every image of the unlabeled pool that is no labeled one too.
        num_classes: number of classes.
    """

    def __init__(self, labels: np.ndarray, num_classes: int) -> None:
        self._labels = torch.as_tensor(np.asarray(labels, dtype=np.int64))
        self._num_classes = num_classes
        self._there: Tensor | None = None  # the labels and a row for unknown ones, on the device that asked last

    def precision(self, rows: Tensor, targets: Tensor) -> tuple[float, list[float]]:
        """Fraction of targets that are right, over all and per predicted class (nan for a class never predicted).

        Targets of labeled images, which stand at the end of the unlabeled pool, don't count: their classes are known.

        Args:
            rows: (n,) int64 rows of the unlabeled pool.
            targets: (n,) int64 classes or (n, classes) probabilities given to them.
        """
        predicted = targets.argmax(1) if targets.ndim == 2 else targets
        known = rows < len(self._labels)
        rows, predicted = rows[known], predicted[known]
        right = self._labels[rows] == predicted
        per_class = [right[predicted == k].float().mean().item() for k in range(self._num_classes)]
        return right.float().mean().item(), per_class

    def right(self, rows: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Which targets are right (n,) bool, and of which that is known (n,) bool; arguments as of `precision`."""
        predicted = targets.argmax(1) if targets.ndim == 2 else targets
        count = len(self._labels)
        if self._there is None or self._there.device != rows.device:  # once: a copy in every step would wait for it
            self._there = move(torch.cat([self._labels, self._labels.new_full((1,), UNLABELED)]), rows.device)
        return self._there[rows.clamp_max(count)] == predicted, rows < count


def target_quality(
    hidden: HiddenLabels | None, rows: Tensor, target: Tensor, mask: Tensor, classes: int
) -> dict[str, Tensor]:
    """How many of a step's targets count, how even their classes are and how right they are, over all ranks.

    Args:
        hidden: labels of the unlabeled pool; None where they are not known.
        rows: (B,) int64 rows of the unlabeled pool.
        target: (B,) int64 classes or (B, classes) probabilities given to them.
        mask: (B,) bool or float, the weight of each in the loss.
        classes: number of classes.

    Returns:
        `utilisation`, the mean weight; `balance`, the entropy of the classes of the targets that count over its
        greatest value; and, where the labels are known, `precision`, the share of them that are right, nan of none.
    """
    predicted, weight = (target.argmax(1) if target.ndim == 2 else target), mask.float()
    unknown = torch.zeros_like(weight)
    right, known = hidden.right(rows, target) if hidden else (unknown, unknown)
    sums = torch.stack([weight.mean(), (weight * right).sum(), (weight * known).sum()])
    counts = weight.new_zeros(classes).index_add_(0, predicted, weight)
    means = mean(torch.cat([sums, counts])).double()
    utilisation, hits, judged = means[:3]
    p = means[3:] / means[3:].sum().clamp_min(1e-12)
    balance = -(p * p.clamp_min(1e-12).log()).sum() / math.log(max(2, classes))
    return {"utilisation": utilisation, "balance": balance} | ({"precision": hits / judged} if hidden else {})
