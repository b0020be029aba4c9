"""CR-Match: the similarity of features by hand, and a step against a slow version of it."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from helpers import Blobs, classifier, trainer

from semisup.batch import Batch
from strategies.crmatch import CRMatch, feature_similarity


def test_the_similarity_by_hand_and_its_gradient() -> None:
    one = torch.tensor([[2.0, 0.0], [0.0, 3.0], [-1.0, 0.0], [1.0, 0.0], [0.0, 0.0]], requires_grad=True)
    other = torch.tensor([[1.0, 1.0], [0.0, 0.1], [5.0, 0.0], [1.0, 0.0], [1.0, 0.0]], requires_grad=True)
    found = feature_similarity(one, other, torch.tensor([True, True, True, False, True]))
    assert found.item() == pytest.approx((1 / math.sqrt(2) + 1 + 0 + 0 + 0) / 5)
    gradients = torch.autograd.grad(found, (one, other))
    # of cos(a, b) by a: (b / |b| - cos a / |a|) / |a|; none where the cosine is negative or the image not confident
    torch.testing.assert_close(gradients[0][0], torch.tensor([0.0, 1 / math.sqrt(2) / 2 / 5]))
    assert not gradients[0][2:4].any() and not gradients[1][2:4].any() and gradients[1][0].any()


def test_the_similarity_is_that_of_the_benchmark() -> None:
    """USB has PyTorch's cosine embedding loss, of pairs that are said to be different."""
    one, other = torch.randn(2, 6, 4, generator=torch.Generator().manual_seed(0))
    mask = torch.tensor([True, False, True, True, False, True])
    expected = F.cosine_embedding_loss(one, other, -torch.ones(6), reduction="none")
    torch.testing.assert_close(feature_similarity(one, other, mask), (expected * mask).mean())


def test_the_loss_and_the_gradient_of_a_step() -> None:
    data = Blobs(augmentation="weak")
    strategy = CRMatch(ratio=3, ema_decay=0, weight=0.7, feature_weight=0.3, rotation_weight=0.4)
    module = classifier(data, strategy)
    trainer(1).fit(module, data)
    batch: Batch = data.on_after_batch_transfer(next(iter(data.train_dataloader())), 0)
    unlabeled = batch.unlabeled
    assert unlabeled is not None and len(unlabeled) == 36
    module.eval()  # batch statistics would couple the images of the slow version
    strategy.threshold = float(module(unlabeled.views["weak"]).softmax(1).max(1).values.median()) + 1e-6
    loss, metrics, outputs = strategy.loss(module, batch)
    gradient = torch.autograd.grad(loss, list(module.network.parameters()))

    terms, similarities, rotated = [], [], []
    for k, (weak, strong) in enumerate(zip(unlabeled.views["weak"], unlabeled.views["strong"], strict=True)):
        p = module(weak[None]).softmax(1)[0].detach()
        counts = bool(p.max() >= strategy.threshold)
        terms.append(F.cross_entropy(module(strong[None]), p.argmax()[None]) * counts)
        a, b = (module.extra["projection"](module.features(x[None]))[0] for x in (weak, strong))
        similarities.append((a @ b / a.norm() / b.norm()).clamp_min(0) * counts)
        if k % 3 == 0:
            for turn in range(4):
                head = module.extra["rotation"](module.features(weak.rot90(turn, (1, 2))[None]))
                rotated.append(F.cross_entropy(head, torch.tensor([turn])))
    labeled = F.cross_entropy(module(batch.labeled.views["weak"]), batch.labeled.target)
    similarity = torch.stack(similarities).mean()
    wanted = labeled + 0.7 * torch.stack(terms).mean() + 0.3 * similarity + 0.4 * torch.stack(rotated).mean()
    assert 0 < outputs["mask"].sum() < len(unlabeled) and len(rotated) == 4 * len(batch.labeled)
    torch.testing.assert_close(loss, wanted)
    torch.testing.assert_close(metrics["loss_features"], similarity)
    for got, slow in zip(gradient, torch.autograd.grad(wanted, list(module.network.parameters())), strict=True):
        torch.testing.assert_close(got, slow, rtol=1e-3, atol=1e-5)
