"""What came out: accuracies over seeds, and what the unlabeled images added."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

from semisup.escape import MINUS
from semisup.report.arms import SUPERVISED, Arm, difference, reference, unlike
from semisup.report.content import NONE, Code, Paragraph, Section, listed, paragraph, table
from semisup.runs.directory import Which
from semisup.runs.run import Split
from semisup.runs.statistics import Difference, Interval, over_seeds

_SCORES: tuple[tuple[Which, Split], ...] = (("best", "val"), ("best", "test"), ("last", "val"), ("last", "test"))
_TOLD: tuple[tuple[Which, Split], ...] = (("best", "test"), ("last", "test"), ("best", "val"), ("last", "val"))
_HEADER = ("best val", "best test", "last val", "last test")


def summary(arms: Sequence[Arm]) -> list[Paragraph]:
    """The result in a few sentences, by the first of these that there is."""
    for which, split in _TOLD:
        scores = {arm.name: arm.accuracies(which, split) for arm in arms}
        parts = [f"{over_seeds([*x.values()])} % for {name}" for name, x in scores.items() if x]
        if not parts:
            continue
        how = " (mean ± standard deviation over seeds)" * any(len(x) > 1 for x in scores.values())
        checkpoint = "checkpoint that is best on validation" if which == "best" else "last checkpoint"
        images = "test" if split == "test" else "validation"
        said = [f"The {checkpoint} has an accuracy on {images} images of {listed(parts)}{how}."]
        for arm in arms:
            other = reference(arm, arms)
            gain = other and difference(arm, other, which)
            if other and gain:
                by = f"{signed(gain.mean)} percentage points ({_doubt(gain)})"
                said.append(f"Paired by seed, {arm.name} differs from {other.name} by {by}.")
        return [paragraph(sentence) for sentence in said]
    return [paragraph("None of the runs has been scored yet.")]


def results(arms: Sequence[Arm]) -> Section:
    """The tables of results."""
    text = paragraph(
        "The best checkpoint is the one with the highest accuracy on the validation images; the last one is what "
        "training ended with. Neither was chosen on the test images; val stands for the validation images."
    )
    several = any(len(arm.accuracies(*score)) > 1 for arm in arms for score in _SCORES)
    caption = "Accuracy in percent" + ", mean ± standard deviation over seeds" * several
    rows = [
        (arm.name, _seeds(arm), *(over_seeds([*arm.accuracies(*x).values()], none=NONE) for x in _SCORES))
        for arm in arms
    ]
    over_all = table(caption, ("strategy", "seeds", *_HEADER), rows)
    return Section("Results", (text, over_all, _added(arms), _every_run(arms)))


def _added(arms: Sequence[Arm]) -> Section:
    """What the unlabeled images added over the supervised arm."""
    rows, pairs, notes = [], [], []
    for arm in arms:
        other = reference(arm, arms)
        if other is None:
            continue
        for which in get_args(Which):
            if paired := difference(arm, other, which):
                error = NONE if paired.error is None else f"{paired.error:.2f}"
                count, mean = str(len(paired.seeds)), signed(paired.mean)
                rows.append((arm.name, other.name, which, count, mean, error, _ends(paired.t)))
                if reason := paired.t.reason:
                    notes.append(paragraph(f"No interval for {arm.name}, {which}: {reason}."))
                ours, theirs = arm.accuracies(which, "test"), other.accuracies(which, "test")
                pairs += [
                    (arm.name, which, str(seed), f"{theirs[seed]:.2f}", f"{ours[seed]:.2f}", signed(gain))
                    for seed, gain in zip(paired.seeds, paired.values, strict=True)
                ]
        if apart := unlike(arm, other):
            options = [part for name in apart for part in (", ", Code(name))][1:]
            notes.append(paragraph(f"{arm.name} differs from {other.name} also in ", *options, "."))
    title = "What the unlabeled images added"
    if not rows:
        return Section(title, (paragraph(_why_none(arms)),))
    text = paragraph(
        "Runs of the same seed are compared: they have the same labeled images and began with the same weights. "
        "Differences are of test accuracy, in percentage points. The interval holds the mean difference with 95 % "
        "confidence, by Student's t distribution over the pairs."
    )
    header = ("strategy", "against", "checkpoint", "pairs", "difference", "standard error", "95 % interval")
    by_seed = ("strategy", "checkpoint", "seed", "supervised", "with unlabeled images", "difference")
    means = table("Difference to supervised training, paired by seed", header, rows)
    return Section(title, (text, *notes, means, table("The pairs, test accuracy in percent", by_seed, pairs)))


def _why_none(arms: Sequence[Arm]) -> str:
    if all(arm.strategy == SUPERVISED for arm in arms):
        return "All runs are supervised; to see what unlabeled images add, give runs of another strategy as well."
    if not any(reference(arm, arms) for arm in arms):
        return (
            "This can't be said without a supervised run on the same labeled images; train one with the same options "
            "and seed, and give it to the report as well."
        )
    return "There is no seed of which both a supervised run and another one have been tested."


def _every_run(arms: Sequence[Arm]) -> Section:
    rows = []
    for arm in arms:
        for run in arm.runs:
            scores = [run.accuracy(*score) for score in _SCORES]
            cells = [NONE if score is None else f"{score:.2f}" for score in scores]
            rows.append((arm.name, Code(run.directory.name), str(run.seed), str(run.best_epoch or NONE), *cells))
    text = paragraph("The best epoch is the first one with the highest accuracy on the validation images.")
    runs = table("Accuracy of every run in percent", ("strategy", "run", "seed", "best epoch", *_HEADER), rows)
    unfinished = [x for arm in arms for run in arm.runs if not run.finished for x in (", ", Code(run.name))][1:]
    note = [paragraph("Not finished, and so in no mean: ", *unfinished, ".")] if unfinished else []
    return Section("Every run", (text, runs, *note))


def signed(value: float) -> str:
    """A difference with its sign."""
    return f"{value:+.2f}".replace("-", MINUS)


def _ends(interval: Interval) -> str:
    if interval.low is None or interval.high is None:
        return NONE
    return f"{signed(interval.low)} to {signed(interval.high)}"


def _doubt(paired: Difference) -> str:
    if paired.error is None:
        return "one pair of runs"
    interval = f", 95 % interval {_ends(paired.t)}" * (paired.t.low is not None)
    return f"standard error {paired.error:.2f} over {len(paired.seeds)} pairs of runs{interval}"


def _seeds(arm: Arm) -> str:
    return ", ".join(str(run.seed) for run in arm.runs if run.finished) or NONE
