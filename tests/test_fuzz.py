"""Whatever comes in, it is right or one clear error: some hundred cases, or as many as `SEMISUP_FUZZ_CASES` says.

SEMISUP_FUZZ_CASES=10000 SEMISUP_FUZZ_SEED=0 python -m pytest tests/test_fuzz.py -s
"""

from __future__ import annotations

import inspect
import math
import os
from typing import Any, get_type_hints

import pytest
from fuzzing import PROPERTIES
from fuzzing.judging import Case, Property, judge
from fuzzing.trying import shares, tried
from hypothesis import strategies as st

from semisup import plugins
from semisup.errors import InputError
from semisup.models.optim import SCHEDULES
from semisup.training.probe import KNN

CASES = int(os.environ.get("SEMISUP_FUZZ_CASES", "600"))
SEED = int(os.environ.get("SEMISUP_FUZZ_SEED", "0"))


@pytest.mark.parametrize("prop", PROPERTIES, ids=lambda prop: prop.name)
def test_whatever_comes_in_is_right_or_one_clear_error(prop: Property) -> None:
    found = tried(prop, shares(PROPERTIES, CASES)[prop.name], SEED)
    print(f"{prop.name}: {len(found.outcomes)} cases with seed {SEED}, {found.count('accepted')} accepted")
    assert len(found.outcomes) > 0
    assert not found.failures, "\n\n".join(found.failures[:3])


def classes() -> dict[str, type]:
    """Every class whose parameters are options, by the name of its group."""
    groups = (plugins.STRATEGIES, plugins.DATAMODULES)
    found = {f"{group}: {name}": plugins.load(group, name) for group in groups for name in plugins.installed(group)}
    return found | {f"schedule: {name}": cls for name, cls in SCHEDULES.items()} | {"KNN": KNN}


def numbers(cls: type) -> list[str]:
    hints: dict[str, Any] = {}
    for base in cls.__mro__:
        if "__init__" in vars(base) and base.__module__.partition(".")[0] in ("semisup", "strategies", "datamodules"):
            hints = get_type_hints(base.__init__) | hints
            if all(
                parameter.kind != parameter.VAR_KEYWORD
                for parameter in inspect.signature(base.__init__).parameters.values()
            ):
                break
    return [name for name, hint in hints.items() if hint in (int, float, int | None) and name != "seed"]


NUMBERS = {f"{group} {name}": (cls, name) for group, cls in classes().items() for name in numbers(cls)}
LARGE = ("batch_size", "eval_batch_size", "samples_per_class", "patches_per_image", "ratio", "image_size", "fold")


@pytest.mark.parametrize("option", NUMBERS)
def test_a_number_without_a_sense_is_refused_by_its_name(option: str) -> None:
    cls, name = NUMBERS[option]
    senseless = [-3, -(10**30), math.nan, -math.inf]
    large = [10**30] if name in LARGE else []
    share = [7.0, math.inf] if name in ("threshold", "ema_decay", "cycles", "gamma") and "dash" not in option else []
    for value in (*senseless, *large, *share):
        with pytest.raises(InputError, match=name):
            cls(**{name: value})


def test_all_options_that_take_numbers_are_tried() -> None:
    assert len(NUMBERS) > 40
    for name, cls in classes().items():
        hints = get_type_hints(cls.__init__)  # type: ignore[misc]
        typed = {p for p in inspect.signature(cls).parameters if hints.get(p) in (int, float, int | None)}
        assert typed - {"seed"} <= set(numbers(cls)), name


# ---- the judge itself


def failing(error: BaseException | None, leave: bool = False) -> Property:
    def check(case: Case) -> None:
        if leave:
            with open("left", "w"):
                pass
        if error:
            raise error

    return Property("one", st.just(Case()), check, names=("x.yaml",))


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (None, "accepted"),
        (InputError("x.yaml is wrong"), "refused"),
        (InputError("something is wrong"), "wrong"),
        (InputError("x.yaml" * 1000), "wrong"),
        (InputError("x.yaml: Traceback (most recent call last)"), "wrong"),
        (AssertionError(), "wrong"),
        (KeyError("x"), "traceback"),
    ],
)
def test_the_judge(error: Exception | None, kind: str) -> None:
    assert judge(failing(error), Case()).kind == kind
    assert judge(failing(error), Case()).good == (kind in ("accepted", "refused"))


def test_what_is_right_must_not_be_refused() -> None:
    assert judge(failing(InputError("x.yaml is wrong")), Case(valid=True)).kind == "wrong"


def test_what_is_left_and_what_hangs_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    assert judge(failing(None, leave=True), Case()).left == ("left",)
    monkeypatch.setattr("fuzzing.judging.LIMIT", 0.05)

    def endless(case: Case) -> None:
        while True:
            try:
                sum(range(1000))
            except Exception:
                continue

    assert judge(Property("endless", st.just(Case()), endless), Case()).kind == "hang"
