"""What the files and the saved configuration of a run say, later ones before earlier ones, and of which classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from typing import Any, get_args

from semisup import plugins
from semisup.cli import DEFAULTS, ROOT, SHORT, last, resolve_data
from semisup.cli.parsing import unknown
from semisup.cli.yaml_files import flatten, lookup, nest, read
from semisup.errors import InputError, require
from semisup.escape import shell
from semisup.models import backbones
from semisup.runs import run_files
from semisup.runs.options import LATER
from semisup.runs.paths import local

_NAMES = ("strategy", "data.name", "optimizer.name", "lr_scheduler.name")  # the options that name classes


@dataclass(frozen=True)
class File:
    """Options in YAML.

    Attributes:
        path: as errors name it.
        tree: its options, short names written out.
        of_run: it is what a run has saved, and not one that was typed.
    """

    path: str
    tree: dict[str, Any]
    of_run: bool = False


@dataclass(frozen=True)
class Merged:
    """The value of an option that files give, and the file that has the last word on it."""

    value: Any
    path: str


def files(typed: Sequence[str], run: Path | None, with_trainer: bool) -> list[File]:
    """The files to read, in the order in which they count.

    Args:
        typed: their paths.
        run: a run whose config.yaml, where it has one, comes first.
        with_trainer: whether that one's trainer group counts.

    Raises:
        InputError: one can't be read.
    """
    read_in = [File(path, read(str(local(path)))) for path in typed]
    if run is None or not run_files.is_there(run / "config.yaml"):
        return read_in
    tree = read(str(run / "config.yaml"), of_run=True)
    kept = {key: tree[key] for key in tree if with_trainer or str(key).partition(".")[0] != "trainer"}
    return [File(str(run / "config.yaml"), kept, of_run=True), *read_in]


def choose(files: Sequence[File], args: list[str]) -> tuple[list[dict[str, str]], str, bool]:
    """The classes that are named after each file and, as the last element, in the end.

    And why this dataset, and whether the optimiser is that of transformers because the backbone is one.
    """
    trees = [file.tree for file in files]
    chosen = [{name: DEFAULTS[name] for name in _NAMES}]
    for tree in [*trees, nest({name: last(args, name) for name in (*_NAMES, "data.root")})]:
        named = {name: lookup(tree, name) for name in _NAMES}
        chosen.append(chosen[-1] | {name: str(value) for name, value in named.items() if value is not None})
    roots = [last(args, "data.root"), *(lookup(tree, "data.root") for tree in reversed(trees)), ROOT]
    root = next(str(local(str(root))) if str(root) != ROOT else ROOT for root in roots if root)
    data, why = resolve_data(chosen[-1]["data.name"], root)
    require(
        not why or data == "stl10" or root == ROOT,
        f"there is no STL-10 in {root}; type --data folder --data.root {shell(Path(root))} for a folder of your own "
        f"pictures",
    )
    by_backbone = _takes_adamw(trees, args)
    if by_backbone:
        for names in chosen:
            names["optimizer.name"] = "adamw"
    for names in chosen:
        names["data.name"] = names["data.name"] or data
        names["optimizer.name"] = names["optimizer.name"].lower()
    return chosen[1:], why, by_backbone


def _takes_adamw(trees: Sequence[dict[str, Any]], args: list[str]) -> bool:
    """Whether nobody names an optimiser, and the backbone is one that is trained by AdamW."""
    named = [last(args, "optimizer.name"), *(lookup(tree, "optimizer.name") for tree in trees)]
    backbones_named = [last(args, "model.backbone"), *(lookup(tree, "model.backbone") for tree in reversed(trees))]
    backbone = next((str(name) for name in backbones_named if name), "")
    return not any(named) and backbones.is_transformer(backbone)


def merge(files: Sequence[File], chosen: Sequence[dict[str, str]], options: Mapping[str, Any]) -> dict[str, Merged]:
    """What files say of options; a later one beats an earlier one.

    Args:
        files: to be read in this order.
        chosen: as `choose` returns it.
        options: every option and its type.

    Raises:
        InputError: a file has an option that there isn't, or no value for one that must have one.
    """
    merged = {}
    groups = {option.partition(".")[0] for option in options} | set(plugins.installed(plugins.STRATEGIES))
    for file, then in zip(files, chosen, strict=False):
        later = LATER if file.of_run else {}
        missing = {key: x for key, x in later.items() if key in options and lookup(file.tree, key) is None}
        for key, value in (dict(flatten(file.tree, options)) | missing).items():
            if key in options:
                hint = options[key]
                optional = hint is Any or NoneType in get_args(hint) or key in _NAMES
                require(value is not None or optional, f"{file.path}: {key}: expected a value, got null")
                merged[key] = Merged(value, file.path)
            elif not (
                (key in groups and value in (None, {}))
                or _superseded(key, then, chosen[-1])
                or (file.of_run and _retired(key, chosen[-1]["strategy"]))
            ):
                raise InputError(f"{file.path}: {unknown(key, (*options, *SHORT), chosen[-1]['strategy'])}")
    return merged


def _retired(key: str, strategy: str) -> bool:
    """Whether an option is one that a strategy had when a run was made, and has no more."""
    group, _, option = key.partition(".")
    if group not in plugins.split_names(strategy):
        return False
    return option in plugins.source.attribute(plugins.find(plugins.STRATEGIES, group).value, "retired").split()


def _superseded(key: str, then: dict[str, str], chosen: dict[str, str]) -> bool:
    """Whether an option belongs to a class that was named by then, and that another one has replaced since."""
    group = key.partition(".")[0]
    name = f"{group}.name"
    replaced = set(plugins.split_names(then["strategy"])) - set(plugins.split_names(chosen["strategy"]))
    return group in replaced or (name in chosen and then[name] != chosen[name])
