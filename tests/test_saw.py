"""SAW: weights in closed form, and the whole loss on FixMatch and on FlexMatch, image by image, over two epochs."""

from __future__ import annotations

import pytest
import torch
from helpers import Blobs, trainer
from one_step import Identity, assert_same, batch, cross_entropies, logits

from semisup.batch import Batch, Needs
from semisup.classifier import Classifier
from semisup.composition import Composition
from semisup.errors import InputError
from semisup.losses import consistency
from semisup.models.options import ModelOptions
from semisup.strategy import WEAK_AND_STRONG, Loss, LossStrategy, weak_and_strong
from semisup.targets import probabilities
from strategies.fixmatch import FixMatch
from strategies.flexmatch import FlexMatch
from strategies.saw import SmoothedAdaptiveWeighting, effective_weights


class Soft(LossStrategy):
    """FixMatch with soft targets."""

    gives = WEAK_AND_STRONG
    refinable = True

    def __init__(self, threshold: float, weight: float) -> None:
        self.threshold, self.weight = threshold, weight
        self.needs = Needs(unlabeled_views=("weak", "strong"), unlabeled_ratio=1)

    def loss(self, module: Classifier, batch: Batch) -> Loss:
        outputs, refined = weak_and_strong(module, batch)
        target = probabilities(refined["weak"])
        mask = target.amax(1) >= self.threshold
        loss = module.labeled_loss(outputs["labeled"], batch.labeled.target)
        loss = loss + self.weight * consistency(refined["strong"], target, mask)
        return loss, {}, {**outputs, "target": target, "mask": mask}


def slow_weights(counts: list[int], beta: float) -> list[float]:
    """From the effective number 1 + beta + ... + beta^(n - 1) of every class."""
    n = [max(1, count) for count in counts]
    base = beta or 1 - len(n) / sum(n)
    weights = [1 / sum(base**i for i in range(count)) for count in n]
    return [w * len(n) / sum(weights) for w in weights]


@pytest.mark.parametrize("counts", [[90, 30, 10, 3], [7, 0, 5], [4, 4, 4], [1, 1], [0, 0, 0], [5]])
@pytest.mark.parametrize("beta", [0.0, 0.9])
def test_weights_are_one_over_effective_numbers(counts: list[int], beta: float) -> None:
    found = effective_weights(torch.tensor(counts), beta)
    assert found.tolist() == pytest.approx(slow_weights(counts, beta))
    assert found.mean().item() == pytest.approx(1) and (found.diff() * torch.tensor(counts).diff() <= 0).all()


@pytest.mark.parametrize("owner", [FixMatch, FlexMatch, Soft])
def test_loss_gradient_and_counts_of_two_epochs(owner: type[FixMatch] | type[FlexMatch] | type[Soft]) -> None:
    """In soft targets every class has its weight."""
    saw, strategy = SmoothedAdaptiveWeighting(beta=0.95), owner(threshold=0.6, weight=0.5)
    data = Blobs()
    module = Identity(data.spec, Composition({"owner": strategy, "saw": saw}))
    module.trainer = trainer(5)
    module.trainer.datamodule = data  # type: ignore[attr-defined]
    for part in (strategy, saw):
        part.setup(module.trainer, module, "fit")
    assert saw.labeled_.tolist() == [1, 1, 1]  # there are four labels of each
    saw.labeled_, weights, kept = torch.tensor([0.4, 0.8, 1.8]), [1.0] * 3, 0
    last: dict[int, int] = {}
    module.labeled_offset = torch.tensor([0.5, 0.0, -0.5])
    for step in range(4):
        inputs = logits(6, 40, 40, seed=step)
        labeled, weak, strong = inputs
        with torch.no_grad():
            weak[:, 0] += 1.5  # the first class is the most frequent
        target, rows = torch.arange(6) % 3, torch.arange(40) + 20 * step
        loss, metrics, outputs = module.strategy.loss(
            module, batch(labeled, target, step, rows, weak=weak, strong=strong)
        )
        last |= dict(zip(rows.tolist(), weak.argmax(1).tolist(), strict=True))
        each = cross_entropies(labeled + module.labeled_offset, target)
        ours = sum((saw.labeled_[k] * x for k, x in zip(target, each, strict=True)), torch.tensor(0.0)) / 6
        theirs = torch.tensor(0.0)
        for q, counted, x in zip(outputs["target"], outputs["mask"], strong, strict=True):
            soft = q if q.ndim else torch.eye(3)[q]
            theirs = theirs - counted * (soft * torch.tensor(weights) * x.log_softmax(0)).sum() / 40
        kept += int(outputs["mask"].sum())
        assert_same(loss, ours + 0.5 * theirs, inputs)
        assert metrics["saw/loss_labeled"].item() == pytest.approx(ours.item())
        assert metrics["saw/loss_unlabeled"].item() == pytest.approx(theirs.item())
        if step % 2:  # an epoch ends
            saw.on_train_epoch_end(module.trainer, module)
            weights = slow_weights([list(last.values()).count(k) for k in range(3)], 0.95)
            assert saw.unlabeled_.tolist() == pytest.approx(weights) and max(weights) > 1.01
    assert 0 < kept < 160
    assert saw.status_.tolist() == [last.get(row, -1) for row in range(102)]


def test_other_losses_and_owners_are_refused() -> None:
    data, parts = Blobs(), {"fixmatch": FixMatch(ratio=2), "saw": SmoothedAdaptiveWeighting()}
    module = Classifier(data.spec, Composition(parts), ModelOptions(loss="mse"))
    with pytest.raises(InputError, match=r"saw weighs cross-entropy, and model.loss is mse; type --model.loss nll"):
        trainer(1).fit(module, data)
    with pytest.raises(InputError, match=r"compose it with a strategy that does, as in --strategy NAME\+saw"):
        Composition({"saw": SmoothedAdaptiveWeighting()})
