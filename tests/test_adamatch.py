"""AdaMatch: a step against the authors' formulas written out image by image, its running means, and its warm-up."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from helpers import Blobs, classifier, trainer, weights

from semisup.batch import Batch
from semisup.classifier import Classifier
from strategies.adamatch import AdaMatch, between, warm_up


def one_batch(**options: float) -> tuple[Classifier, Batch]:
    data = Blobs(augmentation="weak")
    module = classifier(data, AdaMatch(ratio=2, ema_decay=0, **options))  # type: ignore[arg-type]
    trainer(1).fit(module, data)
    module.train()
    batch: Batch = data.on_after_batch_transfer(next(iter(data.train_dataloader())), 0)
    return module, batch


def test_logits_lie_between_the_two_by_a_share_of_each_number() -> None:
    one, other, share = torch.rand(3, 4, 5)
    torch.testing.assert_close(between(one, other, share), share * one + (1 - share) * other)
    assert torch.equal(between(one, other, torch.zeros(4, 5)), other)


def test_the_weight_rises_along_a_cosine_to_half_of_the_training() -> None:
    found = [warm_up(step, 8) for step in range(9)]
    wanted = [0.0, 0.5 - math.cos(math.pi / 4) / 2, 0.5, 0.5 - math.cos(3 * math.pi / 4) / 2, 1.0, 1.0, 1.0, 1.0, 1.0]
    assert found == pytest.approx(wanted)


def test_the_loss_and_the_gradient_of_a_step() -> None:
    module, batch = one_batch(decay=0.6, weight=0.7)
    strategy, unlabeled = module.strategy.owner, batch.unlabeled
    assert unlabeled is not None and isinstance(strategy, AdaMatch)
    batch.step = 1  # of 4: mu is 1 / 2
    module.eval()  # then labeled images have the same logits alone and beside others, and are not drawn between any
    confidence = [module(x["weak"]).softmax(1).max(1).values.detach() for x in (batch.labeled.views, unlabeled.views)]
    strategy.threshold = float(confidence[1].median() / confidence[0].mean())  # about half of the images count
    p_labeled, p_unlabeled = strategy.labeled_.clone(), strategy.unlabeled_.clone()
    loss, metrics, outputs = strategy.loss(module, batch)
    gradient = torch.autograd.grad(loss, list(module.network.parameters()))

    labeled, sure = [], []
    for weak, strong, y in zip(
        *(batch.labeled.views[x] for x in ("weak", "strong")), batch.labeled.target, strict=True
    ):
        labeled += [F.cross_entropy(module(x[None]), y[None]) for x in (weak, strong)]
        sure.append(module(weak[None]).softmax(1)[0].detach())
    threshold = strategy.threshold * torch.stack([p.max() for p in sure]).mean()
    seen = [module(x[None]).softmax(1)[0].detach() for x in unlabeled.views["weak"]]
    p_labeled = 0.6 * p_labeled + 0.4 * torch.stack(sure).mean(0)
    p_unlabeled = 0.6 * p_unlabeled + 0.4 * torch.stack(seen).mean(0)
    terms, mask = [], []
    for p, strong in zip(seen, unlabeled.views["strong"], strict=True):
        aligned = p * p_labeled / p_unlabeled
        aligned = aligned / aligned.sum()
        mask.append(bool(aligned.max() >= threshold))
        terms.append(F.cross_entropy(module(strong[None]), aligned.argmax()[None]) * mask[-1])
    wanted = torch.stack(labeled).mean() + 0.7 * 0.5 * torch.stack(terms).mean()
    assert outputs["mask"].tolist() == mask and 0 < sum(mask) < len(mask)
    torch.testing.assert_close(loss, wanted)
    torch.testing.assert_close(metrics["threshold"], threshold)
    torch.testing.assert_close(strategy.labeled_, p_labeled)
    torch.testing.assert_close(strategy.unlabeled_, p_unlabeled)
    for got, slow in zip(gradient, torch.autograd.grad(wanted, list(module.network.parameters())), strict=True):
        torch.testing.assert_close(got, slow, rtol=1e-3, atol=1e-5)


def test_labeled_logits_are_drawn_between_the_two_passes_and_one_pass_moves_the_statistics() -> None:
    module, batch = one_batch()
    assert batch.unlabeled is not None
    before, known = weights(module), [batch.labeled.views[x] for x in ("weak", "strong")]
    views = [*known, *(batch.unlabeled.views[x] for x in ("weak", "strong"))]
    _, _, outputs = module.strategy.loss(module, batch)
    moved = weights(module)
    module.load_state_dict(before)
    alone = module.joint(*known)[0][0]
    module.load_state_dict(before)
    beside = module.joint(*views)[0][0]
    assert all(torch.equal(value, moved[name]) for name, value in weights(module).items())
    share = module.draw(batch.labeled, batch, "adamatch").uniform("weak", 3)
    assert not torch.allclose(alone, beside)
    torch.testing.assert_close(outputs["labeled"], beside + share * (alone - beside))
