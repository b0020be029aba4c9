"""Accuracy of every class minus that of the supervised arm, seed by seed: W&B draws arms, and not their differences."""

from __future__ import annotations

from collections.abc import Sequence

from semisup.compare.choose import REFERENCE
from semisup.dashboard.runs import Logged
from semisup.escape import markdown
from semisup.runs import statistics

_Place = tuple[int, int]  # seed and number of labels
_SCORES = {"best/test_accuracy/": "test accuracy of the best checkpoint", "best/val_accuracy/": "validation accuracy"}


def differences(runs: Sequence[Logged]) -> str:
    """A Markdown table of the runs of one group; empty where no other strategy shares a seed with the supervised arm.

    Of several runs of one strategy and seed the newest counts.
    """
    for prefix, score in _SCORES.items():
        arms: dict[str, dict[_Place, dict[str, float]]] = {}
        for one in runs:  # the newest comes last
            classes = {n.removeprefix(prefix): x for n, x in one.run.final.items() if n.startswith(prefix)}
            if classes:
                arms.setdefault(one.run.strategy, {})[one.run.seed, one.labels] = classes
        reference = arms.pop(REFERENCE, {})
        columns = {name: column for name, seeds in arms.items() if (column := _column(seeds, reference))}
        if columns:
            return _table(columns, score)
    return ""


def _column(runs: dict[_Place, dict[str, float]], reference: dict[_Place, dict[str, float]]) -> dict[str, list[float]]:
    """Class -> difference for each seed that both have with as many labels."""
    by_class: dict[str, list[float]] = {}
    for place, classes in runs.items():
        for name, difference in statistics.differences(classes, reference.get(place, {})).items():
            by_class.setdefault(name, []).append(difference)
    return by_class


def _table(columns: dict[str, dict[str, list[float]]], score: str) -> str:
    names = list(dict.fromkeys(name for column in columns.values() for name in column))
    seeds = {strategy: max(map(len, column.values())) for strategy, column in columns.items()}
    head = [f"{markdown(s)} ({n} seed{'s' * (n > 1)})" for s, n in seeds.items()]
    rows = [[markdown(name), *(_percent(column.get(name, [])) for column in columns.values())] for name in names]
    lines = [["class", *head], ["---", *("---:" for _ in head)], *rows]
    title = f"Difference to {REFERENCE} in percentage points of {score}, mean of the seeds that both have"
    return "\n".join([f"{title}:", "", *(f"| {' | '.join(line)} |" for line in lines)])


def _percent(values: list[float]) -> str:
    return f"{100 * statistics.mean(values):+.1f}" if values else "-"
