"""One step of a strategy on tensors alone: a network that is the identity, so that the images are the logits."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from helpers import Blobs, trainer
from torch import Tensor

from semisup.batch import Batch, Samples
from semisup.classifier import Classifier
from semisup.composition import Composition
from semisup.strategy import LossStrategy, Phase


class Identity(Classifier):
    """A classifier of three classes whose images (B, 3) are features and logits at once; the rest is a classifier's."""

    def features(self, images: Tensor) -> Tensor:
        """The images."""
        return images

    def head(self, features: Tensor) -> Tensor:
        """The features."""
        return features


def identity(strategy: LossStrategy, **options: Any) -> Identity:
    """An identity that a strategy was set up for, in a training of 5 epochs of 4 steps on 102 unlabeled images."""
    data = Blobs()
    module = Identity(data.spec, Composition({"it": strategy}), **options)
    module.trainer = trainer(5)
    module.trainer.datamodule = data  # type: ignore[attr-defined]
    strategy.setup(module.trainer, module, "fit")
    strategy.begin_phase(module, Phase())
    return module


def batch(labeled: Tensor, target: Tensor, step: int = 0, rows: Tensor | None = None, **views: Tensor) -> Batch:
    """A batch of labeled logits (B, 3) with their classes (B,), and of views of unlabeled ones, label -> (n, 3)."""
    count = len(next(iter(views.values())))
    return Batch(step, _samples(len(labeled), target, None, weak=labeled), _samples(count, None, rows, **views))


def _samples(count: int, target: Tensor | None, rows: Tensor | None, **views: Tensor) -> Samples:
    places = torch.arange(count)
    image = torch.zeros(count, 1, 1, 1, dtype=torch.uint8)
    return Samples(
        places if rows is None else rows, places, image, torch.full((count,), -1) if target is None else target, views
    )


def logits(*sizes: int, seed: int = 0, scale: float = 2.0) -> tuple[Tensor, ...]:
    """Random logits (size, 3) float32 with gradient, one tensor of every size."""
    generator = torch.Generator().manual_seed(seed)
    return tuple((scale * torch.randn(size, 3, generator=generator)).requires_grad_() for size in sizes)


def assert_same(found: Tensor, expected: Tensor, inputs: tuple[Tensor, ...]) -> None:
    """A loss and its gradient in every input are the slow version's; where that has none, neither has the loss."""
    torch.testing.assert_close(found, expected.to(found.dtype), rtol=1e-5, atol=1e-6)
    ours = torch.autograd.grad(found, inputs, allow_unused=True, retain_graph=True)
    theirs = torch.autograd.grad(expected, inputs, allow_unused=True, retain_graph=True)
    for one, other, x in zip(ours, theirs, inputs, strict=True):
        zero = torch.zeros_like(x)
        torch.testing.assert_close(zero if one is None else one, zero if other is None else other, rtol=1e-4, atol=1e-6)


def cross_entropies(x: Tensor, target: Tensor) -> list[Tensor]:
    """-log softmax of every row at its class, written out."""
    return [row.exp().sum().log() - row[k] for row, k in zip(x, target.tolist(), strict=True)]


def confident(weak: Tensor) -> list[tuple[float, int]]:
    """Of every row of logits the greatest probability and its class."""
    return [(float(row.max()), int(row.argmax())) for row in F.softmax(weak.detach(), 1)]
