"""The tables of a comparison."""

from __future__ import annotations

from typing import get_args

from semisup.compare.record import Cell, Checkpoint, Comparison
from semisup.compare.table import Column, Entry, Table
from semisup.runs.statistics import Efficiency, Interval, mean

CHECKPOINTS: tuple[Checkpoint, ...] = get_args(Checkpoint)


def tables(comparison: Comparison) -> list[Table]:
    """All tables of a comparison; those of differences and of labels only where there is a reference to differ from."""
    compared = comparison.reference is not None and len(comparison.arms) > 1
    return [
        accuracy(comparison),
        *([differences(comparison), label_efficiency(comparison)] if compared else []),
        cost(comparison),
        runs(comparison),
    ]


def accuracy(comparison: Comparison) -> Table:
    """Mean and standard deviation of every arm, a column for each number of labels."""
    counts = [len(cell.seeds) for cell in comparison.cells]
    usual = max(counts, key=counts.count)
    columns = [Column("strategy", left=True), Column("checkpoint", left=True)]
    for labels in comparison.labels:
        said = _labels(labels)
        columns.append(Column(f"{said} labels", tuple(f"{part}, {said} labels" for part in ("mean", "sd", "seeds"))))
    rows = []
    for arm in comparison.arms:
        for checkpoint in CHECKPOINTS:
            cells = [comparison.cell(arm.name, labels, checkpoint) for labels in comparison.labels]
            if any(cells):
                rows.append([_plain(arm.name), _plain(checkpoint), *(_spread(cell, usual) for cell in cells)])
    of = comparison.score.removesuffix("_accuracy")
    seeds = f"{usual} seed{'s' * (usual > 1)}" + (" unless said otherwise" if len(set(counts)) > 1 else " each")
    title = f"accuracy on {of} in %, mean ± standard deviation over {seeds}, {comparison.data}"
    return Table("accuracy", title, columns, rows)


def differences(comparison: Comparison) -> Table:
    """Every arm minus the reference, by the same seeds."""
    columns = [Column("strategy", left=True), Column("labels"), Column("checkpoint", left=True), Column("seeds")]
    columns += [Column("difference"), Column("95 % t", ("t low", "t high"))]
    columns += [Column("95 % bootstrap", ("bootstrap low", "bootstrap high"))]
    rows = []
    for cell in _of_others(comparison):
        d = cell.difference
        reason = f"no run of {comparison.reference} with these labels and seeds"
        rows.append(
            [
                *_head(cell),
                _plain(len(d.seeds) if d else 0),
                _number(100 * d.mean, "+.2f") if d else Entry("-", (None,), reason),
                *(_interval(i) if i else Entry("-", (None, None), reason) for i in (d and d.t, d and d.bootstrap)),
            ]
        )
    title = f"paired difference to {comparison.reference}, in percentage points"
    notes = ["Intervals are of each arm by itself; of many arms some will seem to differ by chance."]
    return Table("differences", title, columns, rows, notes if len(comparison.arms) > 2 else [])


def label_efficiency(comparison: Comparison) -> Table:
    """How many labels the reference would need for each arm's mean accuracy."""
    columns = [Column("strategy", left=True), Column("labels"), Column("checkpoint", left=True), Column("accuracy")]
    needed = f"{comparison.reference} needs"
    columns += [Column(needed, ("relation", f"labels of {comparison.reference}")), Column("factor")]
    rows = []
    for cell in _of_others(comparison):
        worth = cell.efficiency or Efficiency("", None, None, "there is no reference")
        rows.append([*_head(cell), _number(100 * cell.mean, ".2f"), *_worth(worth)])
    title = f"labels with which {comparison.reference} would be as accurate, interpolated in log(labels)"
    return Table("label_efficiency", title, columns, rows)


