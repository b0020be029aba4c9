"""From runs that were found to a `Comparison`: which may be compared, which arms they are, and their statistics."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from semisup.compare.choose import REFERENCE, CompareRequest, choose, in_words
from semisup.compare.collect import Candidate
from semisup.compare.comparable import conditions
from semisup.compare.record import Arm, Cell, Checkpoint, Comparison, Network
from semisup.runs.statistics import Efficiency, efficiency, paired, spread

_CHECKPOINTS: tuple[Checkpoint, ...] = ("best", "last")
_VERSIONS = ("semisup", "torch", "git", "gpus")  # of the environment, that should be the same


def compare(
    directories: Mapping[Path, bool],
    request: CompareRequest,
    count_labels: Callable[[Path], int | None],
    look_at_network: Callable[[Path], Network | None],
) -> Comparison:
    """The comparison of run directories.

    Args:
        directories: run directories, and whether each was named by the user; such a one is never left out in silence.
        request: what was asked for.
        count_labels: the number of all labels of the data that a run was trained on, if the data is there.
        look_at_network: the network of a run, if a checkpoint is there.

    Raises:
        InputError: a run that the user named can't be compared, or there is nothing to compare.
    """
    kept, left_out = choose(directories, request.out, request.may_differ)
    totals = {one.run.directory: _labels(one, kept, count_labels) for one in kept}
    arms = _name_arms(kept)
    order = {name: place for place, name in enumerate(request.order)}

    def place(arm: Arm) -> tuple[bool, int, str]:
        return arm.strategy != REFERENCE, order.get(arm.strategy, len(order)), arm.name

    runs = [
        replace(
            one.record,
            path=os.path.relpath(one.run.directory, request.out),
            arm=arms[one.run.directory].name,
            labels=totals[one.run.directory],
        )
        for one in kept
    ]
    listed = sorted({arm.name: arm for arm in arms.values()}.values(), key=place)
    labels = sorted({run.labels for run in runs}, key=lambda count: (count is None, count or 0))
    names = [arm.name for arm in listed]
    runs.sort(key=lambda run: (names.index(run.arm), labels.index(run.labels), run.seed))
    score = "test_accuracy" if all(any("/test_" in name for name in run.scores) for run in runs) else "val_accuracy"
    reference = listed[0].name if listed[0].strategy == REFERENCE else None
    shared = [conditions(one.run) for one in kept]
    comparison = Comparison(
        created=time.strftime("%Y-%m-%d %H:%M:%S %z"),
        command=request.command,
        data=kept[0].run.data,
        class_names=kept[0].run.class_names,
        score=score,  # type: ignore[arg-type]
        reference=reference,
        arms=listed,
        labels=labels,
        runs=runs,
        cells=[],
        options={name: value for name, value in shared[0].items() if all(o.get(name) == value for o in shared)},
        network=next((network for one in kept if (network := look_at_network(one.run.directory))), None),
        left_out=left_out,
        failures=list(request.failures),
        notes=[],
    )
    comparison = replace(comparison, cells=_cells(comparison))
    return replace(comparison, notes=_notes(comparison))


def _labels(one: Candidate, kept: Sequence[Candidate], count_labels: Callable[[Path], int | None]) -> int | None:
    """Labeled images in all: the same number where the data is the same, so that the data is opened only once."""
    if one.run.labels_per_class is not None:
        return one.run.labels_per_class * len(one.run.class_names)
    first = next(other for other in kept if other.run.labels_per_class is None)
    return count_labels(first.run.directory)


def _name_arms(kept: Sequence[Candidate]) -> dict[Path, Arm]:
    """Directory -> its arm. Options are named where a strategy was run with several sets of them."""
    arms = {}
    for one in kept:
        strategy, options = one.record.strategy, one.record.options
        siblings = [other.record.options for other in kept if other.record.strategy == strategy]
        varied = [name for name, value in options.items() if any(o.get(name) != value for o in siblings)]
        said = ", ".join(f"{name.rpartition('.')[2]} {in_words(options[name])}" for name in varied)
        arms[one.run.directory] = Arm(f"{strategy} ({said})" if said else strategy, strategy, options)
    return arms


def _cells(comparison: Comparison) -> list[Cell]:
    """The statistics of every arm, number of labels and checkpoint."""
    cells = []
    for checkpoint in _CHECKPOINTS:
        score = f"{checkpoint}/{comparison.score}"
        by_arm: dict[str, dict[int | None, dict[int, float]]] = {arm.name: {} for arm in comparison.arms}
        for run in comparison.runs:
            if score in run.scores:
                by_arm[run.arm].setdefault(run.labels, {})[run.seed] = run.scores[score]
        reference = by_arm[comparison.reference] if comparison.reference else {}
        curve: dict[int, Sequence[float]] = {
            labels: [*seeds.values()] for labels, seeds in reference.items() if labels is not None
        }
        for arm, by_labels in by_arm.items():
            for labels, seeds in by_labels.items():
                values = [*seeds.values()]
                mean, sd = spread(values)
                other = {} if arm == comparison.reference else reference.get(labels, {})
                worth = None
                if comparison.reference and arm != comparison.reference:
                    worth = _efficiency(labels, mean, curve)
                difference = paired(seeds, other)
                cells.append(Cell(arm, labels, checkpoint, [*seeds], values, mean, sd, difference, worth))
    return cells


def _efficiency(labels: int | None, accuracy: float, curve: dict[int, Sequence[float]]) -> Efficiency:
    if labels is None:
        return Efficiency("", None, None, "the number of all labels isn't known, because the data is not there")
    return efficiency(labels, accuracy, curve)


def _notes(comparison: Comparison) -> list[str]:
    """What a reader must know besides the figures."""
    notes = []
    references = [arm.name for arm in comparison.arms if arm.strategy == REFERENCE]
    if comparison.reference is None:
        notes.append("There is no supervised arm, so there are no differences: add --strategies supervised,...")
    elif len(references) > 1:
        notes.append(f"Of {len(references)} supervised arms, differences are to {comparison.reference}.")
    if comparison.score == "val_accuracy":
        notes.append("Accuracy is of validation images, on which the best checkpoint was chosen: it flatters that one.")
    for arm in comparison.arms:
        differences = [cell.difference for cell in comparison.cells if cell.arm == arm.name and cell.difference]
        if differences and not any(value for difference in differences for value in difference.values):
            notes.append(f"{arm.name} scored exactly as {comparison.reference} in every run: did its own part begin?")
    for name in _VERSIONS:
        values = dict.fromkeys(run.environment[name] for run in comparison.runs if name in run.environment)
        if len(values) > 1:
            notes.append(f"The runs differ in {name}: {'; '.join(values)}.")
    return notes
