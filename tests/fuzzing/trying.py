"""Draws cases of a property and judges them, all of them, whatever fails."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from hypothesis import HealthCheck, Phase, given, seed, settings

from fuzzing.judging import Case, Outcome, Property, judge

_AT_ONCE = 1000  # cases that hypothesis draws in one go: it remembers all of them


@dataclass
class Found:
    """What became of a property's cases.

    Attributes:
        outcomes: one for each case.
        failures: what is wrong, in words, each with its case.
        last_seed: of those that the cases were drawn by.
    """

    outcomes: list[Outcome] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    last_seed: int = 0

    def count(self, kind: str) -> int:
        """How many cases ended so."""
        return sum(outcome.kind == kind for outcome in self.outcomes)


def shares(properties: Iterable[Property], cases: int) -> dict[str, int]:
    """How many of the cases each property gets, one at least; together as many as asked for, or a few more."""
    total = sum(prop.share for prop in properties)
    return {prop.name: max(1, -int(-cases * prop.share // total)) for prop in properties}


def tried(prop: Property, cases: int, first_seed: int) -> Found:
    """Judges as many cases, drawn by the seeds from the first one on, as many seeds as it takes."""
    found = Found(last_seed=first_seed - 1)
    while len(found.outcomes) < cases:
        found.last_seed += 1
        _draw(prop, min(_AT_ONCE, cases - len(found.outcomes)), found)
    return found


def _draw(prop: Property, cases: int, found: Found) -> None:
    @seed(found.last_seed)
    @settings(
        max_examples=cases,
        database=None,
        derandomize=False,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(prop.cases)
    def one(case: Case) -> None:
        outcome = judge(prop, case)
        found.outcomes.append(outcome)
        if not outcome.good:
            files = {name: content[:200] for name, content in case.files.items()}
            left = f"left behind: {', '.join(outcome.left)}\n" if outcome.left else ""
            said = f"{prop.name}, seed {found.last_seed}: {outcome.kind}\n{outcome.said}\n{left}"
            found.failures.append(f"{said}given {case.given!r:.300}\n{files!r:.2000}")

    one()
