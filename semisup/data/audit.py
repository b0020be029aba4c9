"""How right a strategy's targets are, where the truth about the unlabeled images is known.

The truth lives in here and nowhere else: no batch, no pool and no loader holds it, so it can't reach a loss.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


class Audit:
    """True classes of the unlabeled pool, to be asked for figures only.

    Args:
        truth: (N,) class of every image of the unlabeled pool that is no labeled one too.
        num_classes: number of classes.
    """

    def __init__(self, truth: np.ndarray, num_classes: int) -> None:
        self._truth = torch.as_tensor(np.asarray(truth, dtype=np.int64))
        self._num_classes = num_classes

    def precision(self, rows: Tensor, targets: Tensor) -> tuple[float, list[float]]:
        """Fraction of targets that are right, over all and per predicted class (nan for a class never predicted).

        Targets of labeled images, which stand at the end of the unlabeled pool, don't count: their classes are known.

        Args:
            rows: (n,) int64 rows of the unlabeled pool.
            targets: (n,) int64 classes or (n, classes) probabilities given to them.
        """
        predicted = targets.argmax(1) if targets.ndim == 2 else targets
        known = rows < len(self._truth)
        rows, predicted = rows[known], predicted[known]
        right = self._truth[rows] == predicted
        per_class = [right[predicted == k].float().mean().item() for k in range(self._num_classes)]
        return right.float().mean().item(), per_class
