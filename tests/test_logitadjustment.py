"""Logit adjustment: the offset and the loss against the paper's equation, with owners of the loss and without."""

from __future__ import annotations

import math

import pytest
import torch
from helpers import Blobs, classifier, same, trainer, weights
from one_step import assert_same, batch, identity, logits
from torch import Tensor

from semisup.classifier import Classifier, ModelOptions
from semisup.composition import Composition
from semisup.errors import InputError
from strategies.fixmatch import FixMatch
from strategies.logitadjustment import LogitAdjustment, offset


def naive(x: Tensor, target: Tensor, prior: list[float], tau: float) -> Tensor:
    """Equation 10: -log of pi_y^tau exp f_y over the sum of the same of every class."""
    terms = []
    for row, y in zip(x, target.tolist(), strict=True):
        powers = torch.stack([p**tau * f.exp() for p, f in zip(prior, row, strict=True)])
        terms.append(-(powers[y] / powers.sum()).log())
    return torch.stack(terms).mean()


@pytest.mark.parametrize("tau", [0.0, 1.0, 2.5])
def test_the_loss_of_labeled_images_and_its_gradient(tau: float) -> None:
    labels = torch.repeat_interleave(torch.arange(3), torch.tensor([6, 3, 1]))
    module = identity(FixMatch(threshold=1.0))
    module.labeled_offset = offset(labels, 3, tau)
    inputs = logits(5, 4, 4)
    target = torch.tensor([0, 1, 2, 0, 1])
    loss, *_ = module.strategy.loss(module, batch(inputs[0], target, weak=inputs[1], strong=inputs[2]))
    assert_same(loss, naive(inputs[0], target, [0.6, 0.3, 0.1], tau), inputs)


def test_a_class_without_labels_has_a_finite_offset() -> None:
    assert offset(torch.tensor([0, 0, 0]), 2, 1.0).tolist() == pytest.approx([math.log(3 / 4), math.log(1 / 4)])


def test_it_acts_in_a_training_and_not_in_evaluation() -> None:
    data = Blobs(imbalance=4)
    parts = {"fixmatch": FixMatch(ratio=2), "logitadjustment": LogitAdjustment(1.5)}
    module = Classifier(data.spec, Composition(parts))
    trainer(1).fit(module, data)
    assert module.labeled_offset is not None
    assert module.labeled_offset.tolist() == pytest.approx([1.5 * math.log(n / 7) for n in (4, 2, 1)])
    assert not any("labeled_offset" in name for name in module.state_dict())
    images = torch.rand(3, 1, 8, 8)
    before = module.evaluate(images)
    module.labeled_offset = None
    assert torch.equal(module.evaluate(images), before)


def test_without_a_strength_nothing_changes() -> None:
    found = []
    for parts in ({}, {"logitadjustment": LogitAdjustment(0.0)}):
        data = Blobs(imbalance=4)
        module = Classifier(data.spec, Composition(parts))  # type: ignore[arg-type]
        trainer(1).fit(module, data)
        found.append(weights(module.network))
    assert same(*found)


def test_another_loss_than_cross_entropy_is_refused() -> None:
    data = Blobs()
    module = classifier(data, LogitAdjustment(), model=ModelOptions(loss="mse"))
    with pytest.raises(InputError, match=r"is of cross-entropy, and model.loss is mse; type --model.loss nll"):
        trainer(1).fit(module, data)