def cost(comparison: Comparison) -> Table:
    """Means over seeds of what a run cost."""
    columns = [
        Column("strategy", left=True),
        Column("labels"),
        Column("steps"),
        Column("images seen"),
        Column("seconds"),
    ]
    rows = []
    for arm in comparison.arms:
        for labels in comparison.labels:
            mine = [run for run in comparison.runs if (run.arm, run.labels) == (arm.name, labels)]
            images = [run.images for run in mine if run.images is not None]
            if mine:
                rows.append(
                    [
                        _plain(arm.name),
                        _count(labels),
                        _count(mine[0].steps),
                        _count(round(mean(images))) if images else Entry("-", (None,)),
                        _number(mean(run.seconds for run in mine), ".1f"),
                    ]
                )
    network, notes = comparison.network, []
    if network:
        notes = [
            f"{network.backbone}, {network.parameters / 1e6:.2f} million parameters; a forward pass of one image takes "
            f"{network.forward_flops / 1e6:,.1f} million floating-point operations."
        ]
    return Table(
        "cost", "what a run cost, mean over seeds; images are labeled and unlabeled ones", columns, rows, notes
    )


def runs(comparison: Comparison) -> Table:
    """Every run."""
    columns = [Column("strategy", left=True), Column("labels"), Column("seed")]
    names = [f"{checkpoint}/{pool}_accuracy" for checkpoint in CHECKPOINTS for pool in ("val", "test")]
    there = [name for name in names if any(name in run.scores for run in comparison.runs)]
    columns += [Column(name.removesuffix("_accuracy").replace("/", ", ")) for name in there]
    columns += [Column("seconds"), Column("run", left=True)]
    rows = [
        [
            _plain(run.arm),
            _count(run.labels),
            _plain(run.seed),
            *(_number(100 * run.scores[name], ".2f") if name in run.scores else Entry("-", (None,)) for name in there),
            _number(run.seconds, ".1f"),
            _plain(run.path),
        ]
        for run in comparison.runs
    ]
    return Table("runs", "every run, accuracy in %", columns, rows)


def _of_others(comparison: Comparison) -> list[Cell]:
    """The cells of all arms but the reference, by arm, labels and checkpoint."""
    names = [arm.name for arm in comparison.arms if arm.name != comparison.reference]
    cells = [
        comparison.cell(name, labels, checkpoint)
        for name in names
        for labels in comparison.labels
        for checkpoint in CHECKPOINTS
    ]
    return [cell for cell in cells if cell]


def _head(cell: Cell) -> list[Entry]:
    return [_plain(cell.arm), _count(cell.labels), _plain(cell.checkpoint)]


def _plain(value: str | int) -> Entry:
    return Entry(str(value), (value,))


def _labels(labels: int | None) -> str:
    return "all" if labels is None else f"{labels:,}"


def _count(value: int | None) -> Entry:
    """A number with thousands' commas, plain in CSV; None stands for all labels, where nobody knows how many."""
    return Entry("all" if value is None else f"{value:,}", (value,))


def _number(value: float, form: str) -> Entry:
    return Entry(format(value, form), (value,))


def _spread(cell: Cell | None, usual: int) -> Entry:
    """Mean and standard deviation in percent, and the number of seeds where it isn't the usual one."""
    if cell is None:
        return Entry("-", (None, None, 0))
    n = len(cell.seeds)
    sd = f" ± {100 * cell.sd:.2f}" if cell.sd is not None else ""
    text = f"{100 * cell.mean:.2f}{sd}{f' (n={n})' if n != usual else ''}"
    reason = "" if cell.sd is not None else "one seed has no standard deviation"
    return Entry(text, (100 * cell.mean, None if cell.sd is None else 100 * cell.sd, n), reason)


def _interval(interval: Interval) -> Entry:
    if interval.low is None or interval.high is None:
        return Entry("-", (None, None), interval.reason)
    low, high = 100 * interval.low, 100 * interval.high
    return Entry(f"[{low:+.2f}, {high:+.2f}]", (low, high))


def _worth(worth: Efficiency) -> list[Entry]:
    if worth.labels is None or worth.factor is None:
        return [Entry("-", (None, None), worth.reason), Entry("-", (None,))]
    sign = "" if worth.relation == "=" else f"{worth.relation} "
    return [
        Entry(f"{sign}{worth.labels:,.0f}", (worth.relation, worth.labels)),
        Entry(f"{sign}{worth.factor:.2f}", (worth.factor,)),
    ]
