"""The selection rules against slow and obvious versions of themselves, ties included."""

from __future__ import annotations

import pytest
import torch

from semisup import selection
from semisup.selection import Candidates, Rule, Selection

GENERATOR = torch.Generator().manual_seed(0)
CONFIDENCE = torch.randint(0, 40, (500,), generator=GENERATOR) / 40  # 500 images on 40 levels: many ties
PREDICTED = torch.randint(0, 7, (500,), generator=GENERATOR)


def naive_ranking() -> list[int]:
    return sorted(range(500), key=lambda row: (-CONFIDENCE[row].item(), row))


def test_threshold_keeps_the_threshold_itself() -> None:
    assert selection.over_threshold(torch.tensor([0.5, 0.95, 0.9499, 1.0]), 0.95).tolist() == [1, 3]
    assert selection.over_threshold(CONFIDENCE, 2.0).tolist() == []


def test_top_overall_takes_the_most_confident_and_of_equals_the_first() -> None:
    assert selection.top_overall(CONFIDENCE, 60).tolist() == sorted(naive_ranking()[:60])


def test_top_per_class_takes_the_most_confident_of_every_class() -> None:
    expected = []
    for k in range(8):  # nothing is predicted as class 7
        expected += [row for row in naive_ranking() if PREDICTED[row] == k][:11]
    assert selection.top_per_class(CONFIDENCE, PREDICTED, 11, 8).tolist() == sorted(expected)


def test_top_per_class_takes_as_many_of_a_class_as_are_said_of_it() -> None:
    most, expected = [3, 0, 50, 1, 2, 7, 4, 9], []
    for k, count in enumerate(most):
        expected += [row for row in naive_ranking() if PREDICTED[row] == k][:count]
    assert selection.top_per_class(CONFIDENCE, PREDICTED, torch.tensor(most), 8).tolist() == sorted(expected)


def test_top_per_class_takes_what_there_is() -> None:
    rows = selection.top_per_class(torch.tensor([0.1, 0.2, 0.3]), torch.tensor([0, 0, 1]), 5, 2)
    assert rows.tolist() == [0, 1, 2]


RULES: dict[str, Rule] = {
    "threshold": lambda c: selection.over_threshold(c.confidence, 0.6),
    "top_k_overall": lambda c: selection.top_overall(c.confidence, 60),
    "top_k_per_class": lambda c: selection.top_per_class(c.confidence, c.predicted, 11, 7),
}


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("size", [1, 7, 64, 500])
def test_a_stream_is_selected_from_as_the_whole_is(rule: str, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """With ties, in parts of any size, and never holding more than twice what is selected and one part."""
    monkeypatch.setattr(selection, "_MIN_COLLECTED", 20)
    everyone = Candidates(torch.arange(500), CONFIDENCE, PREDICTED, torch.stack([CONFIDENCE, 1 - CONFIDENCE], 1))
    best = Selection(RULES[rule])
    for places in torch.arange(500).split(size):
        best.add(everyone.at(places))
        assert best._count <= max(20, 2 * len(everyone.at(RULES[rule](everyone)))) + size
    found, expected = best.selected(), everyone.at(RULES[rule](everyone))
    assert len(found) > 30
    for ours, theirs in ((found.rows, expected.rows), (found.targets, expected.targets)):
        assert torch.equal(ours, theirs)
    assert torch.equal(found.predicted, PREDICTED[found.rows])


@pytest.mark.parametrize("rule", RULES)
def test_the_best_of_the_ranks_best_are_the_best(rule: str) -> None:
    everyone = Candidates(torch.arange(500), CONFIDENCE, PREDICTED, PREDICTED)
    shares = [everyone.at(places) for places in torch.arange(500).tensor_split(3)]
    best = [share.at(RULES[rule](share)).tensors for share in shares]
    together = Candidates(*map(torch.cat, zip(*best, strict=True)))
    assert torch.equal(together.at(RULES[rule](together)).rows, everyone.at(RULES[rule](everyone)).rows)
