"""FreeMatch: thresholds, running means and fairness against the paper's equations, written out."""

from __future__ import annotations

import math

import pytest
import torch
from one_step import assert_same, batch, confident, cross_entropies, identity, logits
from torch import Tensor

from strategies.freematch import FreeMatch, fairness


def naive_fairness(marginal: list[float], histogram: list[float], q: Tensor) -> Tensor:
    """Equations 9 to 12 for the strong predictions (n, classes) of the images that count."""
    if not len(q):
        return torch.tensor(0.0)
    classes = q.shape[1]
    mean = [q[:, c].mean() for c in range(classes)]
    counts = [sum(1 for row in q.tolist() if row.index(max(row)) == c) / len(q) for c in range(classes)]
    one = [m / h if h > 0 else 0.0 for m, h in zip(marginal, histogram, strict=True)]
    other = [m / h if h > 0 else torch.tensor(0.0) for m, h in zip(mean, counts, strict=True)]
    total: Tensor = sum(other, torch.tensor(0.0))
    terms = [a / sum(one) * (b / total + 1e-12).log() for a, b in zip(one, other, strict=True)]
    return torch.stack(terms).sum()


def predictions(*classes: int, seed: int = 0) -> Tensor:
    """Probabilities (n, 4) whose greatest are those of the classes, with gradient."""
    x = torch.rand(len(classes), 4, generator=torch.Generator().manual_seed(seed))
    x[range(len(classes)), list(classes)] += 1.0
    return (2 * x).softmax(1).requires_grad_()


def sums(q: Tensor) -> tuple[Tensor, Tensor]:
    return q.sum(0), q.argmax(1).bincount(minlength=4).float()


MARGINAL, HISTOGRAM = [0.4, 0.3, 0.2, 0.1], [0.5, 0.25, 0.25, 0.0]


@pytest.mark.parametrize("classes", [(0, 1, 2, 3), (0, 0, 1, 2, 2, 3, 3), (1, 1, 3), (2, 2), (3,)])
def test_fairness_and_its_gradient(classes: tuple[int, ...]) -> None:
    """Also where some classes are never predicted, or one alone; the fourth class's histogram is empty."""
    q = predictions(*classes)
    found = fairness(torch.tensor(MARGINAL), torch.tensor(HISTOGRAM), *sums(q))
    assert_same(found, naive_fairness(MARGINAL, HISTOGRAM, q), (q,))
    assert found <= 0


def test_fairness_is_that_of_the_benchmark() -> None:
    """USB takes the mean of the predictions and relative counts, and sets what an empty bin makes infinite to 0."""
    q = predictions(0, 0, 1, 3, 3)
    p, h = torch.tensor(MARGINAL), torch.tensor([0.4, 0.3, 0.2, 0.1])
    relative = torch.tensor([0.4, 0.2, 0.0, 0.4])
    scaled = q.mean(0) * torch.nan_to_num(1 / relative, posinf=0.0)
    expected = (p / h / (p / h).sum() * (scaled / scaled.sum() + 1e-12).log()).sum()
    assert_same(fairness(p, h, *sums(q)), expected, (q,))


def test_fairness_without_an_image() -> None:
    nothing = torch.zeros(4, requires_grad=True)
    found = fairness(torch.tensor(MARGINAL), torch.tensor(HISTOGRAM), 0 * nothing, torch.zeros(4))
    assert found.item() == 0 and torch.autograd.grad(found, nothing)[0].tolist() == [0] * 4


def test_loss_gradient_and_running_means_of_three_steps() -> None:
    """The means take in the step's predictions before they make its thresholds, as the paper's algorithm has it."""
    module = identity(strategy := FreeMatch(decay=0.6, weight=0.5, fairness=0.3))
    tau, p, h, counted = 1 / 3, [1 / 3] * 3, [1 / 3] * 3, 0
    for step in range(3):
        inputs = logits(4, 30, 30, seed=step)
        labeled, weak, strong = inputs
        target = torch.tensor([0, 1, 2, 0])
        loss, metrics, outputs = strategy.loss(module, batch(labeled, target, step, weak=weak, strong=strong))
        predicted = confident(weak)
        tau = 0.6 * tau + 0.4 * sum(c for c, _ in predicted) / 30
        for k in range(3):
            p[k] = 0.6 * p[k] + 0.4 * weak.softmax(1)[:, k].mean().item()
            h[k] = 0.6 * h[k] + 0.4 * sum(1 for _, c in predicted if c == k) / 30
        thresholds = [tau * x / max(p) for x in p]
        counts = torch.tensor([c >= thresholds[k] for c, k in predicted])
        each = torch.stack(cross_entropies(strong, torch.tensor([k for _, k in predicted])))
        fair = naive_fairness(p, h, strong.softmax(1)[counts])
        supervised, unsupervised = torch.stack(cross_entropies(labeled, target)).mean(), each[counts].sum() / 30
        assert_same(loss, supervised + 0.5 * unsupervised + 0.3 * fair, inputs)
        assert metrics["loss_fairness"].item() == pytest.approx(fair.item(), rel=1e-4)
        assert metrics["threshold"].item() == pytest.approx(sum(thresholds) / 3)
        assert torch.equal(outputs["mask"], counts)
        assert strategy.confidence_.item() == pytest.approx(tau)
        assert strategy.marginal_.tolist() == pytest.approx(p) and strategy.histogram_.tolist() == pytest.approx(h)
        counted += int(counts.sum())
    assert 20 < counted < 80


@pytest.mark.parametrize("scale", [0.1, 200.0])
def test_a_batch_of_one_that_counts_or_does_not(scale: float) -> None:
    """With a mean that was certain before, an uncertain image does not count, and nothing is left of the term."""
    module = identity(strategy := FreeMatch(decay=0.9, fairness=1.0))
    strategy.confidence_ = torch.tensor(1.0)
    inputs = logits(1, 1, 1, scale=scale)
    labeled, weak, strong = inputs
    loss, metrics, outputs = strategy.loss(module, batch(labeled, torch.tensor([1]), weak=weak, strong=strong))
    gradients = torch.autograd.grad(loss, inputs, allow_unused=True)
    assert math.isfinite(loss.item()) and all(x is None or bool(x.isfinite().all()) for x in gradients)
    assert outputs["mask"].tolist() == [scale > 1]
    if scale < 1:
        assert loss.item() == metrics["loss_labeled"].item() and not gradients[2].any()
