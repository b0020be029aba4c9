"""Rounds of pseudo-labels: images of each class, and how right their labels are."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import StrMethodFormatter

from semisup.errors import require
from semisup.figures.artifacts import Parts, RunArtifacts
from semisup.figures.names import labels
from semisup.figures.style import PALETTE, PERCENT, figure, styled
from semisup.runs.rounds import Round, rounds

_NUMBERS = 15  # of rounds, that are written out; more would overlap


def draw(run: RunArtifacts) -> Parts:
    """The rounds of a run.

    Raises:
        InputError: it logged none.
    """
    history = rounds(run.metrics)
    require(bool(history), "the run logged no round of pseudo-labels")
    yield "", pseudolabels(history)


@styled()
def pseudolabels(history: list[Round]) -> Figure:
    """Above, the images of every round by the label they were given; below, the precision, where it is known.

    With more classes than colours, those that were given most often are drawn, and the others as one.

    Args:
        history: one round or more, as `rounds` gives them.
    """
    known = any(r.precision is not None for r in history)
    names = sorted(history[0].images, key=lambda name: -sum(r.images[name] for r in history))
    frequent = names[: len(PALETTE) - (len(names) > len(PALETTE))]
    colors = dict(zip((name for name in history[0].images if name in frequent), PALETTE, strict=False))
    shown = dict(zip(colors, labels(colors), strict=True))
    drawn = figure(5.6 if known else 3.4)
    panels = drawn.subplots(1 + known, 1, sharex=True, squeeze=False, height_ratios=[3, 2][: 1 + known])[:, 0]
    _count(panels[0], history, colors, shown)
    if known:
        _precision(panels[1], history, colors)
    panels[-1].set(xlabel="round", xticks=range(1, len(history) + 1, -(-len(history) // _NUMBERS)))
    return drawn


def _count(axes: Axes, history: list[Round], colors: dict[str, str], shown: dict[str, str]) -> None:
    """A bar for every round, a colour for every class."""
    place, total = np.arange(1, len(history) + 1), np.array([sum(r.images.values()) for r in history])
    stacks = [(shown[name], color, np.array([r.images[name] for r in history])) for name, color in colors.items()]
    if len(colors) < len(history[0].images):
        stacks.append(("all other classes", PALETTE[-1], total - sum(images for _, _, images in stacks)))
    below, bars = np.zeros(len(history)), []
    for name, color, images in stacks:
        bars.append(axes.bar(place, images, 0.8, below, color=color, edgecolor="white", linewidth=0.4, label=name))
        below += images
    if len(history) <= _NUMBERS:
        for x, y in zip(place, total, strict=True):
            axes.annotate(f"{y:,.0f}", (x, y), (0, 2), textcoords="offset points", ha="center", fontsize=8)
    axes.set(ylabel="pseudo-labeled images")
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    names = [name for name, _, _ in stacks]
    axes.legend(bars, names, loc="center left", bbox_to_anchor=(1, 0.5), title="predicted class", reverse=True)


def _precision(axes: Axes, history: list[Round], colors: dict[str, str]) -> None:
    """A line for every class, and a thick one for all."""
    place, unknown = range(1, len(history) + 1), float("nan")
    for name, color in colors.items():
        precision = [r.class_precision.get(name, unknown) for r in history]
        axes.plot(place, precision, color=color, linewidth=0.9, marker=".", markersize=3)
    overall = [unknown if r.precision is None else r.precision for r in history]
    axes.plot(place, overall, color="black", linewidth=2.5, marker="o", markersize=3, label="all classes")
    axes.set(ylabel="precision")
    axes.yaxis.set_major_formatter(PERCENT)
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
