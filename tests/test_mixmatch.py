"""MixMatch: guesses, mixing and loss of a step against the paper's equations, image by image."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from one_step import Identity, assert_same, batch, identity, logits
from torch import Tensor

from semisup.batch import Batch
from semisup.classifier import ModelOptions
from strategies.mixmatch import MixMatch


def naive(module: Identity, strategy: MixMatch, given: Batch, temperature: float) -> tuple[Tensor, Tensor, Tensor]:
    """Equations 6 to 15 and 3 to 4: the mixed logits of labeled images, their targets, and the squared error."""
    assert given.unlabeled is not None
    one, two = given.unlabeled.views["weak"], given.unlabeled.views["weak_2"]
    guesses = []
    for a, b in zip(one.detach().softmax(1), two.detach().softmax(1), strict=True):
        powers = ((a + b) / 2) ** (1 / temperature)
        guesses.append(powers / powers.sum())
    known = F.one_hot(given.labeled.target, 3).float()
    x = [*given.labeled.views["weak"], *one, *two]
    y = [*known, *guesses, *guesses]
    count = len(given.labeled)
    streams = [(0, given.labeled), (count, given.unlabeled), (count + len(one), given.unlabeled)]
    mixed = []
    for first, samples in streams:
        draw = module.draw(samples, given, "mixmatch").among(first, len(x))
        partners, shares = draw.permutation("partners").tolist(), draw.beta("share", strategy.alpha).tolist()
        for row, share in enumerate(shares):
            k, most = first + row, max(share, 1 - share)
            partner = partners[k]
            other = x[partner].detach()  # an image has no gradient; here it would be the logits' own
            mixed.append((most * x[k] + (1 - most) * other, most * y[k] + (1 - most) * y[partner]))
    errors = [(s.softmax(0) - q).square().sum() / 3 for s, q in mixed[count:]]
    labeled = mixed[:count]
    return torch.stack([s for s, _ in labeled]), torch.stack([q for _, q in labeled]), torch.stack(errors).mean()


@pytest.mark.parametrize(("step", "share"), [(0, 0.0), (3, 0.375), (8, 1.0), (19, 1.0)])
def test_loss_and_gradient_of_a_step(step: int, share: float) -> None:
    """The weight rises linearly over the first 8 of 20 steps."""
    module = identity(strategy := MixMatch(weight=10.0, ramp=0.4))
    inputs = logits(4, 4, 4, seed=step)
    labeled, one, two = inputs
    given = batch(labeled, torch.tensor([0, 1, 2, 0]), step, weak=one, weak_2=two)
    loss, _, outputs = strategy.loss(module, given)
    x, q, error = naive(module, strategy, given, 0.5)
    assert_same(loss, -(q * x.log_softmax(1)).sum(1).mean() + 10 * share * error, inputs)
    assert outputs["mask"].tolist() == [1] * 4 and not outputs["target"].requires_grad


@pytest.mark.parametrize("temperature", [1.0, 0.1])
def test_a_batch_of_one(temperature: float) -> None:
    module = identity(strategy := MixMatch(temperature=temperature, ramp=0.0))
    inputs = logits(1, 1, 1)
    given = batch(inputs[0], torch.tensor([2]), 0, weak=inputs[1], weak_2=inputs[2])
    x, q, error = naive(module, strategy, given, temperature)
    assert_same(strategy.loss(module, given)[0], -(q * x.log_softmax(1)).sum(1).mean() + 100 * error, inputs)


def test_without_mixing_it_is_cross_entropy_and_squared_error_of_the_guess() -> None:
    module = identity(strategy := MixMatch(alpha=0.0, ramp=0.0, weight=1.0, temperature=1.0))
    labeled, one, two = logits(4, 3, 3)
    target = torch.tensor([0, 1, 2, 0])
    loss, *_ = strategy.loss(module, batch(labeled, target, 0, weak=one, weak_2=two))
    guess = (one.softmax(1) + two.softmax(1)).detach() / 2
    error = F.mse_loss(torch.cat([one, two]).softmax(1), torch.cat([guess, guess]))
    assert_same(loss, F.cross_entropy(labeled, target) + error, (labeled, one, two))


def test_the_loss_of_mixed_labeled_images_is_the_one_asked_for() -> None:
    module = identity(strategy := MixMatch(ramp=1.0), model=ModelOptions(loss="mse"))
    inputs = logits(4, 4, 4)
    given = batch(inputs[0], torch.tensor([0, 1, 2, 0]), 0, weak=inputs[1], weak_2=inputs[2])
    x, q, _ = naive(module, strategy, given, 0.5)
    assert_same(strategy.loss(module, given)[0], (x - q).square().sum(1).mean(), inputs)
