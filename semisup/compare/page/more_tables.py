"""The tables that only the page has: classes, rounds of pseudo-labels, calibration, imbalanced classes."""

from __future__ import annotations

from collections.abc import Sequence

from semisup.compare.page.classes import Gain, measured_on
from semisup.compare.page.series import groups
from semisup.compare.record import BALANCE, Comparison
from semisup.compare.table import Column, Entry, Table
from semisup.compare.tables import CHECKPOINTS
from semisup.runs.rounds import Round
from semisup.runs.statistics import mean, over_seeds

_HEAD = (Column("strategy", left=True), Column("labels"))


def classes(comparison: Comparison, gains: Sequence[Gain]) -> Table:
    """Accuracy of every class, and its difference to the reference."""
    columns = [Column("class", left=True), *_HEAD, Column("accuracy"), Column(f"{comparison.reference}")]
    columns += [Column("difference"), Column("seeds")]
    rows = [
        [
            Entry(gain.name, (gain.name,)),
            *_head(gain.arm, gain.labels),
            _percent(gain.accuracy),
            _percent(gain.reference),
            _percent(gain.mean, "+.1f"),
            Entry(str(len(gain.seeds)), (len(gain.seeds),)),
        ]
        for gain in gains
    ]
    return Table("classes", f"accuracy of each class in %, means over seeds; {measured_on(comparison)}", columns, rows)


def pseudolabels(comparison: Comparison) -> Table:
    """The last round of pseudo-labels of every run that logged one."""
    columns = [*_HEAD, Column("seed"), Column("rounds"), Column("images"), Column("right, %")]
    columns += [Column("least given"), Column("most given"), Column("least right"), Column("right of it, %")]
    rows = []
    for run in comparison.runs:
        if run.rounds:
            last = run.rounds[-1]
            given = sum(last.images.values())
            rows.append(
                [
                    *_head(run.arm, run.labels),
                    Entry(str(run.seed), (run.seed,)),
                    Entry(str(len(run.rounds)), (len(run.rounds),)),
                    Entry(f"{given:,}", (given,)),
                    _percent(last.precision) if last.precision is not None else Entry("-", (None,)),
                    *_extremes(last),
                ]
            )
    return Table("pseudolabels", "the last round of pseudo-labels of every run", columns, rows)


def _extremes(last: Round) -> list[Entry]:
    """The classes with the fewest and the most labels, and that whose labels are most often wrong."""
    entries = []
    for extreme in (min, max):
        name = extreme(last.images, key=lambda name: last.images[name], default="")
        entries.append(Entry(f"{name}: {last.images[name]:,}", (last.images[name],)) if name else Entry("-", (None,)))
    if not last.class_precision:
        return [*entries, Entry("-", (None,)), Entry("-", (None,))]
    worst = min(last.class_precision, key=lambda name: last.class_precision[name])
    return [*entries, Entry(worst, (worst,)), _percent(last.class_precision[worst])]


def calibration(comparison: Comparison) -> Table:
    """Mean and standard deviation of the expected calibration error."""
    rows = []
    for arm, labels, runs in groups(comparison):
        for checkpoint in CHECKPOINTS:
            values = [run.calibration[name] for run in runs if (name := f"{checkpoint}/val") in run.calibration]
            if values:
                spread = Entry(over_seeds([100 * value for value in values]), (100 * mean(values),))
                seeds = Entry(str(len(values)), (len(values),))
                rows.append([*_head(arm, labels), Entry(checkpoint, (checkpoint,)), spread, seeds])
    columns = [*_HEAD, Column("checkpoint", left=True), Column("calibration error, %"), Column("seeds")]
    return Table("calibration", "expected calibration error on validation images, mean over seeds", columns, rows)


def imbalance(comparison: Comparison) -> Table:
    """Scores that weigh all classes alike, and those of the classes with many, medium and few labels."""
    pool = comparison.score.removesuffix("_accuracy")
    rows = []
    for arm, labels, runs in groups(comparison):
        for checkpoint in CHECKPOINTS:
            balances = [run.balance[name] for run in runs if (name := f"{checkpoint}/{pool}") in run.balance]
            if balances:
                values = [[100 * scores[name] for scores in balances] for name in BALANCE]
                spreads = [Entry(over_seeds(each), (mean(each),)) for each in values]
                seeds = Entry(str(len(balances)), (len(balances),))
                rows.append([*_head(arm, labels), Entry(checkpoint, (checkpoint,)), *spreads, seeds])
    columns = [*_HEAD, Column("checkpoint", left=True), *(Column(name.replace("_", " ")) for name in BALANCE)]
    title = f"imbalanced classes on {pool} in %, mean over seeds; many, medium and few are labels of a class"
    return Table("imbalance", title, [*columns, Column("seeds")], rows)


def _head(arm: str, labels: int | None) -> list[Entry]:
    return [Entry(arm, (arm,)), Entry("all" if labels is None else f"{labels:,}", (labels,))]


def _percent(value: float, form: str = ".1f") -> Entry:
    return Entry(format(100 * value, form), (100 * value,))
