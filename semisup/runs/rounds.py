"""Rounds of a strategy that gives unlabeled images targets between epochs, as it logged them. Standard library only.

For each round it logs, under its name, `NAME/count/CLASS` for every class and, where they are known, `NAME/precision`,
`NAME/precision/CLASS` and `NAME/confidence/BIN`, as strategies/pseudolabel.py does.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

_COUNT = "/count/"


@dataclass(frozen=True)
class Round:
    """One round of pseudo-labels, as a run logged it.

    Attributes:
        epoch: epochs done by then.
        images: class -> unlabeled images that were given this label.
        precision: share of all these labels that is right; None where the hidden labels are unknown or none was given.
        class_precision: class -> share of its labels that is right, where known.
        confidence: share of the unlabeled pool in each bin of confidence, bins of equal width from 0 to 1.
    """

    epoch: int
    images: dict[str, int]
    precision: float | None
    class_precision: dict[str, float]
    confidence: list[float]


def rounds(metrics: Iterable[dict[str, float]]) -> list[Round]:
    """The rounds that a run logged.

    Args:
        metrics: rows of `metrics.csv`, as `Run.metrics` of semisup/runs/run.py gives them.
    """
    history = []
    for row in metrics:
        strategy = next((name.partition(_COUNT)[0] for name in row if _COUNT in name), "")
        images = of_classes(row, f"{strategy}{_COUNT}")
        if strategy and images:
            precision = row.get(f"{strategy}/precision", math.nan)
            history.append(
                Round(
                    epoch=int(row.get("epoch", -1)) + 1,
                    images={name: int(count) for name, count in images.items()},
                    precision=precision if math.isfinite(precision) else None,
                    class_precision=of_classes(row, f"{strategy}/precision/"),
                    confidence=list(of_classes(row, f"{strategy}/confidence/").values()),
                )
            )
    return history


def of_classes(row: dict[str, float], prefix: str) -> dict[str, float]:
    """What a row says of each class, those left out that it says nothing of."""
    return {name.removeprefix(prefix): x for name, x in row.items() if name.startswith(prefix) and math.isfinite(x)}
