"""Noisy student: what a teacher labels, what a student's loss is, and that every student begins anew."""

from __future__ import annotations

import math
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from helpers import Blobs, classifier, same, trainer, weights
from torch import Tensor

from semisup.errors import InputError
from semisup.predict import predict
from semisup.selection import Candidates
from strategies.noisystudent import NoisyStudent, balanced, selected


def test_the_best_of_each_class_are_selected_and_repeated_until_classes_are_even() -> None:
    generator = torch.Generator().manual_seed(0)
    confidence, predicted = torch.rand(40, generator=generator), torch.randint(4, (40,), generator=generator)
    predicted[predicted == 3] = 0  # one class is predicted of no image
    candidates = Candidates(torch.arange(40), confidence, predicted, predicted)
    chosen = []
    for k in range(4):
        of_k = [row for row in range(40) if predicted[row] == k and confidence[row] >= 0.3]
        chosen += sorted(of_k, key=lambda row: -confidence[row])[:6]
    places = selected(candidates, 0.3, 6, 4)
    assert places.tolist() == sorted(chosen)
    even = balanced(predicted[places])
    counts = predicted[places][even].bincount(minlength=4)
    most = max(sum(predicted[row] == k for row in chosen) for k in range(4))
    assert counts.tolist() == [most, most, most, 0] and set(even.tolist()) == set(range(len(places)))
    assert balanced(torch.tensor([2, 0, 2, 2])).tolist() == [1, 1, 1, 0, 2, 3]
    assert balanced(torch.empty(0, dtype=torch.int64)).tolist() == []


class Watch(pl.Callback):
    """Keeps a batch of every phase, the weights that it begins with, and what its teacher predicts."""

    def __init__(self) -> None:
        self.batches: list[Any] = []
        self.begun: list[dict[str, Tensor]] = []
        self.p: list[Tensor] = []

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, idx: int) -> None:
        if pl_module.epoch == 0 and idx == 0:
            self.batches.append(batch)
            self.begun.append(weights(pl_module.network))

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        if pl_module.epoch == 1:
            pool = trainer.datamodule.pools.without_label
            self.p.append(torch.cat([p for _, p in predict(pl_module, pool, 16)]))


@pytest.mark.parametrize("soft", [True, False])
def test_a_student_begins_anew_and_learns_from_the_one_before(soft: bool) -> None:
    data, watch = Blobs(), Watch()
    strategy = NoisyStudent(generations=2, threshold=0.4, balance=False, soft=soft, ratio=2)
    module = classifier(data, strategy)
    trainer(2, limit_val_batches=0, callbacks=[watch]).fit(module, data)
    assert len(watch.batches) == 3 and watch.batches[0].unlabeled is None
    assert same(watch.begun[0], watch.begun[1]) and same(watch.begun[0], watch.begun[2])
    for batch, p in zip(watch.batches[1:], watch.p, strict=False):
        rows = batch.unlabeled.index
        assert len(rows) == 24 and (p[rows].max(1).values >= 0.4).all()
        assert torch.equal(batch.unlabeled.target, p[rows] if soft else p[rows].argmax(1))
    confidence = watch.p[1].max(1).values
    assert torch.equal(strategy.rows_, (confidence >= 0.4).nonzero()[:, 0])

    module.eval()  # no dropout, and no statistics of the batch
    labeled, unlabeled = watch.batches[1].labeled, watch.batches[1].unlabeled
    loss, metrics = strategy.loss(module, watch.batches[1])[:2]
    naive = torch.zeros(())
    for samples in (labeled, unlabeled):
        for image, target in zip(samples.views["strong"], samples.target, strict=True):
            log_p = module(image[None]).log_softmax(1)[0]
            each = -(target * log_p).sum() if target.ndim else -log_p[int(target)]
            naive = naive + each / len(samples)
    torch.testing.assert_close(loss, naive, rtol=1e-4, atol=1e-5)
    parameters = list(module.network.parameters())
    for one, other in zip(torch.autograd.grad(loss, parameters), torch.autograd.grad(naive, parameters), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)
    assert math.isclose(float(metrics["loss_labeled"] + metrics["loss_student"]), float(loss), rel_tol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"generations": 0}, "noisystudent.generations is 0, but must be at least 1"),
        ({"ratio": 0}, "noisystudent.ratio is 0, but must be at least 1"),
        ({"per_class": -1}, "noisystudent.per_class is -1, but must be at least 0"),
        ({"threshold": 1.5}, "noisystudent.threshold is 1.5, but must be from 0 to 1"),
        ({"weight": -1.0}, "noisystudent.weight is -1.0, but must be at least 0"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        NoisyStudent(**options)
