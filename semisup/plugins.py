"""Finds strategies, datamodules and backbones through their entry points, ours by the same door as a stranger's.

A plugin is one class and one line in its distribution's `pyproject.toml`:

    [project.entry-points."semisup.strategies"]
    mymethod = "mypackage.mymethod:MyMethod"

Only the named plugin is ever imported. What `list` and `--help` tell of the others is read from their source text.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from importlib.machinery import PathFinder
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from semisup.errors import InputError, did_you_mean

STRATEGIES, DATAMODULES, BACKBONES = "semisup.strategies", "semisup.datamodules", "semisup.backbones"
_KIND = {STRATEGIES: "strategy", DATAMODULES: "datamodule", BACKBONES: "backbone"}
_TRAINER_STRATEGIES = ("ddp", "fsdp", "deepspeed", "ddp_spawn", "ddp_find_unused_parameters_true", "dp")


@dataclass(frozen=True)
class Option:
    """One parameter of a plugin, as its source declares it."""

    name: str
    type: str
    default: str
    help: str


@dataclass(frozen=True)
class Description:
    """What a plugin's source says of it: the first line of its docstring, and its parameters."""

    summary: str
    options: tuple[Option, ...]


def _distribution(point: EntryPoint) -> str:
    return point.dist.name if point.dist else "an unnamed distribution"


def installed(group: str) -> dict[str, EntryPoint]:
    """Name -> entry point of every installed plugin of a group.

    Raises:
        InputError: two distributions bring the same name.
    """
    found: dict[str, EntryPoint] = {}
    for point in entry_points(group=group):
        other = found.setdefault(point.name, point)
        # The same line seen twice is one distribution found through two folders of the path, not a clash.
        if (other.value, _distribution(other)) != (point.value, _distribution(point)):
            raise InputError(
                f"the {_KIND[group]} name {point.name!r} is taken twice, by {_distribution(other)} ({other.value}) and "
                f"by {_distribution(point)} ({point.value}); uninstall one of them"
            )
    return dict(sorted(found.items()))


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
        raise InputError(f"there is no {_KIND[group]} {name!r}{did_you_mean(name, points)}")
    return points[name]


def load(group: str, name: str) -> Any:
    """Imports a plugin and returns its class.

    Raises:
        InputError: there is no such plugin, or it can't be imported; the message says which distribution brought it.
    """
    point = find(group, name)
    try:
        return point.load()
    except (ImportError, AttributeError, SyntaxError) as error:
        raise InputError(
            f"the {_KIND[group]} {name!r} ({point.value}, brought by {_distribution(point)}) can't be imported: "
            f"{type(error).__name__}: {error}"
        ) from error


def describe(point: EntryPoint) -> Description:
    """Reads a plugin's summary and parameters from its source without importing it.

    Parameters that a class inherits are found where its base class is named in the same file or imported from a module
    by `from module import Base`.
    """
    module, _, name = point.value.partition(":")
    chain = _class_chain(module, name)
    if not chain:
        return Description(f"(its source, {point.value}, can't be read)", ())
    docstring = ast.get_docstring(chain[0]) or ""
    options: dict[str, Option] = {}
    for definition in chain:
        for option in _options(definition):
            options.setdefault(option.name, option)
        if not any(_takes_keywords(node) for node in definition.body):
            break
    return Description(docstring.partition("\n")[0], tuple(options.values()))


def _source(module: str) -> str | None:
    """Source text of a module; unlike `importlib.util.find_spec`, imports no parent package on the way."""
    path: Any = None
    spec = None
    parts = module.split(".")
    for depth in range(len(parts)):
        spec = PathFinder.find_spec(".".join(parts[: depth + 1]), path) or _editable(".".join(parts[: depth + 1]))
        if spec is None:
            return None
        path = spec.submodule_search_locations
    get_source = getattr(spec.loader, "get_source", None) if spec else None
    return get_source(module) if get_source else None


def _editable(module: str) -> Any:
    """The spec of a top-level module that an editable install maps through a finder of its own."""
    import sys

    for finder in sys.meta_path:
        find_spec = getattr(finder, "find_spec", None)
        if finder is not PathFinder and find_spec and (spec := find_spec(module, None)):
            return spec
    return None


def _class_chain(module: str, name: str) -> list[ast.ClassDef]:
    """A class's definition and those of its first bases, as far as sources outside of the big libraries show them."""
    source = _source(module) if module.partition(".")[0] not in ("torch", "pytorch_lightning", "abc") else None
    if source is None:
        return []
    tree = ast.parse(source)
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            base = node.bases[0].id if node.bases and isinstance(node.bases[0], ast.Name) else None
            return [node, *(_class_chain(module, base) if base else [])]
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    return _class_chain(node.module, alias.name)
    return []


def _takes_keywords(node: ast.stmt) -> bool:
    return isinstance(node, ast.FunctionDef) and node.name == "__init__" and node.args.kwarg is not None


def _options(definition: ast.ClassDef) -> list[Option]:
    """The parameters of a class's own `__init__`, with the help that its docstring's `Args:` gives."""
    init = next((n for n in definition.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"), None)
    if init is None:
        return []
    text = f"{ast.get_docstring(definition) or ''}\n{ast.get_docstring(init) or ''}"
    arguments = [*init.args.args[1:], *init.args.kwonlyargs]
    values = [*init.args.defaults, *init.args.kw_defaults]
    defaults = [None] * (len(arguments) - len(values)) + values
    return [
        Option(
            argument.arg,
            ast.unparse(argument.annotation) if argument.annotation else "",
            ast.unparse(default) if default is not None else "(required)",
            _help(text, argument.arg),
        )
        for argument, default in zip(arguments, defaults, strict=True)
    ]


def _help(docstring: str, parameter: str) -> str:
    """What a Google-style docstring says of a parameter, on one line."""
    found = re.search(rf"^( +){parameter}: (.*(?:\n\1 +.*)*)", docstring, flags=re.MULTILINE)
    return " ".join(found[2].split()) if found else ""
