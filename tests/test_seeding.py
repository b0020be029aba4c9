"""What strangers' strategies draw while a training is set up."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from helpers import Blobs, in_two_processes, same, trainer, weights
from torch import Tensor, nn

from semisup.classifier import Classifier
from semisup.composition import Composition
from semisup.strategy import LossStrategy, Strategy
from strategies.supervised import Supervised


class Projecting(Supervised):
    """Makes a layer in its `setup`, draws by every library, and draws again when the training begins."""

    def setup(self, trainer: pl.Trainer, pl_module: Any, stage: str) -> None:
        pl_module.projection = nn.Linear(128, 4)
        self.drawn = [random.random(), float(np.random.rand())]

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.drawn.append(float(torch.rand(())))


class Drawing(Strategy):
    """Draws on rank 0 alone, as what is computed once and sent to the others."""

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if trainer.is_global_zero:
            torch.rand(5), random.random(), np.random.rand()


def made(parts: dict[str, Strategy], seed: int = 0, **options: Any) -> tuple[dict[str, Tensor], list[float]]:
    """The layer as it was made, and what was drawn."""
    data, start = Blobs(), {}

    class Look(pl.Callback):
        def on_fit_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
            start.update(weights(pl_module.projection))

    module = Classifier(data.spec, Composition(parts), seed=seed)
    trainer(1, callbacks=[Look()], limit_train_batches=1, limit_val_batches=0, **options).fit(module, data)
    (owner,) = (part for part in parts.values() if isinstance(part, Projecting))
    return start, owner.drawn


def test_a_layer_made_in_set_up_repeats_itself() -> None:
    first, drawn = made({"projecting": Projecting()})
    torch.rand(3), random.random(), np.random.rand()
    again, drawn_again = made({"projecting": Projecting()})
    assert same(first, again) and drawn == drawn_again
    other, drawn_otherwise = made({"projecting": Projecting()}, seed=1)
    assert not torch.equal(first["weight"], other["weight"])
    assert all(a != b for a, b in zip(drawn, drawn_otherwise, strict=True))


def test_a_layer_does_not_depend_on_what_other_parts_draw() -> None:
    alone, drawn = made({"projecting": Projecting()})
    composed, drawn_composed = made({"drawing": Drawing(), "projecting": Projecting(), "more": Drawing()})
    assert same(alone, composed) and drawn == drawn_composed


def rank(number: int, folder: str, port: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"LOCAL_RANK": str(number), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}.items():
            patch.setenv(name, value)
        torch.manual_seed(number)
        parts: dict[str, Strategy] = {"drawing": Drawing(), "projecting": Projecting(), "more": Drawing()}
        layer, drawn = made(parts, devices=2, strategy="ddp_find_unused_parameters_true")
        torch.save((layer, drawn), Path(folder, f"{number}.pt"))


@pytest.mark.slow
def test_a_layer_is_the_same_on_every_rank(tmp_path: Path) -> None:
    in_two_processes(rank, tmp_path)
    ones, others = (torch.load(tmp_path / f"{number}.pt", weights_only=True) for number in range(2))
    alone = made({"projecting": Projecting()})
    for layer, drawn in (ones, others):
        assert same(layer, alone[0]) and drawn == alone[1]


class Looking(LossStrategy):
    """Supervised, and asks what the weights that evaluate say before it trains, or doesn't."""

    def __init__(self, asks: bool) -> None:
        self.asks, self.answers = asks, []

    def loss(self, module: Any, batch: Any) -> Any:
        images = batch.labeled.views["weak"]
        if self.asks:
            self.answers.append(module.evaluate(images))
        assert module.network.training
        return module.labeled_loss(module(images), batch.labeled.target), {}


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_to_evaluate_in_a_loss_moves_nothing_and_carries_no_gradient(precision: Any) -> None:
    ends = []
    for asks in (False, True):
        data, strategy = Blobs(), Looking(asks)
        module = Classifier(data.spec, Composition({"looking": strategy}))
        trainer(2, precision=precision, limit_val_batches=0).fit(module, data)
        assert len(strategy.answers) == (8 if asks else 0)
        assert not any(answer.requires_grad for answer in strategy.answers)
        ends.append(weights(module.network))
    assert same(*ends)  # batch normalisation's statistics and count included
