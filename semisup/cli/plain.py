"""Which types of options make nobody import, and what the values of the others would import.

The parser imports what a class path names wherever an option's type holds a class: torch's `lr: float | Tensor` is
enough. So options take numbers, text, choices, and lists and mappings of these; classes stand in Lightning's group
alone, where they are typed, or where a file that names them is trusted (`--trust`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import timedelta
from enum import Enum
from pathlib import Path, PurePath
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

_Value = bool | int | float | str | None
ANYTHING = bool | int | float | str | list[_Value] | dict[str, _Value] | None  # of an option without a type
_LEAVES = (bool, int, float, str, complex, NoneType, timedelta, list, tuple, dict, set, ...)


def plain(hint: Any) -> Any:
    """The part of a type that plain values are of; None where it has no such part."""
    origin, arguments = get_origin(hint), get_args(hint)
    if hint in (Any, object):
        return ANYTHING
    if origin is Literal or (origin is None and hint in _LEAVES):
        return hint
    if origin is Annotated:
        return hint if plain(arguments[0]) == arguments[0] else plain(arguments[0])
    if origin is None and not isinstance(hint, type):
        return ANYTHING  # a type that isn't given, or can't be found out
    if origin is None:  # what jsonargparse restricts, such as PositiveInt, is a number or a text as well
        leaf = issubclass(hint, Enum | PurePath) or hint.__module__.startswith("jsonargparse.")
        return hint if leaf else None
    parts = [plain(argument) for argument in arguments]
    if origin in (Union, UnionType):
        parts = [part for part in parts if part is not None]
        return Union[tuple(parts)] if parts else None  # noqa: UP007
    if not issubclass(origin, Iterable) or None in parts:
        return None
    return origin[tuple(parts)] if parts else origin


def imported(value: Any, plain_part: Any) -> list[str]:
    """What a value would have the parser import.

    Args:
        value: of an option, as a file has it.
        plain_part: of the option's type, as `plain` gives it.
    """
    kinds = (plain_part, *get_args(plain_part))
    if isinstance(value, str):
        return [] if str in kinds else [value]
    if isinstance(value, list) and not any(get_origin(kind) in (list, tuple, set) for kind in kinds):
        return [name for inner in value for name in imported(inner, None)]
    return list(_class_paths(value))


def _class_paths(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if "class_path" in value:
            yield str(value["class_path"])
        for inner in value.values():
            yield from _class_paths(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _class_paths(inner)


def outside(value: Any, run: Path | None, name: str = "") -> Iterator[tuple[str, str]]:
    """What in the arguments of a class leads out of a run, and by which argument.

    Args:
        value: of an option that a file gave.
        run: the run's directory; None where it is to be made, and nothing can lie in it yet.
        name: of the argument.
    """
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from outside(inner, run, str(key))
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from outside(inner, run, name)
    elif isinstance(value, str | PurePath):
        text = re.sub(r"^file:(//)?", "", str(value))
        if (re.search(r"(dir|directory|folder|path)$", name) and name != "class_path") or text != str(value):
            away = run is None or not Path(text).expanduser().resolve().is_relative_to(run.resolve())
        else:
            away = text.startswith(("/", "~")) or ".." in PurePath(text).parts
        if away:
            yield name, str(value)
