"""Training loss and validation accuracy over a training."""

from __future__ import annotations

import math

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from semisup.figures.names import labels
from semisup.figures.style import PALETTE, PERCENT, figure, styled

_SMOOTH = 0.02  # of the points, and at least one, that the drawn loss averages over on either side
_LOGGED_RUNS = 4  # runs; of more, the losses as they were logged would hide each other
_COLORS = [color for color in PALETTE if color not in ("#F0E442", "#BBBBBB")]  # yellow and grey are pale on white
_COLUMN = 44  # letters of a name that two columns of the legend have room for
_DECADE = 10  # from the least loss to the largest, at least, where the scale is logarithmic
_LINES = ("-", "--", ":", "-.")


@styled()
def curves(runs: dict[str, list[dict[str, float]]]) -> Figure:
    """The training loss as a running mean over a pale line of its values, and the validation accuracy, by steps.

    Args:
        runs: name -> rows of `metrics.csv`, as `Run.metrics` of semisup/runs/run.py gives them.
    """
    columns = 1 if len(runs) == 1 or max(map(len, runs)) > _COLUMN else 2
    names, rows = labels(runs, 2 * _COLUMN // columns), -(-len(runs) // columns)
    drawn = figure(2.8 + 0.17 * rows)
    left, right = drawn.subplots(1, 2)
    losses: list[float] = []
    lines: list[Line2D] = []
    for number, (name, metrics) in enumerate(runs.items()):
        color, dashes = _COLORS[number % len(_COLORS)], _LINES[number // len(_COLORS) % len(_LINES)]
        step, loss = series(metrics, "train/loss")
        if len(runs) <= _LOGGED_RUNS:
            left.plot(step, loss, color=color, alpha=0.25, linewidth=0.6)
        smooth = np.concatenate([smoothed(loss[step <= 0]), smoothed(loss[step > 0])])  # the last phase by itself
        lines += left.plot(step, smooth, color=color, linestyle=dashes, label=name)
        losses += [value for value in smooth if math.isfinite(value)]
        step, accuracy = series(metrics, "val/accuracy")
        right.plot(step, accuracy, color=color, linestyle=dashes)
        last = accuracy[step > 0]  # of the last phase, whose best checkpoint is the run's
        if len(last):
            best = len(accuracy) - len(last) + last.argmax()
            right.plot(step[best], accuracy[best], "o", color=color, markersize=4)
    wide = bool(losses) and 0 < _DECADE * min(losses) < max(losses)
    left.set(xlabel="optimiser steps", title="training loss", yscale="log" if wide else "linear")
    if wide:  # as numbers: matplotlib's own labels are formulas
        left.yaxis.set(major_locator=LogLocator(subs=(1, 2, 5)), minor_formatter=NullFormatter())
        left.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    right.set(xlabel="optimiser steps", title="validation accuracy (dot: best)")
    right.yaxis.set_major_formatter(PERCENT)
    for axes in (left, right):
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        axes.grid(axis="y", linewidth=0.4, alpha=0.5)
    drawn.legend(lines, names, loc="outside lower center", ncols=columns)
    return drawn


def series(metrics: list[dict[str, float]], name: str) -> tuple[np.ndarray, np.ndarray]:
    """Optimiser steps done, (n,), and what was logged after them under a name, (n,)."""
    points = [(row["step"] + 1, row[name]) for row in metrics if name in row]
    steps, values = np.array(points, dtype=float).reshape(-1, 2).T
    return steps, values


def smoothed(values: np.ndarray) -> np.ndarray:
    """A centred running mean over about 4 % of the points, over fewer of them at both ends."""
    reach = max(1, round(len(values) * _SMOOTH))
    total = np.concatenate([[0.0], values.cumsum()])
    place = np.arange(len(values))
    low, high = np.maximum(place - reach, 0), np.minimum(place + reach + 1, len(values))
    return (total[high] - total[low]) / (high - low)
