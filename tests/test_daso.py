"""DASO: queue, prototypes and blending by hand, and a step on FixMatch against the paper's formulas, image by image."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from helpers import Blobs, trainer

from semisup.batch import Batch
from semisup.classifier import Classifier
from semisup.composition import Composition
from semisup.embeddings import prototypes, pushed_by_class
from semisup.errors import InputError
from strategies.daso import DASO, blended, semantic
from strategies.fixmatch import FixMatch


@pytest.mark.parametrize("count", [3, 8, 40])
def test_the_queue_keeps_the_latest_of_each_class(count: int) -> None:
    """Also of a batch that holds more of a class than the queue, and of a class that is not in it."""
    generator = torch.Generator().manual_seed(count)
    queue, filled = torch.zeros(3, 5, 2), torch.zeros(3, dtype=torch.int64)
    lists: list[list[list[float]]] = [[], [], []]
    for _ in range(4):
        features = torch.randn(count, 2, generator=generator)
        labels = torch.randint(0, 2, (count,), generator=generator)
        queue, filled = pushed_by_class(queue, filled, features, labels)
        for row, label in zip(features.tolist(), labels.tolist(), strict=True):
            lists[label] = [*lists[label], row][-5:]
        for k, rows in enumerate(lists):
            there = queue[k][: len(rows)].tolist()
            assert sorted(there) == sorted(rows)
            mean = torch.tensor(rows).mean(0) if rows else torch.zeros(2)
            torch.testing.assert_close(prototypes(queue, filled)[k], mean)


def test_semantic_labels_are_cosines_to_the_prototypes_that_there_are() -> None:
    means = torch.tensor([[2.0, 0.0], [0.0, 0.0], [0.3, 0.4]])
    found = semantic(torch.tensor([[0.0, 5.0], [1.0, 1.0]]), means)
    assert found[:, 0].tolist() == pytest.approx([0.0, 20 / 2**0.5])
    assert found[:, 2].tolist() == pytest.approx([16.0, 20 * 1.4 / 2**0.5])
    assert found.softmax(1)[:, 1].tolist() == [0, 0]


def test_the_most_frequent_class_is_blended_whole() -> None:
    p = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.0, 0.4, 0.6]])
    q = torch.tensor([[0.1, 0.1, 0.8]]).expand(3, 3)
    found = blended(p, q, torch.tensor([0.64, 0.36, 0.0]), 2.0)  # v is 1, .6 / .8 and 0
    expected = torch.stack([q[0], 0.25 * p[1] + 0.75 * q[1], p[2]])
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("temperature", [0.01, 0.3, 1.5])
def test_shares_that_are_alike_blend_alike_however_cold(temperature: float) -> None:
    p, q = torch.eye(20), torch.full((20, 20), 0.05)
    assert torch.equal(blended(p, q, torch.full((20,), 0.05), temperature), q)  # v is 1 for all
    assert torch.equal(blended(p, q, torch.zeros(20), temperature), p)  # and 0 where nothing was counted
    assert blended(p[:0], q[:0], torch.full((20,), 0.05), temperature).shape == (0, 20)


def test_features_of_less_precision_are_queued_and_averaged_in_float32() -> None:
    features = torch.randn(40, 2, generator=torch.Generator().manual_seed(0)).bfloat16()
    queue, filled = torch.zeros(1, 50, 2), torch.zeros(1, dtype=torch.int64)
    queue, filled = pushed_by_class(queue, filled, features, torch.zeros(40, dtype=torch.int64))
    assert queue.dtype == torch.float32
    torch.testing.assert_close(prototypes(queue, filled)[0], features.float().mean(0))
    again, same = pushed_by_class(queue, filled, features[:0], torch.zeros(0, dtype=torch.int64))
    assert torch.equal(again, queue) and torch.equal(same, filled)


def composed(**options: float) -> tuple[Classifier, DASO, Batch]:
    """A trained composition with FixMatch, and a batch of its data."""
    data = Blobs(augmentation="weak")
    parts = {"fixmatch": FixMatch(ratio=2, threshold=0.0, ema_decay=0.9), "daso": DASO(**options)}
    module = Classifier(data.spec, Composition(parts))
    trainer(1).fit(module, data)
    batch: Batch = data.on_after_batch_transfer(next(iter(data.train_dataloader())), 0)
    daso = parts["daso"]
    assert isinstance(daso, DASO)
    module.train().network.eval()  # batch statistics would couple the images of the slow version
    return module, daso, batch


def test_a_step_and_its_gradient() -> None:
    module, daso, batch = composed(weight=0.4, warmup=0.5, temperature=0.7)
    unlabeled = batch.unlabeled
    assert unlabeled is not None
    batch.step, daso.share_ = 2, torch.tensor([0.2, 0.5, 0.3])  # of 4 steps
    counts = daso.counts_.clone()
    loss, metrics, outputs = module.strategy.loss(module, batch)
    gradient = torch.autograd.grad(loss, list(module.network.parameters()), allow_unused=True)

    assert int(daso.filled_.sum()) == 5 * 12
    means, v = prototypes(daso.queue_, daso.filled_), daso.share_ ** (1 / 0.7)
    terms, alignment, predicted = [], [], []
    for weak, strong in zip(unlabeled.views["weak"], unlabeled.views["strong"], strict=True):
        near = [
            torch.stack([F.cosine_similarity(module.features(x[None])[0], m, dim=0) / 0.05 for m in means])
            for x in (weak, strong)
        ]
        q, p = near[0].softmax(0).detach(), module(weak[None])[0].softmax(0).detach()
        part = v[p.argmax()] / v.max()
        predicted.append(int(((1 - part) * p + part * q).argmax()))
        terms.append(F.cross_entropy(module(strong[None]), torch.tensor([predicted[-1]])))
        alignment.append(-(q * near[1].log_softmax(0)).sum())
    labeled = F.cross_entropy(module(batch.labeled.views["weak"]), batch.labeled.target)
    aligned = torch.stack(alignment).mean()
    wanted = labeled + torch.stack(terms).mean() + 0.4 * aligned
    torch.testing.assert_close(loss, wanted, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(metrics["daso/loss_alignment"], aligned, rtol=1e-4, atol=1e-4)
    assert outputs["target"].tolist() == predicted
    assert (daso.counts_ - counts).tolist() == [predicted.count(k) for k in range(3)]
    slow = torch.autograd.grad(wanted, list(module.network.parameters()), allow_unused=True)
    for one, other in zip(gradient, slow, strict=True):
        assert (one is None) == (other is None)
        if one is not None and other is not None:
            torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


def test_before_it_begins_it_only_watches_and_shares_are_of_a_hundred_steps() -> None:
    module, daso, batch = composed()
    daso.warmup, daso.counts_, daso.share_ = 1000.0, torch.zeros(3), torch.tensor([1.0, 0.0, 0.0])
    for step, classes in ((97, [0, 0, 1, 1, 2, 2]), (98, [0, 0, 0, 0, 1, 1]), (99, [2] * 6)):
        batch.step = step
        weak = F.one_hot(torch.tensor(classes), 3).float()
        refined = daso.refine(module, batch, {"weak": weak, "strong": torch.zeros(6, 3)})
        torch.testing.assert_close(refined["weak"].softmax(1), weak.softmax(1))
        assert daso.share_[0].item() == (1 if step < 99 else pytest.approx(6 / 18))
    assert daso.counts_.tolist() == [0, 0, 0] and daso.share_.tolist() == pytest.approx([6 / 18, 4 / 18, 8 / 18])


def test_without_a_moving_average_it_is_refused() -> None:
    data = Blobs()
    module = Classifier(data.spec, Composition({"fixmatch": FixMatch(ratio=2, ema_decay=0), "daso": DASO()}))
    with pytest.raises(InputError, match="asks for a teacher and there is none; type a decay"):
        trainer(1).fit(module, data)
