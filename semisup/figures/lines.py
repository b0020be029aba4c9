"""Metrics of one run as lines, a panel for each of those that W&B shows."""

from __future__ import annotations

from collections.abc import Sequence
from os.path import commonpath
from textwrap import fill
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import StrMethodFormatter

from semisup.errors import require
from semisup.figures.names import labels
from semisup.figures.style import GREY, PALETTE, figure, styled
from semisup.presentation import EPOCH, Panel

_COLUMNS = 2
_HEIGHT = 1.9  # inches, of a panel
_TITLE = 48  # letters in a line above it


@styled()
def lines(panels: Sequence[Panel], metrics: list[dict[str, float]]) -> Figure:
    """A panel for each of those of which something was logged, two side by side, over optimiser steps or epochs.

    Of more metrics than there are colours, such as those of a hundred classes, all lines are grey and have no names.

    Args:
        panels: of lines.
        metrics: rows of `metrics.csv`, as `Run.metrics` of semisup/runs/run.py gives them.

    Raises:
        InputError: nothing was logged of any of them.
    """
    logged = dict.fromkeys(name for row in metrics for name in row)
    shown = [there for panel in panels if panel.kind == "line" and (there := panel.of(logged))]
    wanted = ", ".join(name for panel in panels for name in panel.metrics)
    require(bool(shown), f"the run logged none of {wanted}")
    columns = min(_COLUMNS, len(shown))
    rows = -(-len(shown) // columns)
    drawn = figure(_HEIGHT * rows + 0.3)
    grid = drawn.subplots(rows, columns, squeeze=False).flatten()
    for axes, panel in zip(grid, shown, strict=False):
        _panel(axes, panel, metrics)
    for axes in grid[len(shown) :]:
        axes.remove()
    return drawn


def _panel(axes: Axes, panel: Panel, metrics: list[dict[str, float]]) -> None:
    by_epoch, few = panel.x == EPOCH, len(panel.metrics) <= len(PALETTE)
    common = commonpath(panel.metrics) if len(panel.metrics) > 1 else ""
    names = labels(name.removeprefix(f"{common}/") for name in panel.metrics)
    for number, (metric, name) in enumerate(zip(panel.metrics, names, strict=True)):
        logged = [row for row in metrics if metric in row and (EPOCH in row or not by_epoch)]
        x = [(row[EPOCH] if by_epoch else row["step"]) + 1 for row in logged]
        look: dict[str, Any] = {"color": PALETTE[number] if few else GREY, "alpha": 1 if few else 0.4, "label": name}
        axes.plot(x, [row[metric] for row in logged], marker="o" if len(x) == 1 else "", markersize=3, **look)
    axes.set_title(fill(labels([panel.title], 2 * _TITLE)[0], _TITLE), fontsize=8)
    axes.set_xlabel("epochs" if by_epoch else "optimiser steps")
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.grid(axis="y", linewidth=0.4, alpha=0.5)
    if few and len(names) > 1:
        axes.legend(ncols=3, loc="upper center", bbox_to_anchor=(0.5, -0.3))
