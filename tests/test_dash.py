"""Dash: its threshold against the paper's formula, and seven steps, warm-up among them, image by image."""

from __future__ import annotations

import math

import pytest
import torch
from one_step import assert_same, batch, confident, cross_entropies, identity, logits
from torch import Tensor

from strategies.dash import Dash, threshold


def test_the_threshold_falls_by_gamma_down_to_its_least() -> None:
    found = [threshold(torch.tensor(0.5), t, 1.27, 0.05).item() for t in range(1, 13)]
    assert found == pytest.approx([max(0.05, 1.0001 * 1.27 ** -(t - 1) * 0.5) for t in range(1, 13)])
    assert found[0] == pytest.approx(0.50005) and found[9] > 0.05 and found[10:] == pytest.approx([0.05] * 2)


def soft(weak: Tensor, temperature: float) -> Tensor:
    powers = weak.detach().softmax(0) ** (1 / temperature)
    return powers / powers.sum()


def test_loss_gradient_and_threshold_of_a_training() -> None:
    """Of 20 steps 3 are warm-up, the last 2 of them a pass over 12 labels in batches of 6; a drop every 4 steps."""
    strategy = Dash(warmup=0.15, interval=0.2, gamma=3.0, rho_min=0.1, temperature=0.6, weight=0.5)
    module = identity(strategy)
    module.datamodule.batch_size = 6
    warm: list[float] = []
    counted, hard_steps = 0, 0
    for step in range(20):
        inputs = logits(6, 10, 10, seed=step)
        labeled, weak, strong = inputs
        target = torch.arange(6) % 3
        loss, metrics, outputs = strategy.loss(module, batch(labeled, target, step, weak=weak, strong=strong))
        supervised = torch.stack(cross_entropies(labeled, target)).mean()
        if step < 3:
            warm.append(supervised.item())
            assert_same(loss, supervised, inputs)
            assert not outputs["mask"].any()
            continue
        rho_hat = (warm[1] + warm[2]) / 2
        rho = max(0.1, 1.0001 * 3.0 ** -((step - 3) // 4) * rho_hat)
        terms = []
        for k, (confidence, predicted) in enumerate(confident(weak)):
            if -math.log(confidence) <= rho:
                q = soft(weak[k], 0.6) if rho > 0.1 else torch.eye(3)[predicted]
                terms.append(-(q * strong[k].log_softmax(0)).sum())
        assert_same(loss, supervised + 0.5 * sum(terms, torch.tensor(0.0)) / 10, inputs)
        assert metrics["threshold"].item() == pytest.approx(rho)
        assert int(outputs["mask"].sum()) == len(terms)
        counted, hard_steps = counted + len(terms), hard_steps + (rho == 0.1)
    assert 0 < counted < 170 and 0 < hard_steps < 17


def test_a_warm_up_that_is_shorter_than_a_pass_and_than_a_step() -> None:
    module = identity(strategy := Dash(warmup=0.0))
    module.datamodule.batch_size = 2  # a pass has six steps
    inputs = logits(2, 3, 3)
    target = torch.tensor([0, 2])
    strategy.loss(module, batch(inputs[0], target, 0, weak=inputs[1], strong=inputs[2]))
    expected = torch.stack(cross_entropies(inputs[0], target)).mean()
    torch.testing.assert_close(strategy.rho_hat_, expected.detach())
    _, metrics, _ = strategy.loss(module, batch(inputs[0], target, 1, weak=inputs[1], strong=inputs[2]))
    assert metrics["threshold"].item() == pytest.approx(1.0001 * expected.item())
