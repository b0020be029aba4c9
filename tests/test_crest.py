"""CReST: what a generation adds, the aligned loss image by image, and two generations in a training."""

from __future__ import annotations

from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from helpers import Blobs, classifier, same, trainer, weights
from one_step import assert_same, batch, cross_entropies, identity, logits
from torch import Tensor

from semisup.predict import predict
from strategies.crest import CReST, sampled, sampling_rates


def test_the_rarest_class_is_added_whole_and_the_most_frequent_one_least() -> None:
    counts = torch.tensor([10, 1000, 0, 100])  # the absent class counts as if it had one label
    rates = sampling_rates(counts, 1 / 3)
    assert rates.tolist() == pytest.approx([0.1 ** (1 / 3), 0.1, 1.0, 0.01 ** (1 / 3)])
    assert sampling_rates(torch.tensor([5, 5]), 0.5).tolist() == [1, 1]
    generator = torch.Generator().manual_seed(0)
    confidence, predicted = torch.rand(60, generator=generator), torch.randint(3, (60,), generator=generator)
    confidence = (10 * confidence).round() / 10  # many are equal, and go by their rows
    rates, chosen = torch.tensor([0.3, 1.0, 0.5, 1.0], dtype=torch.float64), []
    for k, rate in enumerate(rates.tolist()):
        rows = sorted((row for row in range(60) if predicted[row] == k), key=lambda row: -confidence[row])
        chosen += rows[: int(rate * len(rows))]
    assert sampled(confidence, predicted, rates).tolist() == sorted(chosen) and 0 < len(chosen) < 60
    assert sampled(confidence[:0], predicted[:0], rates).tolist() == []
    assert (
        len(sampled(torch.rand(100), torch.zeros(100, dtype=torch.int64), torch.tensor([0.29], dtype=torch.float64)))
        == 29
    )


@pytest.mark.parametrize(("generation", "aligned"), [(0, True), (2, True), (3, True), (1, False)])
def test_loss_gradient_and_running_mean(generation: int, aligned: bool) -> None:
    strategy = CReST(generations=4, temperature=0.4, threshold=0.6, weight=0.5, decay=0.7, align=aligned)
    module = identity(strategy)
    strategy.counts_, strategy.generation_ = torch.tensor([60, 30, 10]), generation
    seen, power = [1 / 3] * 3, 1 - 0.6 * generation / 3
    wanted = [c**power / sum(d**power for d in (0.6, 0.3, 0.1)) for c in (0.6, 0.3, 0.1)]
    for step in range(2):
        labeled, weak, strong = inputs = logits(4, 30, 30, seed=step)
        target = torch.tensor([0, 1, 2, 0])
        loss, _, outputs = module.strategy.loss(module, batch(labeled, target, step, weak=weak, strong=strong))
        p, terms = weak.detach().softmax(1), []
        for row, x in zip(p.tolist(), strong, strict=True):
            q = [a * w / s for a, w, s in zip(row, wanted, seen, strict=True)] if aligned else row
            q = [a / sum(q) for a in q]
            if max(q) >= 0.6:
                terms.append(-x.log_softmax(0)[q.index(max(q))])
        supervised = torch.stack(cross_entropies(labeled, target)).mean()
        assert_same(loss, supervised + 0.5 * torch.stack(terms).sum() / 30, inputs)
        assert int(outputs["mask"].sum()) == len(terms) < 30 and outputs["target"].dtype == torch.int64
        seen = [0.7 * a + 0.3 * b for a, b in zip(seen, p.mean(0).tolist(), strict=True)]
        assert strategy.seen_.tolist() == pytest.approx(seen)


class Watch(pl.Callback):
    """Keeps the weights that each generation begins with and its images' labels, and what is predicted at its end."""

    def __init__(self) -> None:
        self.begun: list[dict[str, Tensor]] = []
        self.labels: list[Tensor] = []
        self.p: list[Tensor] = []

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        self.begun.append(weights(pl_module.network))
        self.labels.append(trainer.datamodule.training_pool.labels)

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        self.p.append(torch.cat([p for _, p in predict(pl_module, trainer.datamodule.pools.without_label, 16)]))


def test_a_generation_begins_anew_with_what_the_one_before_has_added() -> None:
    data, watch = Blobs(imbalance=4, augmentation="weak"), Watch()
    strategy = CReST(generations=3, threshold=0.4, ratio=2, ema_decay=0.9)
    module = classifier(data, strategy)
    trainer(1, limit_val_batches=0, callbacks=[watch]).fit(module, data)
    given = data.pools.labeled.labels
    assert strategy.generation_ == 2 and torch.equal(watch.labels[0], given)
    assert same(watch.begun[0], watch.begun[1]) and same(watch.begun[0], watch.begun[2])
    rates = sampling_rates(given.bincount(minlength=3), 1 / 3)
    for labels, p in zip(watch.labels[1:], watch.p, strict=False):
        confidence, predicted = p.max(1)
        rows = sampled(confidence, predicted, rates)
        assert 0 < len(rows) < len(p) and torch.equal(labels, torch.cat([given, predicted[rows]]))
    assert torch.equal(strategy.rows_, rows)
