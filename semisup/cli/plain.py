"""Which types of options make nobody import.

The parser imports what a class path names wherever an option's type holds a class: torch's `lr: float | Tensor` is
enough. So options take numbers, text, choices, and lists and mappings of these; classes stand in Lightning's group
alone, where they are typed, or where a file that names them is trusted (`--trust`).
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from enum import Enum
from pathlib import PurePath
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
