"""Which classes gain and which lose: each arm's accuracy of a class minus the reference's, seed by seed."""

from __future__ import annotations

from dataclasses import dataclass

from semisup.compare.record import Comparison
from semisup.runs.statistics import differences, mean

_MEASURED = {
    "best/test": "test images, best checkpoint",
    "last/test": "test images, last checkpoint",
    "best/val": "validation images, best checkpoint",
    "last/val": "validation images, last checkpoint",
}


@dataclass(frozen=True)
class Gain:
    """A class with an arm and a number of labels.

    Attributes:
        name: of the class.
        arm: its name.
        labels: as `RunRecord.labels`.
        seeds: that the arm and the reference share.
        accuracy: mean over these seeds.
        reference: mean accuracy of the reference over these seeds.
        values: difference of each seed.
        mean: of the values.
    """

    name: str
    arm: str
    labels: int | None
    seeds: list[int]
    accuracy: float
    reference: float
    values: list[float]
    mean: float


def measured(comparison: Comparison) -> str:
    """The key of `RunRecord.class_accuracy` that all runs have, best on test first; empty where there is none."""
    return next((key for key in _MEASURED if all(key in run.class_accuracy for run in comparison.runs)), "")


def measured_on(comparison: Comparison) -> str:
    """What the accuracy of classes is of, in words."""
    return _MEASURED.get(measured(comparison), "")


def gains(comparison: Comparison) -> list[Gain]:
    """Every class with every arm but the reference, by labels, arm and class; empty where nothing can be compared."""
    where, all_gains = measured(comparison), []
    if comparison.reference is None or not where:
        return []
    accuracies: dict[tuple[str, int | None, str], dict[int, float]] = {}  # arm, labels, class -> seed -> accuracy
    for run in comparison.runs:
        for name, accuracy in run.class_accuracy[where].items():
            accuracies.setdefault((run.arm, run.labels, name), {})[run.seed] = accuracy
    for labels in comparison.labels:
        for arm in (arm.name for arm in comparison.arms if arm.name != comparison.reference):
            for name in comparison.class_names:
                ours = accuracies.get((arm, labels, name), {})
                theirs = accuracies.get((comparison.reference, labels, name), {})
                if by_seed := differences(ours, theirs):
                    seeds, values = [*by_seed], [*by_seed.values()]
                    level, reference = (mean(one[seed] for seed in seeds) for one in (ours, theirs))
                    all_gains.append(Gain(name, arm, labels, seeds, level, reference, values, mean(values)))
    return all_gains
