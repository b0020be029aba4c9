"""DoubleMatch: the distance of features by hand, and a step against a slow version of it."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from helpers import Blobs, classifier, trainer

from semisup.batch import Batch
from strategies.doublematch import DoubleMatch, feature_distance, projection


def test_the_distance_by_hand_and_its_gradient() -> None:
    rows = torch.tensor([[2.0, 0.0], [0.0, 3.0], [-1.0, 0.0], [0.0, 0.0]], requires_grad=True)
    features = torch.tensor([[1.0, 1.0], [0.0, 0.1], [5.0, 0.0], [1.0, 0.0]], requires_grad=True)
    distance = feature_distance(rows, features)
    assert distance.item() == pytest.approx(((1 - 1 / math.sqrt(2)) + 0 + 2 + 1) / 4)
    distance.backward()
    assert features.grad is None and rows.grad is not None and rows.grad.isfinite().all()
    # the gradient of -cos(a, b) / 4 by a is -(b / |b| - cos a / |a|) / |a| / 4
    torch.testing.assert_close(rows.grad[0], torch.tensor([0.0, -1 / math.sqrt(2) / 2 / 4]))


def test_the_layer_is_linear_and_as_wide_as_the_features() -> None:
    torch.manual_seed(0)
    layer = projection(400, 10)
    assert layer(torch.zeros(2, 400)).abs().max() == 0 and layer(torch.zeros(2, 400)).shape == (2, 400)
    assert isinstance(layer, torch.nn.Linear)
    assert layer.weight.std().item() == pytest.approx(math.sqrt(2 / 800), rel=0.02)  # Glorot & Bengio 2010


def test_the_loss_and_the_gradient_of_a_step() -> None:
    data = Blobs(augmentation="weak")
    module = classifier(data, DoubleMatch(ratio=2, ema_decay=0, weight=0.7, feature_weight=0.3))
    trainer(1).fit(module, data)
    batch: Batch = data.on_after_batch_transfer(next(iter(data.train_dataloader())), 0)
    unlabeled = batch.unlabeled
    assert unlabeled is not None
    module.eval()  # batch statistics would couple the images of the slow version
    assert isinstance(module.strategy.owner, DoubleMatch)
    threshold = float(module(unlabeled.views["weak"]).softmax(1).max(1).values.median()) + 1e-6  # half of them count
    module.strategy.owner.threshold = threshold
    loss, metrics, outputs = module.strategy.loss(module, batch)
    gradient = torch.autograd.grad(loss, list(module.network.parameters()))
    terms, distances = [], []
    for weak, strong in zip(unlabeled.views["weak"], unlabeled.views["strong"], strict=True):
        p = module(weak[None]).softmax(1)[0].detach()
        terms.append(F.cross_entropy(module(strong[None]), p.argmax()[None]) * (p.max() >= threshold))
        f, z = module.features(weak[None])[0].detach(), module.extra["projection"](module.features(strong[None]))[0]
        distances.append(1 - f @ z / f.norm() / z.norm())
    labeled = F.cross_entropy(module(batch.labeled.views["weak"]), batch.labeled.target)
    wanted = labeled + 0.7 * torch.stack(terms).mean() + 0.3 * torch.stack(distances).mean()
    assert 0 < outputs["mask"].sum() < len(unlabeled)
    torch.testing.assert_close(loss, wanted)
    torch.testing.assert_close(metrics["loss_features"], torch.stack(distances).mean())
    for got, slow in zip(gradient, torch.autograd.grad(wanted, list(module.network.parameters())), strict=True):
        torch.testing.assert_close(got, slow, rtol=1e-3, atol=1e-5)
