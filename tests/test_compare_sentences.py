"""The sentences of a comparison's page: its headline, and what it says of how sure that is."""

from __future__ import annotations

from dataclasses import replace

import pytest
from compared import comparison, with_cells
from read_page import page

from semisup.compare.page.answers import answers
from semisup.compare.record import Comparison, Failure, LeftOut, OptionDifference
from semisup.runs.statistics import Efficiency


def scored(values: dict[str, list[float]], val: dict[str, float] | None = None) -> Comparison:
    """A comparison with 40 labels, by the test accuracy of each arm's seeds and the validation accuracy of the arm."""
    found = comparison([*values], [40], len(next(iter(values.values()))))
    runs = [
        replace(
            run,
            scores={
                **run.scores,
                "best/test_accuracy": values[run.arm][run.seed],
                "best/val_accuracy": (val or {}).get(run.arm, 0.5),
            },
        )
        for run in found.runs
    ]
    return with_cells(replace(found, runs=runs))


@pytest.mark.parametrize(
    ("scores", "headline", "verdict"),
    [
        ([0.70, 0.79, 0.90], "gains 14.7 points", "+13.2 to +16.1 points, paired over 3 seeds; all of it above zero"),
        ([0.60, 0.60, 0.80], "gains 1.7 points", "zero lies inside, so it may be chance"),
        ([0.45, 0.54, 0.65], "loses 10.3 points", "all of it below zero"),
        ([0.50, 0.62, 0.80], "has no proven gain over supervised yet: 64.0 % instead of 65.0 %", "zero lies inside"),
    ],
)
def test_the_headline_has_the_number_and_says_how_sure_it_is(scores: list[float], headline: str, verdict: str) -> None:
    top = answers(scored({"supervised": [0.55, 0.65, 0.75], "fixmatch": scores}), [])
    assert headline in top.headline
    assert verdict in top.interval


def test_one_seed_has_no_interval_and_the_page_says_so() -> None:
    found = comparison(seeds=1)
    made = page(found)
    assert "There is no interval for this difference" in made.text
    assert "Not yet: no interval" in made.text


def test_the_strategy_of_the_headline_is_chosen_by_validation() -> None:
    values = {"supervised": [0.6, 0.62], "a": [0.7, 0.72], "b": [0.8, 0.82]}
    top = answers(scored(values, {"a": 0.9, "b": 0.8}), [])
    assert top.headline.startswith("With 40 labels, a gains 10.0 points over supervised: 71.0 % instead of 61.0 %")
    assert top.chosen == "Chosen from 2 strategies by validation accuracy, not by test."


def test_the_headline_is_about_the_most_labels_that_there_are() -> None:
    top = answers(comparison(["supervised", "fixmatch"], labels=[20, 40, 100]), [])
    assert top.headline.startswith("With 100 labels, fixmatch ")


@pytest.mark.parametrize(
    ("worth", "said"),
    [
        (Efficiency("=", 57.0, 1.425), "supervised would need about 57 labels for the same accuracy, 1.4 times as"),
        (Efficiency(">", 100.0, 2.5), "would need more than 100 labels for the same accuracy, more than 2.5 times as"),
        (Efficiency("<", 40.0, 1.0), "supervised is as accurate with fewer than 40 labels."),
    ],
)
def test_labels_that_a_gain_is_worth(worth: Efficiency, said: str) -> None:
    found = scored({"supervised": [0.5, 0.6, 0.7], "fixmatch": [0.6, 0.7, 0.8]})
    cells = [replace(cell, efficiency=worth) if cell.difference else cell for cell in found.cells]
    assert said in answers(replace(found, cells=cells), []).answers[0].more[0]


@pytest.mark.parametrize("arms", [["fixmatch", "pseudolabel"], ["supervised"]])
def test_without_an_arm_to_differ_from_nothing_is_said_to_be_bought(arms: list[str]) -> None:
    made = page(comparison(arms, seeds=1, labels=[None]))
    assert "What the unlabeled images bought can't be said" in made.text
    assert "table-differences" not in made.tables
    assert "table-classes" not in made.tables


def test_what_failed_and_what_was_left_out_is_shown() -> None:
    differences = [OptionDifference("trainer.max_epochs", 60, None)]
    found = comparison(
        left_out=[LeftOut("../runs/odd", "not comparable: it had more epochs", differences)],
        failures=[Failure("fixmatch 40 s3", -9, "Killed", "logs/a b.log", "semisup fit --seed 3")],
        notes=["The runs differ in torch."],
    )
    made = page(found)
    for said in ("Exit code -9: Killed", "not comparable: it had more epochs", "The runs differ in torch.", "--seed 3"):
        assert said in made.text
    assert ("a", "href", "logs/a%20b.log") in made.attributes
    option = made.tables["table-left-out-1"][1]
    assert [text for text, _ in option] == ["trainer.max_epochs", "60", "none"]
