"""Ranges that options' types say: both ends are in, what is beyond them is refused by its name."""

from __future__ import annotations

import math
from typing import Annotated

import pytest

from semisup.errors import InputError
from semisup.ranges import Count, Decay, NonNegative, Positive, Range, Ratio, Share, Temperature, check_ranges


class Mine:
    def __init__(
        self,
        ratio: Ratio = 7,
        threshold: Share = 0.5,
        ema_decay: Decay = 0.9,
        weight: NonNegative = 1.0,
        rounds: Count = 1,
        temperature: Temperature = 1.0,
        length: Positive = 1.0,
        crop: Annotated[int | None, Range(1)] = None,
        copies: Annotated[int, "strong views", Range(2, 5)] = 2,
        name: str = "any",
    ) -> None:
        check_ranges("mine", Mine, locals())


class Derived(Mine):
    def __init__(self, threshold: Annotated[float, Range(0.5, 1)] = 0.5, free: float = 0.0) -> None:
        check_ranges("derived", Derived, locals())
        super().__init__(threshold=threshold)


@pytest.mark.parametrize(
    ("option", "taken", "refused"),
    [
        ("ratio", (1, 1000), {0: "at least 1", 1001: "at most 1,000"}),
        ("threshold", (0, 1), {-0.01: "from 0 to 1", 1.01: "from 0 to 1"}),
        ("ema_decay", (0, 0.9999), {1: "at least 0 and less than 1", -0.1: "at least 0 and less than 1"}),
        ("weight", (0, 1e30, math.inf), {-1e-9: "at least 0", math.nan: "at least 0"}),
        ("rounds", (1, 10**9), {0: "at least 1"}),
        ("temperature", (0.01, 1e9), {0.0099: "at least 0.01"}),
        ("length", (1e-300, math.inf), {0: "more than 0", -1: "more than 0", math.nan: "more than 0"}),
        ("crop", (None, 1), {0: "at least 1"}),
        ("copies", (2, 5), {1: "at least 2", 6: "at most 5"}),
    ],
)
def test_a_number_is_taken_in_its_range_alone(
    option: str, taken: tuple[float | None, ...], refused: dict[float, str]
) -> None:
    for value in taken:
        Mine(**{option: value})  # type: ignore[arg-type]
    for value, expected in refused.items():
        with pytest.raises(InputError) as error:
            Mine(**{option: value})  # type: ignore[arg-type]
        assert str(error.value) == f"mine.{option} is {value}, but must be {expected}"


def test_a_class_that_is_derived_has_ranges_of_its_own() -> None:
    Derived(1.0, free=-5)
    with pytest.raises(InputError, match=r"^derived\.threshold is 0\.4, but must be at least 0\.5$"):
        Derived(0.4)
