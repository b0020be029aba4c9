"""Which classes gain and which lose: each arm's accuracy of a class minus the reference's, seed by seed."""

from __future__ import annotations

import statistics
from dataclasses import dataclass

from semisup.compare.record import Comparison

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
        labels: as `Run.labels`.
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
    """The key of `Run.class_accuracy` that all runs have, test images and the best checkpoint first; "" if none is."""
    return next((key for key in _MEASURED if all(key in run.class_accuracy for run in comparison.runs)), "")


def measured_on(comparison: Comparison) -> str:
    """What the accuracy of classes is of, in words."""
    return _MEASURED.get(measured(comparison), "")


def gains(comparison: Comparison) -> list[Gain]:
    """Every class with every arm but the reference, by labels, arm and class; empty where nothing can be compared."""
    where, found = measured(comparison), []
    if comparison.reference is None or not where:
        return []
    accuracies = {(run.arm, run.labels, run.seed): run.class_accuracy[where] for run in comparison.runs}
    for labels in comparison.labels:
        for arm in comparison.arms:
            if arm.name == comparison.reference:
                continue
            seeds = [seed for a, n, seed in accuracies if (a, n) == (arm.name, labels)]
            pairs = [
                (seed, accuracies[arm.name, labels, seed], accuracies[comparison.reference, labels, seed])
                for seed in seeds
                if (comparison.reference, labels, seed) in accuracies
            ]
            for name in comparison.class_names:
                known = [(seed, ours[name], its[name]) for seed, ours, its in pairs if name in ours and name in its]
                if known:
                    values = [ours - its for _, ours, its in known]
                    mean = statistics.fmean(values)
                    accuracy, reference = (statistics.fmean(one[k] for one in known) for k in (1, 2))
                    found.append(
                        Gain(name, arm.name, labels, [s for s, _, _ in known], accuracy, reference, values, mean)
                    )
    return found
