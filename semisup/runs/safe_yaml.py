"""Reads YAML that others wrote: options and nothing else, however the file is made.

PyYAML takes the last of two equal keys, builds objects of its own kinds, and stumbles over what is nested too deeply;
aliases of aliases unfold to more than a memory holds. Here each of these is one clear error.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from semisup.errors import InputError, require
from semisup.runs import run_files

_MAX_DEPTH = 100  # mappings and lists in one another
_MAX_VALUES = 100_000  # values, aliases unfolded
_MAX_BYTES = 16 << 20  # bytes of a file
# Of the options of a run, those that are reckoned with when it is read back, and what they must be.
_OF_RUN: dict[str, Callable[[Any], bool]] = {
    "strategy": lambda name: type(name) is str and name.split("+") == [*dict.fromkeys(filter(None, name.split("+")))],
    "seed": lambda seed: type(seed) is int and seed >= 0,
    "data.name": lambda name: type(name) is str,
    "data.labels_per_class": lambda count: count is None or (type(count) is int and count >= 1),
    "trainer.num_nodes": lambda count: type(count) is int and count >= 1,
}
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass
class _Open:
    """A mapping or list that has begun: its anchor, the values in it so far, and, of a mapping, its keys."""

    anchor: str | None
    mapping: bool
    values: int = 1
    keys: set[str] = field(default_factory=set)
    at_key: bool = True


def loads(text: str) -> Any:
    """What YAML that semisup has written itself holds."""
    return yaml.load(text, _LOADER)


def read(path: Path, load: Callable[[str], Any] | None = None, of_run: bool = False) -> Any:
    """What a YAML file holds: mappings, lists, text, numbers, truth values and null.

    Args:
        path: the file. Where a user typed its name it may be a pipe, as in `--config <(...)`.
        load: makes values of the text; PyYAML's safe loader by default.
        of_run: it is a file of a run, which must be a regular one (semisup/runs/run_files.py).

    Raises:
        InputError: it can't be read, isn't YAML, or holds something else.
    """
    try:
        text = (run_files.content(path, _MAX_BYTES) if of_run else _typed(path)).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} can't be read: {getattr(error, 'strerror', None) or error}") from error
    try:
        _check(text)
        tree = load(text) if load else yaml.load(text, _LOADER)
        _only_plain(tree)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}, column {mark.column + 1}: {getattr(error, 'problem', '')}" if mark else error
        raise InputError(f"{path} is not valid YAML: {where}") from error
    except (ValueError, TypeError, LookupError, AttributeError) as error:  # no such date, ...
        raise InputError(f"{path} holds what can't be an option: {str(error)[:200]}") from error
    return tree


def read_run(path: Path) -> dict[str, Any]:
    """The options of a run, by its `config.yaml`: the strategy, the seed, and groups of options.

    Raises:
        InputError: as `read`, or it is not what `semisup fit` writes.
    """
    tree, wrong = read(path, of_run=True), f"{path} is not what semisup fit writes:"
    require(isinstance(tree, dict), f"{wrong} it holds {str(tree)[:60]!r} and no options")
    for group, options in tree.items():
        require(isinstance(options, dict) or group in _OF_RUN, f"{wrong} {group} is {str(options)[:60]!r}")
        for name, value in options.items() if isinstance(options, dict) else [("", options)]:
            option = f"{group}.{name}" if name else group
            require(name.isidentifier() or option in _OF_RUN, f"{wrong} it has an option {option!r}")
            right = _OF_RUN.get(option, lambda value: True)(value)
            require(right, f"{wrong} {option} is {str(value)[:60]!r}")
    return tree


def _typed(path: Path) -> bytes:
    with open(path, "rb") as file:
        content = file.read(_MAX_BYTES + 1)
    require(len(content) <= _MAX_BYTES, f"{path} has more than {_MAX_BYTES:,} bytes; type a file of options")
    return content


def _check(text: str) -> None:
    """Refuses keys that are there twice, and nesting and aliases beyond measure; before anything is built."""
    unfolded: dict[str, int] = {}  # anchor -> values
    stack = [_Open(None, mapping=False)]
    for event in yaml.parse(text, _LOADER):
        if isinstance(event, yaml.CollectionStartEvent):
            if len(stack) > _MAX_DEPTH:
                raise ValueError(f"more than {_MAX_DEPTH} mappings or lists in one another")
            stack.append(_Open(event.anchor, isinstance(event, yaml.MappingStartEvent)))
            continue
        if isinstance(event, yaml.CollectionEndEvent):
            done = stack.pop()
            anchor, values, key = done.anchor, done.values, None
        elif isinstance(event, yaml.ScalarEvent):
            anchor, values, key = event.anchor, 1, event.value
        elif isinstance(event, yaml.AliasEvent):
            if event.anchor not in unfolded:
                raise ValueError(f"the alias *{event.anchor} stands for nothing that is complete")
            anchor, values, key = None, unfolded[event.anchor], None
        else:
            continue
        if anchor:
            unfolded[anchor] = values
        top = stack[-1]
        top.values += values
        if top.values > _MAX_VALUES:
            raise ValueError(f"more than {_MAX_VALUES:,} values, its aliases unfolded")
        if top.mapping and top.at_key and key is not None and key != "<<":
            if key in top.keys:
                line = f", in line {event.start_mark.line + 1}" if event.start_mark else ""
                raise ValueError(f"the key {key!r} twice{line}")
            top.keys.add(key)
        top.at_key = not top.at_key


def _only_plain(value: Any) -> None:
    if isinstance(value, dict):
        for key, inner in value.items():
            if isinstance(key, bool) or not isinstance(key, str | int | float):
                raise ValueError(f"the key {key!r}, which is neither text nor a number; put it in quotes")
            _only_plain(inner)
    elif isinstance(value, list):
        for inner in value:
            _only_plain(inner)
    elif not (value is None or isinstance(value, bool | int | float | str)):
        raise ValueError(f"{value!r}, a {type(value).__name__}; put it in quotes")
