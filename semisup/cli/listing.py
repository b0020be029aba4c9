"""`semisup list`: what is installed, one line each, read from the plugins' sources without importing them."""

from __future__ import annotations

import shutil
import textwrap
from argparse import ArgumentParser, Namespace

from semisup import plugins
from semisup.errors import InputError, did_you_mean
from semisup.plugins import source

_GROUPS = {
    "strategies": (plugins.STRATEGIES, "--strategy NAME, or NAME+NAME where only one of them owns the loss"),
    "datamodules": (plugins.DATAMODULES, "--data NAME"),
    "backbones": (plugins.BACKBONES, "--model.backbone NAME"),
}
_TORCHVISION = ("torchvision:NAME", "Any classification network of torchvision, such as torchvision:resnet18.")


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
        rows = [(name, source.describe(point.value).summary) for name, point in plugins.installed(group).items()]
        composed = plugins.compositions() if group == plugins.STRATEGIES else {}
        rows += [(name, f"{parts}, under a name of its own.") for name, parts in composed.items()]
        listed += [f"{title} ({usage}):", *_table([*rows, _TORCHVISION] if title == "backbones" else rows), ""]
    return listed[:-1]


def _table(rows: list[tuple[str, str]]) -> list[str]:
    """Names and summaries in two columns, one line each, cut to the terminal's width where that is known."""
    column = max((len(name) for name, _ in rows), default=0) + 2
    width = max(60, shutil.get_terminal_size((120, 24)).columns)
    return [f"  {name:{column}}{textwrap.shorten(text, width - column - 3, placeholder=' ...')}" for name, text in rows]
