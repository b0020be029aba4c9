"""ABC: its term against the authors' formulas, image by image, and its head in evaluation and in a restored model."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from helpers import Blobs, classifier, trainer
from one_step import assert_same, batch, confident, cross_entropies, logits

from semisup.classifier import Classifier
from semisup.composition import Composition
from semisup.errors import InputError
from strategies.abc import AuxiliaryBalancedClassifier, rarity
from strategies.fixmatch import FixMatch


def test_the_rarest_class_is_kept_whole() -> None:
    labels = torch.repeat_interleave(torch.arange(3), torch.tensor([40, 10, 4]))
    assert rarity(labels, 3).tolist() == pytest.approx([0.1, 0.4, 1.0])


def test_a_class_without_a_label_makes_no_other_one_rarer() -> None:
    labels = torch.repeat_interleave(torch.arange(4), torch.tensor([40, 10, 0, 4]))
    assert rarity(labels, 5).tolist() == pytest.approx([0.1, 0.4, 1.0, 1.0, 1.0])
    assert rarity(torch.tensor([1, 1]), 3).tolist() == [1, 1, 1]


@pytest.mark.parametrize("step", [0, 9, 19])
def test_the_term_and_its_gradient(step: int) -> None:
    """With an identity as balanced head; of 20 steps. Soft targets, each image with its own chance."""
    data = Blobs()
    term = AuxiliaryBalancedClassifier(threshold=0.6, weight=0.5)
    module = Classifier(data.spec, Composition({"fixmatch": FixMatch(), "abc": term}))
    module.trainer = trainer(5)
    module.trainer.datamodule = data  # type: ignore[attr-defined]
    module.network.extra["balanced_head"] = torch.nn.Identity()
    term.rarity_ = torch.tensor([0.2, 0.5, 1.0])
    inputs = logits(30, 40, 40, seed=step)
    labeled, weak, strong = inputs
    given = batch(labeled, torch.arange(30) % 3, step, weak=weak, strong=strong)
    assert given.unlabeled is not None
    loss, metrics = term.term(module, given, dict(zip(term.reads, inputs, strict=True)))[:2]

    chance = module.draw(given.labeled, given, "abc").uniform("labeled")[:, 0].tolist()
    drawn = [c < float(term.rarity_[k]) for c, k in zip(chance, given.labeled.target.tolist(), strict=True)]
    each = cross_entropies(labeled, given.labeled.target)
    expected = sum((x for x, counts in zip(each, drawn, strict=True) if counts), torch.tensor(0.0)) / 30
    chance, counted = module.draw(given.unlabeled, given, "abc").uniform("unlabeled")[:, 0].tolist(), 0
    for c, (confidence, k), q, x in zip(chance, confident(weak), weak.detach().softmax(1), strong, strict=True):
        if confidence >= 0.6 and c < 1 - step / 20 * (1 - float(term.rarity_[k])):
            expected, counted = expected - (q * x.log_softmax(0)).sum() / 40, counted + 1
    assert_same(loss, 0.5 * expected, inputs)
    assert 0 < sum(drawn) < 30 and 0 < counted < 40
    assert metrics["utilisation"].item() == pytest.approx(counted / 40)


@pytest.mark.parametrize("ema_decay", [0.0, 0.9])
def test_its_head_evaluates_also_in_a_restored_model(ema_decay: float, tmp_path: Path) -> None:
    data = Blobs(imbalance=4, augmentation="weak")
    strategies = {"fixmatch": FixMatch(ratio=2, ema_decay=ema_decay), "abc": AuxiliaryBalancedClassifier(0.4)}
    module = Classifier(data.spec, Composition(strategies))
    fit = trainer(2)
    fit.fit(module, data)
    fit.save_checkpoint(tmp_path / "last.ckpt")
    images = data.pools.labeled.gather(torch.arange(7)).float() / 255
    network = (module.ema.average if module.ema else module.network).eval()
    with torch.no_grad():
        features = network.features(images)
        expected, others = network.extra["balanced_head"](features), network.head(features)
    assert torch.equal(module.evaluate(images), expected) and not torch.allclose(expected, others)
    assert torch.equal(Classifier.from_checkpoint(tmp_path / "last.ckpt").evaluate(images), expected)


def test_two_that_evaluate_are_refused_and_so_is_one_without_unlabeled_images() -> None:
    one, other = AuxiliaryBalancedClassifier(), AuxiliaryBalancedClassifier()
    with pytest.raises(InputError, match="one and other each evaluate by a head of their own"):
        Composition({"fixmatch": FixMatch(), "one": one, "other": other})
    with pytest.raises(InputError, match=r"abc adds a term that reads .*weak_features.*NAME\+abc"):
        Composition({"abc": one})


def test_without_it_the_networks_own_head_evaluates() -> None:
    module = classifier(Blobs())
    images = torch.rand(3, 1, 8, 8)
    module.eval()
    assert torch.equal(module.evaluate(images), module(images).detach())
