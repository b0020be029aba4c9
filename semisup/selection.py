"""Which unlabeled images get a pseudo-label: pure functions from confidences to rows.

Images of equal confidence are taken in the order of their rows, so that every rank and every run selects the same.
"""

from __future__ import annotations

from torch import Tensor


def by_confidence(confidence: Tensor) -> Tensor:
    """Rows (N,) int64 from the most to the least confident."""
    return confidence.argsort(descending=True, stable=True)


def over_threshold(confidence: Tensor, threshold: float) -> Tensor:
    """Rows (n,) int64 whose confidence (N,) is at least `threshold`, ascending."""
    return (confidence >= threshold).nonzero()[:, 0]


def top_overall(confidence: Tensor, k: int) -> Tensor:
    """The `k` most confident rows, ascending; (k,) int64."""
    return by_confidence(confidence)[:k].sort().values


def top_per_class(confidence: Tensor, predicted: Tensor, k: int, num_classes: int) -> Tensor:
    """The `k` most confident rows of every predicted class (fewer where fewer are predicted), ascending; (n,) int64.

    Args:
        confidence: (N,) float.
        predicted: (N,) int64 classes.
        k: rows of a class.
        num_classes: number of classes.
    """
    ranked = by_confidence(confidence)
    classes = predicted[ranked]
    one_hot = classes[:, None] == classes.new_tensor(range(num_classes))  # (N, classes)
    place_in_class = one_hot.cumsum(0).gather(1, classes[:, None])[:, 0]  # 1 for a class's most confident
    return ranked[place_in_class <= k].sort().values
