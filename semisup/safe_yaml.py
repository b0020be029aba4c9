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

from semisup.errors import InputError

_DEEPEST = 100  # mappings and lists in one another
_MOST = 100_000  # values, aliases unfolded
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass
class _Open:
    """A mapping or list that has begun: its anchor, the values in it so far, and, of a mapping, its keys."""

    anchor: str | None
    mapping: bool
    values: int = 1
    keys: set[str] = field(default_factory=set)
    at_key: bool = True


def read(path: Path, load: Callable[[str], Any] | None = None) -> Any:
    """What a YAML file holds: mappings, lists, text, numbers, truth values and null.

    Args:
        path: the file.
        load: makes values of the text; PyYAML's safe loader by default.

    Raises:
        InputError: it can't be read, isn't YAML, or holds something else.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
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
    except (ValueError, TypeError, KeyError) as error:  # a date that there isn't, a number of ten thousand digits, ...
        raise InputError(f"{path} holds what can't be an option: {str(error)[:200]}") from error
    return tree


def _check(text: str) -> None:
    """Refuses keys that are there twice, and nesting and aliases beyond measure; before anything is built."""
    unfolded: dict[str, int] = {}  # anchor -> values
    stack = [_Open(None, mapping=False)]
    for event in yaml.parse(text, _LOADER):
        if isinstance(event, yaml.CollectionStartEvent):
            if len(stack) > _DEEPEST:
                raise ValueError(f"more than {_DEEPEST} mappings or lists in one another")
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
        if top.values > _MOST:
            raise ValueError(f"more than {_MOST:,} values, its aliases unfolded")
        if top.mapping and top.at_key and key is not None and key != "<<":
            if key in top.keys:
                line = f", in line {event.start_mark.line + 1}" if event.start_mark else ""
                raise ValueError(f"the key {key!r} twice{line}")
            top.keys.add(key)
        top.at_key = not top.at_key


def _only_plain(value: Any) -> None:
    if isinstance(value, dict):
        for key, inner in value.items():
            if not isinstance(key, str):
                raise ValueError(f"the key {key!r}, which is not text; put it in quotes")
            _only_plain(inner)
    elif isinstance(value, list):
        for inner in value:
            _only_plain(inner)
    elif not (value is None or isinstance(value, bool | int | float | str)):
        raise ValueError(f"{value!r}, a {type(value).__name__}; put it in quotes")
