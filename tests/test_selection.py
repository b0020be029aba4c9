"""The selection rules against slow and obvious versions of themselves, ties included."""

from __future__ import annotations

import torch

from semisup import selection

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


def test_top_per_class_takes_what_there_is() -> None:
    rows = selection.top_per_class(torch.tensor([0.1, 0.2, 0.3]), torch.tensor([0, 0, 1]), 5, 2)
    assert rows.tolist() == [0, 1, 2]
