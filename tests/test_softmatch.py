"""SoftMatch: its weights and running moments against the paper's equations, image by image."""

from __future__ import annotations

import math

import pytest
import torch
from one_step import assert_same, batch, confident, cross_entropies, identity, logits

from strategies.softmatch import SoftMatch, truncated_gaussian


def naive_weight(confidence: float, mean: float, variance: float, n_sigma: float = 1.0) -> float:
    """Equation 6, with the Gaussian n_sigma times narrower."""
    sigma = math.sqrt(variance) / n_sigma
    return 1.0 if confidence >= mean else math.exp(-((confidence - mean) ** 2) / (2 * sigma**2))


@pytest.mark.parametrize("n_sigma", [1.0, 2.0, 3.0])
def test_the_weight_of_a_confidence(n_sigma: float) -> None:
    confidence = torch.linspace(0.3, 1, 15)
    found = truncated_gaussian(confidence, torch.tensor(0.8), torch.tensor(0.02), n_sigma)
    assert found.tolist() == pytest.approx([naive_weight(c, 0.8, 0.02, n_sigma) for c in confidence.tolist()], rel=1e-4)


def test_the_weights_are_those_of_the_benchmark() -> None:
    """USB clips the distance from the mean and divides by 2 variance / n_sigma^2."""
    confidence = torch.rand(50, generator=torch.Generator().manual_seed(0))
    mean, variance = torch.tensor(0.6), torch.tensor(0.05)
    distance = torch.clamp(confidence - mean, max=0.0)
    expected = torch.exp(-(distance**2 / (2 * variance / 2**2)))
    torch.testing.assert_close(truncated_gaussian(confidence, mean, variance, 2.0), expected)


def test_confidences_that_do_not_vary() -> None:
    """All images, or the only class, with a confidence of 1: they count, however small the variance has become."""
    for variance in (0.0, 1e-45, 1e-30):
        found = truncated_gaussian(torch.tensor([1.0, 1.0, 0.5]), torch.tensor(1.0), torch.tensor(variance), 2.0)
        assert found.tolist() == [1, 1, 0]


@pytest.mark.parametrize("aligned", [True, False])
def test_loss_gradient_and_running_moments_of_three_steps(aligned: bool) -> None:
    """Alignment decides the weights alone, and the moments are of what is aligned; the targets are as predicted."""
    module = identity(strategy := SoftMatch(decay=0.6, weight=0.5, uniform_alignment=aligned))
    mu, variance, marginal, changed = 1 / 3, 1.0, [1 / 3] * 3, 0
    assert strategy.mean_.item() == pytest.approx(mu) and strategy.variance_.item() == variance
    for step in range(3):
        inputs = logits(4, 20, 20, seed=step)
        labeled, weak, strong = inputs
        target = torch.tensor([0, 1, 2, 0])
        loss, metrics, outputs = strategy.loss(module, batch(labeled, target, step, weak=weak, strong=strong))
        rows = weak.softmax(1).tolist()
        marginal = [0.6 * m + 0.4 * sum(row[k] for row in rows) / 20 for k, m in enumerate(marginal)]
        if aligned:  # equation 10
            scaled = [[p / 3 / m for p, m in zip(row, marginal, strict=True)] for row in rows]
            rows_now = [[p / sum(row) for p in row] for row in scaled]
            changed += sum(a.index(max(a)) != b.index(max(b)) for a, b in zip(rows, rows_now, strict=True))
            rows = rows_now
        confidence = [max(row) for row in rows]
        batch_mean = sum(confidence) / 20  # equations 7 and 8
        batch_variance = sum((c - batch_mean) ** 2 for c in confidence) / 20
        mu, variance = 0.6 * mu + 0.4 * batch_mean, 0.6 * variance + 0.4 * 20 / 19 * batch_variance
        weights = torch.tensor([naive_weight(c, mu, variance, 2.0) for c in confidence])
        predicted = torch.tensor([k for _, k in confident(weak)])
        each = torch.stack(cross_entropies(strong, predicted))
        expected = torch.stack(cross_entropies(labeled, target)).mean() + 0.5 * (weights * each).sum() / 20
        assert_same(loss, expected, inputs)
        torch.testing.assert_close(outputs["mask"], weights, rtol=1e-4, atol=1e-6)
        assert torch.equal(outputs["target"], predicted)
        assert metrics["threshold"].item() == strategy.mean_.item() == pytest.approx(mu, rel=1e-5)
        assert strategy.variance_.item() == pytest.approx(variance, rel=1e-4)
        assert strategy.marginal_.tolist() == pytest.approx(marginal, rel=1e-5)
    assert (changed > 0) == aligned  # some image's most probable class is another one after the alignment


@pytest.mark.parametrize("decay", [0.0, 0.9])
def test_a_batch_of_one_has_no_variance(decay: float) -> None:
    module = identity(strategy := SoftMatch(decay=decay))
    inputs = logits(1, 1, 1)
    labeled, weak, strong = inputs
    loss, _, outputs = strategy.loss(module, batch(labeled, torch.tensor([1]), weak=weak, strong=strong))
    assert strategy.variance_.item() == pytest.approx(decay)
    assert outputs["mask"].tolist() == [1]  # its confidence is the mean, or over it
    predicted = weak.argmax(1)
    assert_same(loss, cross_entropies(labeled, torch.tensor([1]))[0] + cross_entropies(strong, predicted)[0], inputs)
