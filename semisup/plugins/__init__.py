"""Finds strategies, datamodules and backbones through their entry points: built-in and third-party ones load alike.

A plugin is one class and one line in its distribution's `pyproject.toml`:

    [project.entry-points."semisup.strategies"]
    mymethod = "mypackage.mymethod:MyMethod"

Only the named plugin is ever imported. What `list` and `--help` tell of the others is read from their source text
(semisup/plugins/source.py).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from semisup import presentation
from semisup.errors import InputError, did_you_mean
from semisup.plugins import source
from semisup.presentation import Presentation

STRATEGIES, DATAMODULES, BACKBONES = "semisup.strategies", "semisup.datamodules", "semisup.backbones"
COMPOSITIONS = "semisup.compositions"  # of strategies, that have a name of their own: a text, `one+other`
_KIND = {STRATEGIES: "strategy", DATAMODULES: "datamodule", BACKBONES: "backbone", COMPOSITIONS: "composition"}
_TRAINER_STRATEGIES = ("ddp", "fsdp", "deepspeed", "ddp_spawn", "ddp_find_unused_parameters_true", "dp")
# A strategy's name is also that of its group of options, beside these.
RESERVED = ("strategy", "data", "model", "optimizer", "lr_scheduler", "tracking", "trainer", "config", "seed")


def _distribution(point: EntryPoint) -> str:
    return point.dist.name if point.dist else "an unnamed distribution"


def installed(group: str) -> dict[str, EntryPoint]:
    """Name -> entry point of every installed plugin of a group.

    Raises:
        InputError: two distributions bring the same name, or a strategy's name can't be that of a group of options.
    """
    return dict(_installed(group, entry_points, *_places()))


def _places() -> Iterator[tuple[str, int | None]]:
    """The folders that packages are found in, and when each was changed."""
    for folder in sys.path:
        try:
            yield folder, os.stat(folder or ".").st_mtime_ns
        except OSError:
            yield folder, None


@cache
def _installed(group: str, *found_by: object) -> dict[str, EntryPoint]:
    """The same, looked up once for each way of finding plugins: it takes tens of milliseconds."""
    points: dict[str, EntryPoint] = {}
    for point in entry_points(group=group):
        other = points.setdefault(point.name, point)
        # The same line seen twice is one distribution found through two folders of the path, not a clash. A name is
        # read from a distribution's metadata, which takes long, and only where it is needed.
        if other is not point and (other.value, _distribution(other)) != (point.value, _distribution(point)):
            raise InputError(
                f"the {_KIND[group]} name {point.name!r} is taken twice, by {_distribution(other)} ({other.value}) and "
                f"by {_distribution(point)} ({point.value}); uninstall one of them"
            )
        a_group = point.name.isidentifier() and point.name not in RESERVED
        if group in (STRATEGIES, COMPOSITIONS) and not a_group:
            raise InputError(
                f"{_distribution(point)} names a strategy {point.name!r}, which can't be a group of options: it must "
                f"be letters, digits and underscores, and none of {', '.join(RESERVED)}"
            )
    return dict(sorted(points.items()))


def find(group: str, name: str) -> EntryPoint:
    """The entry point of a plugin by its name.

    Raises:
        InputError: there is no such plugin; the message names the nearest one.
    """
    points = installed(group)
    if name not in points:
        if group == STRATEGIES and name in _TRAINER_STRATEGIES:
            raise InputError(
                f"--strategy names what to learn from unlabeled images; to run on several devices type "
                f"--trainer.strategy {name}"
            )
        known = [*points, *(installed(COMPOSITIONS) if group == STRATEGIES else ())]
        raise InputError(f"there is no {_KIND[group]} {name!r}{did_you_mean(name, known)}")
    return points[name]


def load(group: str, name: str) -> Any:
    """Imports a plugin and returns its class.

    Raises:
        InputError: there is no such plugin, or it can't be imported; the message says which distribution brought it.
    """
    point = find(group, name)

    def wrong(what: str) -> InputError:
        return InputError(f"the {_KIND[group]} {name!r} ({point.value}, brought by {_distribution(point)}) {what}")

    try:
        plugin = point.load()
    except Exception as error:  # whatever a module raises while it is imported
        raise wrong(f"can't be imported: {type(error).__name__}: {error}") from error
    if not isinstance(plugin, type):
        raise wrong(f"is not a class but {plugin!r}")
    return plugin


def compositions() -> dict[str, str]:
    """Name -> the composition that it stands for.

    Raises:
        InputError: a strategy has the name as well, or what it stands for can't be imported.
    """
    points = installed(COMPOSITIONS)
    for name in points.keys() & installed(STRATEGIES).keys():
        raise InputError(f"{name!r} is the name of a strategy and of a composition; uninstall what brings one of them")
    return {name: str(presentation.resolve(point.value)) for name, point in points.items()}


def split_names(strategy: str) -> list[str]:
    """`"kmeans+pseudolabel"` -> `["kmeans", "pseudolabel"]`, and so the name of its own that a composition may have.

    Raises:
        InputError: a name is missing or stands twice.
    """
    names = compositions().get(strategy, strategy).split("+")
    if "" in names or len(set(names)) < len(names):
        raise InputError(
            f"--strategy {strategy!r} is not a composition: write distinct names joined by '+', as in ONE+OTHER"
        )
    return names


def presentations(strategies: Iterable[str]) -> dict[str, Presentation]:
    """What strategies bring of figures, panels and the report, by their names; none of them is imported.

    Of one that isn't installed any more, or whose presentation can't be imported, it says so.
    """
    by_name = {}
    for name in dict.fromkeys(strategies):
        try:
            by_name[name] = presentation.load(source.attribute(find(STRATEGIES, name).value, "presentation"))
        except InputError as error:
            from semisup.runtime.console import say  # which loads torch

            say(f"left out the figures of {name}: {error}")
    return by_name
