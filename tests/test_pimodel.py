"""Pi model: the loss of a step and its gradient, image by image."""

from __future__ import annotations

import math

import pytest
import torch
from one_step import assert_same, batch, cross_entropies, identity, logits
from torch import Tensor

from strategies.pimodel import PiModel, disagreement


def naive_disagreement(one: Tensor, other: Tensor) -> Tensor:
    """Algorithm 1: the squared distances, summed, over images times classes."""
    total = torch.tensor(0.0)
    for a, b in zip(one, other, strict=True):
        for k in range(one.shape[1]):
            total = total + (a.exp()[k] / a.exp().sum() - b.exp()[k] / b.exp().sum()) ** 2
    return total / one.numel()


@pytest.mark.parametrize("size", [1, 7])
def test_disagreement_has_gradient_through_both_passes(size: int) -> None:
    one, other = logits(size, size)
    assert_same(disagreement(one, other), naive_disagreement(one, other), (one, other))
    assert all(bool(x.any()) for x in torch.autograd.grad(disagreement(one, other), (one, other)))
    assert disagreement(one, one).item() == 0
    assert disagreement(one.bfloat16(), other.bfloat16()).dtype == torch.float32


@pytest.mark.parametrize(("step", "t"), [(0, 0.0), (2, 0.25), (7, 0.875), (8, 1.0), (19, 1.0)])
def test_loss_and_gradient_of_a_step(step: int, t: float) -> None:
    """The weight rises as exp(-5 (1 - t)^2) over the first 8 of 20 steps."""
    module = identity(strategy := PiModel(weight=3.0, ramp=0.4))
    inputs = logits(4, 6, 6, seed=step)
    labeled, one, other = inputs
    target = torch.tensor([0, 1, 2, 0])
    loss, *_ = strategy.loss(module, batch(labeled, target, step, weak=one, weak_2=other))
    supervised = torch.stack(cross_entropies(labeled, target)).mean()
    assert_same(loss, supervised + 3 * math.exp(-5 * (1 - t) ** 2) * naive_disagreement(one, other), inputs)
