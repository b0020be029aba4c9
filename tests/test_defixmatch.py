"""DeFixMatch: a step against a slow version, and what debiasing promises: no term where both streams are the same."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from helpers import Blobs, classifier, trainer
from torch import Tensor

from semisup.batch import Batch
from semisup.classifier import Classifier
from strategies.defixmatch import DeFixMatch


def one_batch(**options: float) -> tuple[Classifier, Batch]:
    data = Blobs(augmentation="weak")
    module = classifier(data, DeFixMatch(ratio=2, ema_decay=0, **options))  # type: ignore[arg-type]
    trainer(1).fit(module, data)
    batch: Batch = data.on_after_batch_transfer(next(iter(data.train_dataloader())), 0)
    module.eval()  # batch statistics would couple the images of the slow version
    return module, batch


def test_the_loss_and_the_gradient_of_a_step() -> None:
    module, batch = one_batch(weight=0.7)
    unlabeled = batch.unlabeled
    assert unlabeled is not None and isinstance(module.strategy.owner, DeFixMatch)
    seen = torch.cat([batch.labeled.views["weak"], unlabeled.views["weak"]])
    threshold = float(module(seen).softmax(1).max(1).values.median()) + 1e-6  # half of the images count, none just so
    module.strategy.owner.threshold = threshold
    loss, metrics, outputs = module.strategy.loss(module, batch)
    gradient = torch.autograd.grad(loss, list(module.network.parameters()))

    def term(weak: Tensor, strong: Tensor) -> Tensor:
        p = module(weak[None]).softmax(1)[0]
        return F.cross_entropy(module(strong[None]), p.argmax()[None]) * (p.max() >= threshold)

    streams = [batch.labeled.views, unlabeled.views]
    debiasing, unsupervised = (
        torch.stack([term(*x) for x in zip(views["weak"], views["strong"], strict=True)]).mean() for views in streams
    )
    supervised = sum(F.cross_entropy(module(streams[0][x]), batch.labeled.target) for x in ("weak", "strong")) / 2
    wanted = supervised + 0.7 * (unsupervised - debiasing)
    assert 0 < outputs["mask"].sum() < len(unlabeled) and debiasing > 0
    torch.testing.assert_close(loss, wanted)
    torch.testing.assert_close(metrics["loss_debiasing"], debiasing)
    for got, slow in zip(gradient, torch.autograd.grad(wanted, list(module.network.parameters())), strict=True):
        torch.testing.assert_close(got, slow, rtol=1e-3, atol=1e-5)


def test_nothing_is_added_where_the_unlabeled_images_are_the_labeled_ones() -> None:
    module, batch = one_batch(threshold=0.0, weight=3.0)
    batch.unlabeled = batch.labeled
    loss, metrics, _ = module.strategy.loss(module, batch)
    assert metrics["loss_unlabeled"] > 0
    torch.testing.assert_close(loss, metrics["loss_labeled"])
