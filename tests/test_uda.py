"""UDA: its divergence from sharpened targets and its training signal annealing, image by image."""

from __future__ import annotations

import math

import pytest
import torch
from one_step import assert_same, batch, confident, cross_entropies, identity, logits

from strategies.uda import UDA, Annealing, annealed, annealed_cross_entropy


@pytest.mark.parametrize("classes", [1, 2, 10])
def test_the_schedules_of_annealing(classes: int) -> None:
    low, high = 1 / classes, 1 - 1 / classes
    for t in (0.0, 0.3, 1.0):
        assert annealed("none", t, classes) == pytest.approx(1)
        assert annealed("linear", t, classes) == pytest.approx(low + t * high)
        assert annealed("log", t, classes) == pytest.approx(low + (1 - math.exp(-t * 5)) * high)
        assert annealed("exp", t, classes) == pytest.approx(low + math.exp((t - 1) * 5) * high)


@pytest.mark.parametrize("threshold", [1 / 3, 0.6, 1.0])
def test_images_that_are_known_are_left_out(threshold: float) -> None:
    """And an image counts whose class has exactly the threshold: at first one of which nothing is known."""
    (x,) = logits(12)
    rows = torch.cat([x, torch.zeros(1, 3)])
    target = torch.arange(13) % 3
    each, counts = annealed_cross_entropy(rows, target, threshold)
    naive = cross_entropies(rows, target)
    kept = [math.exp(-e.item()) <= threshold or (k == 12 and threshold == 1 / 3) for k, e in enumerate(naive)]
    assert counts.tolist() == kept and counts[12] and (threshold == 1) == all(kept)
    expected = torch.stack([e if c else torch.tensor(0.0) for e, c in zip(naive, kept, strict=True)])
    torch.testing.assert_close(each, expected)
    soft, sure = annealed_cross_entropy(rows, torch.eye(3)[target], threshold)  # the same classes as probabilities
    torch.testing.assert_close(soft, expected)
    assert torch.equal(sure, counts)


@pytest.mark.parametrize("annealing", ["none", "linear", "log", "exp"])
def test_loss_and_gradient_of_a_step(annealing: Annealing) -> None:
    """Step 4 of 20: the supervised mean is over the labeled images that count, the other over all unlabeled ones."""
    module = identity(strategy := UDA(threshold=0.7, temperature=0.4, weight=0.5, annealing=annealing))
    inputs = logits(9, 20, 20)
    labeled, weak, strong = inputs
    target = torch.arange(9) % 3
    loss, _, outputs = strategy.loss(module, batch(labeled, target, 4, weak=weak, strong=strong))
    limit = annealed(annealing, 4 / 20, 3)
    known = [e for e in cross_entropies(labeled, target) if math.exp(-e.item()) <= limit]
    assert 0 < len(known) < 9 or annealing == "none"
    divergence, mask = torch.tensor(0.0), [p >= 0.7 for p, _ in confident(weak)]
    for w, s, counts in zip(weak.detach(), strong, mask, strict=True):
        powered = w.softmax(0) ** (1 / 0.4)  # sharpened
        q = powered / powered.sum()
        term = sum((q[k] * (q[k].log() - s.log_softmax(0)[k]) for k in range(3)), torch.tensor(0.0))
        divergence = divergence + term if counts else divergence
    assert_same(loss, torch.stack(known).mean() + 0.5 * divergence / 20, inputs)
    assert outputs["mask"].tolist() == mask and 0 < sum(mask) < 20  # by the confidence before the sharpening


def test_the_gradient_is_that_of_the_cross_entropy_of_the_benchmark() -> None:
    """The paper's equation 1 and USB have the cross-entropy, which differs by the targets' entropy alone."""
    module = identity(strategy := UDA(threshold=0.6))
    labeled, weak, strong = logits(3, 10, 10)
    loss, *_ = strategy.loss(module, batch(labeled, torch.arange(3), weak=weak, strong=strong))
    mask, q = weak.softmax(1).max(1).values >= 0.6, (weak.detach() / 0.4).softmax(1)
    expected = (-(q * strong.log_softmax(1)).sum(1) * mask).mean()
    found, wanted = (torch.autograd.grad(x, strong)[0] for x in (loss, expected))
    torch.testing.assert_close(found, wanted)


def test_nothing_counts() -> None:
    """All labeled images are known, and no unlabeled one is confident: a loss of 0, and gradients that are numbers."""
    module = identity(strategy := UDA(threshold=1.0, annealing="exp"))
    labeled = (20 * torch.eye(3)).requires_grad_()
    _, weak, strong = logits(1, 1, 1)
    loss, *_ = strategy.loss(module, batch(labeled, torch.arange(3), weak=weak, strong=strong))
    gradients = torch.autograd.grad(loss, (labeled, strong))
    assert loss.item() == 0 and not any(x.any() for x in gradients)
