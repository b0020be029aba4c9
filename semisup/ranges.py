"""Ranges of options, said by their types: `threshold: Share = 0.95`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, NamedTuple, get_type_hints

from semisup.errors import ABOVE_ZERO, BELOW_ONE, check

__all__ = ["Count", "Decay", "NonNegative", "Positive", "Range", "Ratio", "Share", "Temperature", "check_ranges"]


class Range(NamedTuple):
    """What a number lies in, both ends included: `Annotated[float, Range(0, 2)]`.

    Attributes:
        least: that it may be.
        most: that it may be; infinite for no bound.
    """

    least: float
    most: float = math.inf


Count = Annotated[int, Range(1)]
Decay = Annotated[float, Range(0, BELOW_ONE)]
NonNegative = Annotated[float, Range(0)]
Positive = Annotated[float, Range(ABOVE_ZERO)]
Ratio = Annotated[int, Range(1, 1000)]  # unlabeled images for every labeled one in a batch
Share = Annotated[float, Range(0, 1)]
Temperature = Annotated[float, Range(0.01)]


def check_ranges(group: str, cls: type, values: Mapping[str, Any]) -> None:
    """Requires options to lie in the ranges of their types: `check_ranges("fixmatch", FixMatch, locals())`.

    Args:
        group: the strategy's name.
        cls: whose own `__init__` has the options.
        values: option -> its value, among others; None is in every range.

    Raises:
        InputError: one does not; the message names it.
    """
    hints = get_type_hints(vars(cls)["__init__"], include_extras=True)
    ranges = {name: part for name, hint in hints.items() for part in getattr(hint, "__metadata__", ())}
    given = {name: values[name] for name, part in ranges.items() if isinstance(part, Range)}
    check(group, **{name: (value, *ranges[name]) for name, value in given.items() if value is not None})
