"""FlexMatch: its thresholds and the status they come from against the paper's algorithm, image by image."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from one_step import assert_same, batch, confident, cross_entropies, identity, logits

from semisup.targets import flexible_thresholds, updated
from strategies.flexmatch import FlexMatch


def naive_thresholds(status: list[int], classes: int, tau: float) -> list[float]:
    """Algorithm 1 of the paper, lines 4 to 11."""
    sigma = [sum(1 for s in status if s == c) for c in range(classes)]
    unused = sum(1 for s in status if s == -1)
    most = unused if max(sigma) < unused else max(sigma)
    betas = [s / most for s in sigma]
    return [beta / (2 - beta) * tau for beta in betas]


@pytest.mark.parametrize(
    "status",
    [
        [-1] * 7,  # nothing learned yet: every threshold is 0
        [-1, -1, -1, -1, 0, 0, 2],  # warm-up: more unused than of the best class
        [-1, -1, 1, 1, 0, 1, 2],
        [-1, -1, 1, 1, 0, 0, 2],  # as many unused as of the best
        [0, 1, 2, 3, 3, 3, 3],
        [2] * 7,  # one class has them all
        [0],
    ],
)
def test_thresholds_are_those_of_algorithm_1(status: list[int]) -> None:
    found = flexible_thresholds(torch.tensor(status), 4, 0.95)
    assert found.tolist() == pytest.approx(naive_thresholds(status, 4, 0.95))


def test_thresholds_are_those_of_the_benchmarks() -> None:
    """TorchSSL and USB divide a counter of classes and of -1 by its greatest count."""
    generator = torch.Generator().manual_seed(0)
    for used in (5, 30, 60):
        status = torch.full((60,), -1)
        status[torch.randperm(60, generator=generator)[:used]] = torch.randint(0, 3, (used,), generator=generator) ** 2
        counter = Counter(status.tolist())
        accuracy = torch.tensor([counter[k] / max(counter.values()) for k in range(5)])
        torch.testing.assert_close(flexible_thresholds(status, 5, 0.9), 0.9 * (accuracy / (2.0 - accuracy)))


def test_one_class() -> None:
    assert flexible_thresholds(torch.tensor([0, -1, 0]), 1, 0.8).tolist() == pytest.approx([0.8])
    assert flexible_thresholds(torch.tensor([0, -1, -1]), 1, 0.8).tolist() == pytest.approx([0.8 * 0.5 / 1.5])


def test_the_status_is_that_of_a_loop_whatever_the_order() -> None:
    """A batch may hold an image twice; then the greatest of its confident classes counts."""
    generator = torch.Generator().manual_seed(0)
    status = torch.randint(-1, 4, (9,), generator=generator)
    rows, predicted = (torch.randint(0, high, (12,), generator=generator) for high in (9, 4))
    assert len(rows.unique()) < 12
    certain = torch.rand(12, generator=generator) < 0.5
    expected = status.tolist()
    for row in range(9):
        seen = [int(predicted[i]) for i in range(12) if rows[i] == row and certain[i]]
        expected[row] = max(seen, default=expected[row])
    order = torch.randperm(12, generator=generator)
    assert updated(status, rows, predicted, certain).tolist() == expected
    assert updated(status, rows[order], predicted[order], certain[order]).tolist() == expected
    nothing = torch.zeros(12, dtype=torch.bool)
    assert torch.equal(updated(status, rows, predicted, nothing), status)  # what is not confident changes nothing


def test_loss_gradient_and_status_of_three_steps() -> None:
    """Thresholds are of the status before the step; the status follows the fixed threshold, not the flexible ones."""
    module = identity(strategy := FlexMatch(threshold=0.9, weight=0.5))
    status, counted = [-1] * 102, []  # 90 images, and the 12 labeled ones
    assert strategy.status_.tolist() == status
    for step in range(3):
        inputs = logits(4, 60, 60, seed=step, scale=8)
        labeled, weak, strong = inputs
        target, rows = torch.tensor([0, 1, 2, 0]), (torch.arange(60) + 42 * step) % 102
        loss, metrics, outputs = strategy.loss(module, batch(labeled, target, step, rows, weak=weak, strong=strong))
        thresholds, terms = naive_thresholds(status, 3, 0.9), torch.tensor(0.0)
        predicted = confident(weak)
        counts = [p >= thresholds[k] for p, k in predicted]
        each = cross_entropies(strong, torch.tensor([k for _, k in predicted]))
        for row, (p, k), counts_it, term in zip(rows.tolist(), predicted, counts, each, strict=True):
            terms = terms + term if counts_it else terms
            status[row] = k if p >= 0.9 else status[row]
        assert_same(loss, torch.stack(cross_entropies(labeled, target)).mean() + 0.5 * terms / 60, inputs)
        assert metrics["threshold"].item() == pytest.approx(sum(thresholds) / 3)
        assert outputs["mask"].tolist() == counts and outputs["target"].tolist() == [k for _, k in predicted]
        assert strategy.status_.tolist() == status
        counted.append(sum(counts))
    assert counted[0] == 60 and 0 < counted[2] < 60  # all of them while nothing is learned


def test_nothing_counts_and_a_batch_of_one() -> None:
    module = identity(strategy := FlexMatch(threshold=0.9))
    strategy.status_ = torch.arange(102) % 3  # every class is learned equally: the threshold is the fixed one
    labeled, weak, strong = logits(1, 1, 1, scale=0.1)
    loss, *_ = strategy.loss(module, batch(labeled, torch.tensor([1]), weak=weak, strong=strong))
    assert_same(loss, cross_entropies(labeled, torch.tensor([1]))[0], (labeled, weak, strong))
    assert strategy.status_.tolist() == (torch.arange(102) % 3).tolist()


def test_the_status_follows_its_images_to_other_data() -> None:
    """Images came, went and changed places; a new one is unused, and one that is not served any more is forgotten."""
    module = identity(strategy := FlexMatch())
    strategy.status_ = torch.tensor([2, 0, -1, 1, 1])  # of a pool of five, and two labeled images that it had not
    strategy.remap(module, torch.tensor([101, -1, 3, 0, 102, 103, 1]))
    expected = torch.full((102,), -1)
    expected[[101, 3, 0]] = torch.tensor([2, -1, 1])
    assert torch.equal(strategy.status_, expected)
