"""SequenceMatch: its divergences and five steps against the author's formulas, image by image."""

from __future__ import annotations

import pytest
import torch
from one_step import assert_same, batch, confident, cross_entropies, identity, logits
from torch import Tensor

from strategies.sequencematch import SequenceMatch, confident_divergence


def naive_divergence(x: Tensor, target: Tensor, threshold: float, temperature: float) -> Tensor:
    total = 0 * x.sum()
    for row, other, (confidence, _) in zip(x, target.detach(), confident(target), strict=True):
        if confidence >= threshold:
            q = other.softmax(0) ** (1 / temperature)
            q = q / q.sum()
            total = total + (q * (q.log() - row.log_softmax(0))).sum()
    return total / len(x)


@pytest.mark.parametrize(("threshold", "temperature"), [(0.0, 1.0), (0.7, 0.5), (1.0, 0.5)])
def test_the_divergence_and_its_gradient(threshold: float, temperature: float) -> None:
    x, target = logits(12, 12)
    found = confident_divergence(x, target, threshold, temperature)
    assert_same(found, naive_divergence(x, target, threshold, temperature), (x, target))
    assert bool(found > 0) == (threshold < 1)


def test_loss_gradient_and_status_of_five_steps() -> None:
    module = identity(strategy := SequenceMatch(threshold=0.6, temperature=0.6, weight=0.5))
    status = [-1] * 102
    counted = 0
    for step in range(5):
        inputs = logits(4, 60, 60, 60, seed=step, scale=1.5)
        labeled, weak, medium, strong = inputs
        rows, target = (torch.arange(60) + 30 * step) % 102, torch.tensor([0, 1, 2, 0])
        given = batch(labeled, target, step, rows, weak=weak, medium=medium, strong=strong)
        loss, metrics, outputs = strategy.loss(module, given)
        counts = [status.count(k) for k in (-1, 0, 1, 2)]
        learned = [n / max(counts) for n in counts[1:]]
        thresholds = [0.6 * x / (2 - x) for x in learned]
        mask = [confidence >= thresholds[k] for confidence, k in confident(weak)]
        each = cross_entropies(strong, torch.tensor([k for _, k in confident(weak)]))
        hard = sum((x for x, counts in zip(each, mask, strict=True) if counts), torch.tensor(0.0)) / 60
        pairs = {"medium_weak": (medium, weak), "strong_medium": (strong, medium), "strong_weak": (strong, weak)}
        apart = {name: naive_divergence(*pair, 0.6, 0.6) for name, pair in pairs.items()}
        supervised = torch.stack(cross_entropies(labeled, target)).mean()
        assert_same(loss, supervised + 0.5 * (hard + sum(apart.values(), torch.tensor(0.0))), inputs)
        for name, x in apart.items():
            torch.testing.assert_close(metrics[f"loss_{name}"], x)
        assert outputs["mask"].tolist() == mask
        for row, (confidence, k) in zip(rows.tolist(), confident(weak), strict=True):
            status[row] = k if confidence >= 0.6 else status[row]
        assert strategy.status_.tolist() == status
        counted += sum(mask)
    assert 0 < counted < 300


def test_the_status_follows_its_images_to_other_data() -> None:
    module = identity(strategy := SequenceMatch())
    strategy.status_ = torch.tensor([2, 0, 1])
    strategy.remap(module, torch.tensor([101, -1, 3]))
    expected = torch.full((102,), -1)
    expected[[101, 3]] = torch.tensor([2, 1])
    assert torch.equal(strategy.status_, expected)
