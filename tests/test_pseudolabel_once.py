"""Pseudo-labels once, after a whole training: what the second one is served, and classes that vanish."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from helpers import Blobs, probabilities, same, trainer, weights

from semisup import selection
from semisup.batch import Batch
from semisup.classifier import Classifier
from semisup.composition import Composition
from semisup.errors import InputError
from strategies.kmeans import KMeans
from strategies.pseudolabel import PseudoLabel, vanishing


class Served(pl.Callback):
    """Keeps which images every epoch trained on and as what, and the weights that evaluate at the end of the first."""

    def __init__(self) -> None:
        self.epochs: list[list[tuple[int, int]]] = []
        self.p = torch.empty(0)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self.epochs.append([])

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Batch, idx: int) -> None:
        assert batch.unlabeled is None
        self.epochs[-1] += zip(batch.labeled.index.tolist(), batch.labeled.target.tolist(), strict=True)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        if len(self.epochs) == 2:
            self.p = probabilities(pl_module, trainer.datamodule)  # type: ignore[attr-defined]


def after_training(data: Blobs, parts: dict[str, Any] | None = None, **options: Any) -> tuple[PseudoLabel, Any, Served]:
    strategy, served = PseudoLabel(**{"after": "training", "rule": "top_k_overall", "top_k": 24, **options}), Served()
    module = Classifier(data.spec, Composition({**(parts or {}), "pseudolabel": strategy}))
    trainer(2, callbacks=[served]).fit(module, data)
    return strategy, module, served


@pytest.mark.parametrize("rule", ["top_k_overall", "top_k_per_class"])
def test_after_the_training_every_image_of_the_union_comes_once_an_epoch(rule: Any) -> None:
    data = Blobs(augmentation="weak")
    strategy, _, served = after_training(data, rule=rule, top_k=24 if rule == "top_k_overall" else 8)
    confidence, predicted = served.p.max(1)
    selected = selection.top_overall(confidence, 24)
    if rule == "top_k_per_class":
        selected = selection.top_per_class(confidence, predicted, 8, 3)
    assert torch.equal(strategy.rows_, selected) and torch.equal(strategy.targets_, predicted[selected])
    union = [*enumerate(data.pools.labeled.labels.tolist())]
    union += [*enumerate(predicted[selected].tolist(), 12)]
    whole = len(union) // 12 * 12  # images in whole batches
    assert [len(epoch) for epoch in served.epochs] == [48, 48, whole, whole] and len(selected) > 0
    for epoch in served.epochs[2:]:
        assert len(set(epoch)) == whole and set(epoch) <= set(union)
    assert rule == "top_k_per_class" or whole == 36
    count = len(selected)
    said = f"{count} unlabeled images were trained on by a pseudo-label, {count} have one after the last round"
    assert strategy.summary() == said


@pytest.mark.parametrize("restart", [True, False])
def test_the_second_training_begins_anew_or_from_the_trained_weights(
    restart: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Anew also with the filters that k-means has found."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    begun: list[dict[str, torch.Tensor]] = []

    class Look(KMeans):
        def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
            if pl_module.epoch == 0:
                begun.append(weights(pl_module.network))

        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            if pl_module.epoch == 1 and len(begun) == 1:
                begun.append(weights(pl_module.network))

    after_training(Blobs(), {"kmeans": Look(patches_per_image=20)}, restart=restart)
    first, trained, second = begun
    assert same(second, first if restart else trained) and not same(first, trained)


def test_soft_targets_after_the_training_are_refused() -> None:
    with pytest.raises(InputError, match="soft goes with rounds"):
        PseudoLabel(after="training", soft=True)


def test_without_unlabeled_images_the_training_does_not_begin() -> None:
    data = Blobs()
    data.pools.unlabeled = None
    with pytest.raises(InputError, match="pseudolabel needs unlabeled images and blobs has none here"):
        after_training(data)


def test_classes_that_vanish_have_half_as_many_and_half_of_the_share() -> None:
    before = torch.tensor([22, 40, 10, 0, 30])
    assert vanishing(before, torch.tensor([5, 80, 60, 0, 55])) == [0]
    assert vanishing(before, torch.tensor([11, 40, 10, 0, 41])) == [0]
    assert vanishing(before, torch.tensor([11, 20, 5, 0, 15])) == []  # all fell alike
    assert vanishing(before, before) == []
    assert vanishing(torch.empty(0), before) == []  # the first round


def test_a_class_that_vanishes_is_told_in_its_round_and_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr("strategies.pseudolabel.say", said.append)
    strategy = PseudoLabel()
    strategy._names = ("cat", "dog")
    module = SimpleNamespace(
        spec=SimpleNamespace(class_names=("cat", "dog")),
        datamodule=SimpleNamespace(hidden_labels=None),
        log=lambda *a, **k: None,
        log_dict=lambda *a, **k: None,
    )
    strategy.most_ = torch.tensor([22, 60])
    strategy.rows_, strategy.targets_ = torch.arange(105), torch.tensor([0] * 5 + [1] * 100)
    strategy._report(module, 1, 800, torch.zeros(10), torch.tensor([22, 60]))  # type: ignore[arg-type]
    assert said[0].endswith("as 'dog'; fewer of 'cat' from 22 to 5")
    assert strategy.summary().endswith(
        "105 have one after the last round; classes that vanish from them: 'cat' 5, once 22"
    )
