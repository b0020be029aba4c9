"""How good a step's targets are, against counts made by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from semisup.data.hidden_labels import HiddenLabels, target_quality

TRUTH = np.array([0, 1, 2, 0, 1, 2])


def quality(hidden: HiddenLabels | None, rows: list[int], target: torch.Tensor, mask: list[float]) -> dict[str, float]:
    found = target_quality(hidden, torch.tensor(rows), target, torch.tensor(mask), 3)
    return {name: value.item() for name, value in found.items()}


def test_what_counts_by_weight() -> None:
    """Rows 6 and 7 are labeled images, whose classes are known anyway: they count in all but the precision."""
    rows, target, mask = [0, 1, 2, 3, 6, 7], [0, 1, 1, 2, 2, 0], [1.0, 0.5, 0.25, 0.0, 1.0, 0.5]
    found = quality(HiddenLabels(TRUTH, 3), rows, torch.tensor(target), mask)
    shares = [1.5 / 3.25, 0.75 / 3.25, 1.0 / 3.25]
    assert found["utilisation"] == pytest.approx(3.25 / 6)
    assert found["balance"] == pytest.approx(-sum(p * math.log(p) for p in shares) / math.log(3))
    assert found["precision"] == pytest.approx((1 + 0.5) / (1 + 0.5 + 0.25))
    soft = torch.nn.functional.one_hot(torch.tensor(target), 3) * 0.6 + 0.1
    assert quality(HiddenLabels(TRUTH, 3), rows, soft, mask) == pytest.approx(found)


def test_a_mask_of_truths() -> None:
    mask = torch.tensor([True, True, False, False])
    found = target_quality(HiddenLabels(TRUTH, 3), torch.arange(4), torch.tensor([0, 0, 2, 0]), mask, 3)
    assert {name: x.item() for name, x in found.items()} == pytest.approx(
        {"utilisation": 0.5, "balance": 0.0, "precision": 0.5}
    )


def test_nothing_counts_or_nothing_is_known() -> None:
    target = torch.tensor([0, 1])
    expected = {"utilisation": 0, "balance": 0, "precision": math.nan}
    assert quality(HiddenLabels(TRUTH, 3), [0, 1], target, [0.0, 0.0]) == pytest.approx(expected, nan_ok=True)
    assert quality(None, [0, 1], target, [1.0, 1.0]).keys() == {"utilisation", "balance"}
    assert math.isnan(quality(HiddenLabels(TRUTH, 3), [6, 7], target, [1.0, 1.0])["precision"])


def test_every_unlabeled_image_is_a_labeled_one() -> None:
    """Then there are no hidden labels to ask."""
    found = quality(HiddenLabels(np.empty(0, dtype=np.int64), 3), [0, 1], torch.tensor([0, 1]), [1.0, 1.0])
    expected = {"utilisation": 1, "balance": math.log(2) / math.log(3), "precision": math.nan}
    assert found == pytest.approx(expected, nan_ok=True)


def test_one_class() -> None:
    found = target_quality(None, torch.tensor([0]), torch.tensor([0]), torch.tensor([True]), 1)
    assert found["balance"].item() == 0 and found["utilisation"].item() == 1
