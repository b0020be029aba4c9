"""Curriculum labeling: cycles, against training each of them by itself."""

from __future__ import annotations

from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from helpers import Blobs, classifier, same, trainer, weights
from torch import Tensor

from semisup.errors import InputError
from semisup.predict import predict
from semisup.strategy import LossStrategy, Phase
from strategies.curriculum import CurriculumLabeling


class Ends(pl.Callback):
    """Keeps the weights at the end of every cycle."""

    def __init__(self) -> None:
        self.weights: list[dict[str, Tensor]] = []

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        if pl_module.epoch == 1:
            self.weights.append(weights(pl_module.network))


class On(LossStrategy):
    """Trains on the labeled images and on some others, with these labels."""

    def __init__(self, rows: Tensor, labels: Tensor) -> None:
        self.rows, self.labels = rows, labels

    def phases(self, module: Any) -> list[Phase]:
        return [Phase(labeled=self.union if len(self.rows) else None)]

    def union(self, module: Any) -> Any:
        pools = module.datamodule.pools
        both = pools.labeled.followed_by(pools.without_label.at(self.rows.numpy()))
        return both.with_labels(torch.cat([pools.labeled.labels, self.labels]))

    def loss(self, module: Any, batch: Any) -> Any:
        return module.labeled_loss(module(batch.labeled.views["weak"]), batch.labeled.target), {}


def test_every_cycle_is_a_training_on_what_the_one_before_is_most_confident_of() -> None:
    """Of 90 images 36, 72 and all of them, each time by a naive loop over separate fits."""
    data, ends, strategy = Blobs(augmentation="weak"), Ends(), CurriculumLabeling(step=40)
    trainer(2, limit_val_batches=0, callbacks=[ends]).fit(classifier(data, strategy), data)
    rows, labels = torch.empty(0, dtype=torch.int64), torch.empty(0, dtype=torch.int64)
    for count, end in zip((36, 72, 90, 0), ends.weights, strict=True):
        again = Blobs(augmentation="weak")
        module = classifier(again, On(rows, labels))
        trainer(2, limit_val_batches=0).fit(module, again)
        assert same(weights(module.network), end)
        if count:
            assert again.pools.without_label is not None
            confidence, predicted = torch.cat([p for _, p in predict(module, again.pools.without_label, 16)]).max(1)
            ranked = sorted(range(90), key=lambda row: (-confidence[row].item(), row))
            rows = torch.tensor(sorted(ranked[:count]))
            labels = predicted[rows]
    assert torch.equal(strategy.rows_, rows) and torch.equal(strategy.targets_, labels)
    assert strategy.summary().startswith("90 unlabeled images were trained on by a pseudo-label")


def test_the_papers_steps_make_six_trainings() -> None:
    phases = CurriculumLabeling().phases(classifier(Blobs()))
    assert [phase.restart for phase in phases] == [False] + [True] * 5
    assert len(CurriculumLabeling(step=30).phases(classifier(Blobs()))) == 5
    assert not any(phase.restart for phase in CurriculumLabeling(restart=False).phases(classifier(Blobs())))


@pytest.mark.parametrize("step", [0, 101])
def test_a_step_out_of_range_is_refused(step: int) -> None:
    with pytest.raises(InputError, match=f"curriculum.step is {step}, but must be from 1 to 100"):
        CurriculumLabeling(step=step)
