"""ReMixMatch: a step against the paper's algorithm 1, image by image, and what it aligns guesses by."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from helpers import Blobs, classifier, trainer, weights
from torch import Tensor

from semisup.batch import Batch
from semisup.classifier import Classifier
from strategies.remixmatch import ReMixMatch


def one_batch(**options: float) -> tuple[Classifier, ReMixMatch, Batch]:
    """A trained classifier in evaluation mode: batch statistics would couple the images of the slow version."""
    data = Blobs(augmentation="weak")
    module = classifier(data, strategy := ReMixMatch(copies=2, ema_decay=0, **options))  # type: ignore[arg-type]
    trainer(1).fit(module, data)
    batch: Batch = data.on_after_batch_transfer(next(iter(data.train_dataloader())), 0)
    return module.eval(), strategy, batch


def soft(module: Classifier, image: Tensor, target: Tensor) -> Tensor:
    return -(target * module(image[None])[0].log_softmax(0)).sum()


@pytest.mark.parametrize(("step", "share"), [(0, 0.0), (1, 1 / 3), (3, 1.0)])
def test_the_loss_and_the_gradient_of_a_step(step: int, share: float) -> None:
    options = {"weight": 1.2, "strong_weight": 0.7, "rotation_weight": 0.3, "temperature": 0.6, "ramp": 0.6}
    module, strategy, batch = one_batch(**options)
    unlabeled = batch.unlabeled
    assert unlabeled is not None
    batch.step, before = step, strategy.means_.clone()
    strategy.labeled_ = torch.tensor([0.5, 0.2, 0.3])
    loss, metrics, outputs = strategy.loss(module, batch)
    gradient = torch.autograd.grad(loss, list(module.network.parameters()))

    seen = [module(image[None]).softmax(1)[0].detach() for image in unlabeled.views["weak"]]
    guesses = []
    for p in seen:
        q = p * strategy.labeled_ / before.mean(0)
        q = (q / q.sum()) ** (1 / 0.6)
        guesses.append(q / q.sum())
    known = F.one_hot(batch.labeled.target, 3).float()
    views = [unlabeled.views[name] for name in ("strong", "strong_2", "weak")]
    images = [*batch.labeled.views["strong"], *(image for view in views for image in view)]
    targets = [*known, *guesses, *guesses, *guesses]
    count, mixed = len(batch.labeled), []
    for first, samples in [(count * k, unlabeled if k else batch.labeled) for k in range(4)]:
        draw = module.draw(samples, batch, "remixmatch").among(first, len(images))
        partners, shares = draw.permutation("partners").tolist(), draw.beta("share", 0.75).tolist()
        for row, drawn in enumerate(shares):
            k, other, most = first + row, partners[first + row], max(drawn, 1 - drawn)
            pair = [most * x[k] + (1 - most) * x[other] for x in (images, targets)]
            mixed.append(soft(module, pair[0], pair[1]))
    alone = [soft(module, image, guess) for image, guess in zip(unlabeled.views["strong"], guesses, strict=True)]
    rotated = []
    turns = module.draw(unlabeled, batch, "remixmatch/rotation").permutation("turns") % 4
    for image, turn in zip(unlabeled.views["strong"], turns.tolist(), strict=True):
        features = module.features(image.rot90(turn, (1, 2))[None])
        rotated.append(F.cross_entropy(module.extra["rotation"](features), torch.tensor([turn])))
    supervised, unsupervised = torch.stack(mixed[:count]).mean(), torch.stack(mixed[count:]).mean()
    wanted = supervised + share * (1.2 * unsupervised + 0.7 * torch.stack(alone).mean())
    wanted = wanted + 0.3 * torch.stack(rotated).mean()

    torch.testing.assert_close(loss, wanted)
    torch.testing.assert_close(metrics["loss_unlabeled"], unsupervised)
    torch.testing.assert_close(outputs["target"], torch.stack(guesses))
    assert sorted(turns.tolist()) == sorted(k % 4 for k in range(len(unlabeled)))
    torch.testing.assert_close(strategy.means_, torch.cat([torch.stack(seen).mean(0)[None], before[:-1]]))
    for got, slow in zip(gradient, torch.autograd.grad(wanted, list(module.network.parameters())), strict=True):
        torch.testing.assert_close(got, slow, rtol=1e-3, atol=1e-5)


def test_the_means_begin_uniform_and_the_marginal_is_that_of_the_labels() -> None:
    _, strategy, _ = one_batch()
    assert strategy.means_.shape == (128, 3)
    torch.testing.assert_close(strategy.means_[4:], torch.full((124, 3), 1 / 3))
    assert not torch.allclose(strategy.means_[:4], torch.full((4, 3), 1 / 3), atol=1e-4)
    assert strategy.labeled_.tolist() == pytest.approx([1 / 3] * 3)


def test_the_statistics_follow_the_mixed_images_alone() -> None:
    """In training mode: the running mean moves once in a step, towards that of the mixed images."""
    module, strategy, batch = one_batch()
    module.train()
    before = weights(module)
    strategy.loss(module, batch)
    counts = [name for name in before if name.endswith("num_batches_tracked")]
    assert counts and all(weights(module)[name] == before[name] + 1 for name in counts)


def test_the_ramp_is_a_64th_of_the_training_and_the_rotation_has_none() -> None:
    module, strategy, batch = one_batch()
    batch.step = 0
    loss, metrics, _ = strategy.loss(module, batch)
    torch.testing.assert_close(loss, metrics["loss_labeled"] + 0.5 * metrics["loss_rotation"])
    assert strategy.ramp == 1 / 64 and math.isfinite(float(loss))
