"""`semisup list`: what is installed, one line each, read from the plugins' sources without importing them."""

from __future__ import annotations

import json
import math
import re
import shutil
import textwrap
from argparse import ArgumentParser, Namespace
from functools import cache
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

from semisup import plugins
from semisup.errors import InputError, did_you_mean
from semisup.escape import printable
from semisup.plugins import source

_GROUPS = {
    "strategies": (plugins.STRATEGIES, "--strategy NAME, or NAME+NAME where only one of them owns the loss"),
    "datamodules": (plugins.DATAMODULES, "--data NAME"),
    "backbones": (plugins.BACKBONES, "--model.backbone NAME"),
}
# How a source names its paper: (Sohn et al. 2020, arXiv 2001.07685).
_PAPER = re.compile(r"\((?:[^()]*\s)?(?P<year>(?:19|20)\d\d)(?!\.\d)(?:, arXiv (?P<arxiv>\d{4}\.\d{4,5}))?[^()]*\)")
_STRATEGY_COLUMNS = ("", "year", "arXiv", "needs", "cost", "digits", "(below)")
_LEGEND = (
    "needs: unlabeled images for every labeled one in a batch, by default; NAME+ is another strategy to be added to",
    "cost: of a step, in images forwards and backwards, over that of supervised training",
    "digits: accuracy in per cent with 40 labels, mean ± standard deviation, and the difference to supervised training",
)
OTHER_BACKBONES = [
    ("torchvision:NAME", "Any classification network of torchvision, such as torchvision:resnet18."),
    ("timm:NAME", "Any network of timm (pip install 'semisup[timm]'), such as timm:vit_small_patch14_dinov2."),
]


def add_options(parser: ArgumentParser) -> None:
    """What is to be listed."""
    parser.add_argument("kind", nargs="?", help="strategies, datamodules or backbones; all of them by default")


def run(request: Namespace) -> None:
    """Prints what is installed."""
    print("\n".join(lines(request.kind)))


def lines(kind: str | None = None) -> list[str]:
    """What `semisup list [kind]` prints.

    Args:
        kind: strategies, datamodules or backbones; all of them by default.

    Raises:
        InputError: there is no such kind, or a name is taken twice.
    """
    if kind is not None and kind not in _GROUPS:
        raise InputError(f"there is nothing like {kind!r} to list{did_you_mean(kind, _GROUPS)}")
    listed = []
    for title in _GROUPS if kind is None else (kind,):
        group, usage = _GROUPS[title]
        rows = [_row(group, name, point) for name, point in plugins.installed(group).items()]
        composed = plugins.compositions() if group == plugins.STRATEGIES else {}
        blank = ("",) * (len(_STRATEGY_COLUMNS) - 2)
        rows += [(name, *blank, f"{parts}, under a name of its own.") for name, parts in composed.items()]
        rows += OTHER_BACKBONES if title == "backbones" else []
        head, legend = ([_STRATEGY_COLUMNS], _LEGEND) if group == plugins.STRATEGIES else ([], ())
        listed += [f"{title} ({usage}):", *_table([*head, *rows]), *(f"  {line}" for line in legend), ""]
    return listed[:-1]


def _row(group: str, name: str, point: EntryPoint) -> tuple[str, ...]:
    told = source.describe(point.value)
    if group != plugins.STRATEGIES:
        return name, told.summary
    paper = _PAPER.search(told.text)
    year, arxiv = (paper["year"], paper["arxiv"] or "") if paper else ("", "")
    known = _measured(source.beside(point.value, "measured.json")).get(name, {})
    ratio = next((option.default for option in told.options if option.name == "ratio"), "")
    needs = "NAME+" if "+" in known.get("measured_as", "") else ratio
    cost = f"{known['cost']:g}" if known.get("cost") else ""
    digits = f"{known['accuracy']} ({known.get('difference', '')})" if known.get("accuracy") else "not measured"
    return name, year, arxiv, needs, cost, digits, told.summary


@cache
def _measured(path: Path | None) -> dict[str, dict[str, Any]]:
    """What a package says that was measured of its strategies, by name: cost of a step, accuracy and difference.

    A file that says something else is left out, with a line.
    """
    try:
        measured: Any = json.loads(path.read_text(encoding="utf-8")) if path else {}
    except (OSError, ValueError, RecursionError) as error:
        measured, why = None, str(error) or type(error).__name__
    else:
        why = "it must hold, by a strategy's name, its measured_as, cost, accuracy and difference"
    if isinstance(measured, dict) and all(map(_is_measured, measured.values())):
        return measured
    print(printable(f"warning: {path} is left out, which is not what was measured of strategies: {why}"))
    return {}


def _is_measured(said: Any) -> bool:
    """Whether a file says of a strategy what it must, or less."""
    if not isinstance(said, dict):
        return False
    cost = said.get("cost")
    number = isinstance(cost, int | float) and not isinstance(cost, bool) and 0 <= cost < math.inf
    texts = (said.get(name, "") for name in ("measured_as", "accuracy", "difference"))
    return (cost is None or number) and all(isinstance(text, str) and text.isprintable() for text in texts)


def _table(rows: list[tuple[str, ...]]) -> list[str]:
    """Columns, of which the last one is as wide as the terminal lets it be, and goes on in the next line."""
    *columns, _ = zip(*rows, strict=True)
    widths = [max(map(len, column)) + 2 for column in columns]
    left = 2 + sum(widths)
    width = max(60, shutil.get_terminal_size((120, 24)).columns - left)
    table = []
    for *cells, text in rows:
        begin = "  " + "".join(f"{cell:{width}}" for cell, width in zip(cells, widths, strict=True))
        table += [begin + line if not k else " " * left + line for k, line in enumerate(textwrap.wrap(text, width))]
    return table
