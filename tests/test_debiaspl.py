"""DebiasPL: three steps on FixMatch against the authors' formulas, and the owners whose targets it may change."""

from __future__ import annotations

import math

import methods
import pytest
import torch
from helpers import Blobs, trainer
from one_step import Identity, assert_same, batch, cross_entropies, logits

from semisup import plugins
from semisup.composition import Composition
from semisup.errors import InputError
from semisup.strategy import LossStrategy, Phase
from strategies.debiaspl import DebiasPL
from strategies.fixmatch import FixMatch

REFINABLE = [name for name in methods.OWNERS if plugins.load(plugins.STRATEGIES, name).refinable]


def composed(owner: LossStrategy, debias: DebiasPL) -> Identity:
    """The identity with a composition that was set up for it."""
    data = Blobs()
    module = Identity(data.spec, Composition({"owner": owner, "debiaspl": debias}))
    module.trainer = trainer(5)
    module.trainer.datamodule = data  # type: ignore[attr-defined]
    for part in (owner, debias):
        part.setup(module.trainer, module, "fit")
        part.begin_phase(module, Phase())
    return module


def test_loss_gradient_and_running_mean_of_three_steps() -> None:
    debias = DebiasPL(strength=0.8, decay=0.6)
    module = composed(FixMatch(threshold=0.7, weight=0.5), debias)
    marginal, changed, counted = [1 / 3] * 3, 0, 0
    for step in range(3):
        inputs = logits(4, 40, 40, seed=step)
        labeled, weak, strong = inputs
        with torch.no_grad():
            weak[:, 0] += 1.0  # the network is biased to the first class
        target = torch.tensor([0, 1, 2, 0])
        loss, _, outputs = module.strategy.loss(module, batch(labeled, target, step, weak=weak, strong=strong))
        debiased = torch.stack([row.detach() - 0.8 * torch.tensor(marginal).log() for row in weak]).softmax(1)
        p = weak.detach().softmax(1).mean(0).tolist()
        marginal = [0.6 * a + 0.4 * b for a, b in zip(marginal, p, strict=True)]
        terms = []
        for q, row in zip(debiased, strong, strict=True):
            if float(q.max()) >= 0.7:
                shifted = torch.stack([x + 0.8 * math.log(m) for x, m in zip(row, marginal, strict=True)])
                terms.append(-shifted.log_softmax(0)[q.argmax()])
        supervised = torch.stack(cross_entropies(labeled, target)).mean()
        assert_same(loss, supervised + 0.5 * sum(terms, torch.tensor(0.0)) / 40, inputs)
        assert debias.marginal_.tolist() == pytest.approx(marginal)
        assert torch.equal(outputs["weak"], weak) and torch.equal(outputs["strong"], strong)
        assert outputs["target"].tolist() == debiased.argmax(1).tolist() and int(outputs["mask"].sum()) == len(terms)
        changed, counted = changed + int((debiased.argmax(1) != weak.argmax(1)).sum()), counted + len(terms)
    assert changed > 0 and 0 < counted < 120


@pytest.mark.parametrize("strength", [0.0, 0.4, 2.0])
def test_a_class_that_is_never_predicted_is_no_trouble(strength: float) -> None:
    """Of which the running mean is 0, with logits of 1e4 and no memory."""
    debias = DebiasPL(strength=strength, decay=0.0)
    module = composed(FixMatch(threshold=0.7), debias)
    for step in range(2):
        inputs = labeled, weak, strong = logits(4, 8, 8)
        with torch.no_grad():
            weak[:, 0] += 1e4
            weak[:, 1] = -1e4
        given = batch(labeled, torch.tensor([0, 1, 2, 0]), step, weak=weak, strong=strong)
        loss, _, outputs = module.strategy.loss(module, given)
        assert debias.marginal_[1] == 0 and outputs["target"].tolist() == [0] * 8
        assert loss.isfinite() and all(x.isfinite().all() for x in torch.autograd.grad(loss, (inputs[0], inputs[2])))


@pytest.mark.parametrize("name", REFINABLE)
def test_every_owner_that_says_so_uses_what_is_refined(name: str) -> None:
    """A margin of the strong views changes the loss, and a bias of the weak ones the targets."""
    found = []
    for strength in (0.0, 3.0):
        owner = methods.make(name)
        assert isinstance(owner, LossStrategy)
        debias = DebiasPL(strength=strength, decay=0.0)
        module = composed(owner, debias)
        debias.marginal_ = torch.tensor([0.98, 0.01, 0.01])
        labeled, weak, strong = logits(4, 30, 30)
        views = {"weak": weak, "strong": strong}
        loss, _, outputs = module.strategy.loss(module, batch(labeled, torch.tensor([0, 1, 2, 0]), 0, **views))
        target = outputs["target"]
        classes = target.argmax(1) if target.ndim > 1 else target
        found.append((loss.item(), classes.tolist(), outputs["weak"].tolist()))
    assert found[0][0] != pytest.approx(found[1][0]) and found[0][1] != found[1][1] and found[0][2] == found[1][2]
    assert found[1][1].count(0) < found[0][1].count(0)


@pytest.mark.parametrize("owner", ["mixmatch", "supervised", "regmixmatch"])
def test_an_owner_that_does_not_let_its_targets_change_is_refused(owner: str) -> None:
    with pytest.raises(InputError, match=rf"debiaspl refines targets, which {owner} does not .*NAME\+debiaspl"):
        Composition({owner: methods.make(owner), "debiaspl": DebiasPL()})


def test_alone_it_is_refused() -> None:
    with pytest.raises(InputError, match="debiaspl refines targets, which supervised training does not let others do"):
        Composition({"debiaspl": DebiasPL()})
