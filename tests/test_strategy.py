"""The contract: who owns the loss, in which order the hooks run, and a strategy written by its documentation."""

from __future__ import annotations

from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from helpers import Blobs, classifier, same, trainer, weights

from semisup.batch import UNLABELED, Batch, Needs
from semisup.classifier import Classifier
from semisup.composition import Composition
from semisup.errors import InputError
from semisup.strategy import Loss, LossStrategy, Strategy
from strategies.supervised import Supervised


class Entropy(LossStrategy):
    """The strategy that the documentation of semisup/strategy.py shows."""

    def __init__(self, weight: float = 0.1) -> None:
        self.weight = weight
        self.needs = Needs(unlabeled_views=("weak",), unlabeled_ratio=2)
        self.seen: list[Batch] = []

    def loss(self, module: Classifier, batch: Batch) -> Loss:
        self.seen.append(batch)
        supervised = F.cross_entropy(module(batch.labeled.views["weak"]), batch.labeled.target)
        assert batch.unlabeled is not None
        p = module(batch.unlabeled.views["weak"]).softmax(1)
        entropy = -(p * p.log()).sum(1).mean()
        return supervised + self.weight * entropy, {"entropy": entropy}


class Note(Strategy):
    """Writes down that its hook ran."""

    def __init__(self, name: str, notes: list[str]) -> None:
        self.name, self.notes = name, notes

    @property
    def state_key(self) -> str:
        return self.name

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.notes.append(self.name)


class First(Note):
    pass


class Second(Note):
    pass


def test_a_strategy_gets_what_it_needs_and_its_metrics_are_logged() -> None:
    data, strategy = Blobs(), Entropy()
    module, fit = classifier(data, strategy), trainer(1)
    fit.fit(module, data)
    assert len(strategy.seen) == 4
    for batch in strategy.seen:
        assert batch.labeled.views["weak"].shape == (12, 1, 8, 8)
        assert batch.unlabeled is not None
        assert batch.unlabeled.views["weak"].shape == (24, 1, 8, 8)
        assert torch.equal(batch.unlabeled.views["weak"], batch.unlabeled.image / 255)
        assert (batch.unlabeled.target == UNLABELED).all()
        assert (batch.labeled.target >= 0).all()
    assert 0 < fit.callback_metrics["train/entropy"] < 1.1


def test_hooks_run_in_the_order_given() -> None:
    notes: list[str] = []
    data = Blobs()
    parts: dict[str, Strategy] = {"b": Second("b", notes), "a": First("a", notes)}
    trainer(2).fit(Classifier(data.spec, Composition(parts)), data)
    assert notes == ["b", "a", "b", "a"]


def test_two_owners_of_the_loss_are_refused_by_name() -> None:
    with pytest.raises(InputError, match="supervised and entropy each own the loss"):
        Composition({"supervised": Supervised(), "entropy": Entropy()})


def test_one_owner_among_several_parts_decides_the_needs() -> None:
    entropy = Entropy()
    composition = Composition({"note": First("note", []), "entropy": entropy})
    assert composition.owner is entropy and composition.needs == entropy.needs
    assert composition.name == "note+entropy"


def test_without_an_owner_training_is_supervised() -> None:
    results = []
    for strategy in (First("note", []), Supervised()):
        data = Blobs()
        module = classifier(data, strategy)
        trainer(2).fit(module, data)
        results.append(weights(module))
    assert same(*results)


def test_unlabeled_images_that_are_not_there_are_asked_for() -> None:
    class Bare(Blobs):
        def read(self):  # type: ignore[no-untyped-def]
            pools = super().read()
            pools.unlabeled = pools.hidden_labels = None
            return pools

    data = Bare()
    with pytest.raises(InputError, match="needs unlabeled images and blobs has none"):
        trainer(1).fit(classifier(data, Entropy()), data)


def test_the_strategy_of_the_readme_is_the_one_that_is_tested() -> None:
    tests = Path(__file__).parent
    code = (tests / "stranger_strategy.py").read_text()
    assert code[code.index("import torch") :] in (tests.parent / "docs" / "extend.md").read_text()
