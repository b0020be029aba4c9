"""Which unlabeled images get a pseudo-label: rules from confidences to rows, and their use on a stream of predictions.

Images of equal confidence are taken in the order of their rows, so that every rank and every run selects the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

_MIN_COLLECTED = 8192  # candidates that are collected before the first selection among them


def by_confidence(confidence: Tensor) -> Tensor:
    """Rows (N,) int64 from the most to the least confident."""
    return confidence.argsort(descending=True, stable=True)


def over_threshold(confidence: Tensor, threshold: float) -> Tensor:
    """Rows (n,) int64 whose confidence (N,) is at least `threshold`, ascending."""
    return (confidence >= threshold).nonzero()[:, 0]


def top_overall(confidence: Tensor, k: int) -> Tensor:
    """The `k` most confident rows, ascending; (k,) int64."""
    return by_confidence(confidence)[:k].sort().values


def top_per_class(confidence: Tensor, predicted: Tensor, k: int | Tensor, num_classes: int) -> Tensor:
    """The `k` most confident rows of every predicted class (fewer where fewer are predicted), ascending; (n,) int64.

    Args:
        confidence: (N,) float.
        predicted: (N,) int64 classes.
        k: rows of a class, or (classes,) of each.
        num_classes: number of classes.
    """
    ranked = by_confidence(confidence)
    classes = predicted[ranked]
    one_hot = classes[:, None] == classes.new_tensor(range(num_classes))  # (N, classes)
    place_in_class = one_hot.cumsum(0).gather(1, classes[:, None])[:, 0]  # 1 for a class's most confident
    most = k[classes] if isinstance(k, Tensor) else k
    return ranked[place_in_class <= most].sort().values


@dataclass(frozen=True)
class Candidates:
    """Some images of a pool, and what is predicted of them.

    Attributes:
        rows: (n,) int64, ascending.
        confidence: (n,) float32.
        predicted: (n,) int64 classes.
        targets: (n,) int64 classes or (n, classes) float32 probabilities, what they would be trained on.
    """

    rows: Tensor
    confidence: Tensor
    predicted: Tensor
    targets: Tensor

    def __len__(self) -> int:
        return len(self.rows)

    def at(self, places: Tensor) -> Candidates:
        """The candidates at `places` (m,) int64."""
        return self.map(lambda x: x[places])

    def map(self, change: Callable[[Tensor], Tensor]) -> Candidates:
        """The candidates with every tensor changed alike."""
        return Candidates(*map(change, self.tensors))

    @property
    def tensors(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Rows, confidence, predicted classes and targets."""
        return self.rows, self.confidence, self.predicted, self.targets


Rule = Callable[[Candidates], Tensor]  # candidates to the places (n,) int64, ascending, of those that it selects


class Selection:
    """Selects among candidates that come in parts, keeping no more than twice what is selected (or 8,192).

    That needs a rule which may be applied to parts first: what it selects of A and B together is what it selects of
    those it has selected of A and of those it has selected of B. A threshold and the k best are such rules.

    Args:
        rule: what selects.
    """

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        # One block of memory, the first `_count` of it in use: many small ones would scatter over the heap.
        self._room: Candidates | None = None
        self._count = 0

    def add(self, candidates: Candidates) -> None:
        """Takes a part, whose rows come after those of the parts before."""
        if self._room is None or self._count + len(candidates) > len(self._room):
            kept = self.selected() if self._room else candidates.map(lambda x: x[:0])
            size = max(_MIN_COLLECTED, 2 * len(kept)) + len(candidates)
            self._room, self._count = kept.map(lambda x: x.new_empty(size, *x.shape[1:])), 0
            self._write(kept)
        self._write(candidates)

    def _write(self, candidates: Candidates) -> None:
        assert self._room is not None
        end = self._count + len(candidates)
        for room, new in zip(self._room.tensors, candidates.tensors, strict=True):
            room[self._count : end] = new
        self._count = end

    def selected(self) -> Candidates:
        """What is selected of all parts so far, of which there must be one."""
        assert self._room is not None
        candidates = self._room.map(lambda x: x[: self._count])
        return candidates.at(self.rule(candidates))
