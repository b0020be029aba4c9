"""The moving average against its closed form, and where it is used."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from helpers import Blobs, classifier, same, trainer, weights
from torch import nn

from datamodules.digits import Digits
from semisup.classifier import Classifier
from semisup.models.ema import EMA
from semisup.models.modes import evaluation_mode
from semisup.runs import checkpoint_file
from semisup.strategy import LossStrategy
from strategies.fixmatch import FixMatch
from strategies.supervised import Supervised


@pytest.mark.parametrize(("decay", "updates"), [(0.3, 9), (0.05, 9), (0.999, 130)])
def test_weights_and_statistics_follow_the_closed_form(decay: float, updates: int) -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    network.register_buffer("state", torch.zeros(3, dtype=torch.float16))
    ema = EMA(network, decay)
    generator = torch.Generator().manual_seed(0)
    history = [weights(network)]
    for _ in range(updates):
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(torch.randn(parameter.shape, generator=generator))
        network.state += 1
        network(torch.randn(4, 1, 5, 5, generator=generator))  # moves batch normalisation's statistics
        history.append(weights(network))
        ema.update(network)

    def shares(early: int) -> list[float]:
        """What the average is made of: the weights that it began with, and those of every update."""
        keep = [min(decay, (1 + k) / ((early if k < 100 else 10) + k)) for k in range(updates)]
        return [math.prod(keep)] + [(1 - d) * math.prod(keep[k + 1 :]) for k, d in enumerate(keep)]

    copied = {"state", "1.num_batches_tracked"}
    for name, value in ema.average.state_dict().items():
        if name in copied:
            assert torch.equal(value, history[-1][name])
        else:
            made_of = shares(100 if "running" in name else 10)
            assert sum(made_of) == pytest.approx(1)
            expected = sum(share * past[name].double() for share, past in zip(made_of, history, strict=True))
            torch.testing.assert_close(value.double(), expected, rtol=1e-5, atol=1e-6)
    assert int(ema.average[1].num_batches_tracked) == updates


def test_the_decay_is_warmed_up() -> None:
    """What is left of the weights that the average began with: the product of (1 + k) / (10 + k) is 1 / C(n + 9, 9)."""
    network = nn.Linear(1, 1, bias=False)  # it has no buffers
    nn.init.ones_(network.weight)
    ema = EMA(network, 0.999)
    short = EMA(network, 0.5)
    nn.init.zeros_(network.weight)
    for n in range(1, 31):
        ema.update(network)
        short.update(network)
        assert float(ema.average.weight) == pytest.approx(1 / math.comb(n + 9, 9), rel=1e-5)
        # (1 + k) / (10 + k) is half from k = 8 on.
        left = 1 / math.comb(min(n, 8) + 9, 9) * 0.5 ** max(0, n - 8)
        assert float(short.average.weight) == pytest.approx(left, rel=1e-5)


def test_what_does_not_move_stays_to_the_bit() -> None:
    frozen = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)).eval().requires_grad_(False)
    nn.init.uniform_(frozen[0].weight)
    ema, before = EMA(frozen, 0.9), weights(frozen)
    for _ in range(20):
        ema.update(frozen)
    assert same(before, weights(ema.average))
    EMA(nn.Identity(), 0.9).update(nn.Identity())  # nothing to follow


@pytest.mark.parametrize("strategy", [Supervised, partial(FixMatch, ratio=1)], ids=["supervised", "fixmatch"])
def test_an_average_of_a_short_run_is_not_worse_than_the_weights(strategy: Callable[..., LossStrategy]) -> None:
    """With a decay that looks back further than the run is long, and batch normalisation."""
    data = Digits(batch_size=32, steps_per_epoch=150)
    module = classifier(data, strategy(ema_decay=0.999))
    trainer(1, limit_val_batches=0).fit(module, data)
    assert module.ema is not None
    pool = data.pools.test
    assert pool is not None
    images, labels = pool.gather(torch.arange(len(pool))).float() / 255, torch.as_tensor(pool.labels)

    def accuracy(network: nn.Module) -> float:
        with evaluation_mode(network):
            return float((network(images).argmax(1) == labels).float().mean())

    assert accuracy(module.network) > 0.7
    assert accuracy(module.ema) > accuracy(module.network) - 0.01


def test_the_average_stays_in_evaluation_mode_and_is_not_trained() -> None:
    ema = EMA(nn.Sequential(nn.BatchNorm1d(2), nn.Dropout()), 0.5)
    ema.train()
    assert not any(module.training for module in ema.modules())
    before = weights(ema)
    ema(torch.randn(8, 2))
    assert same(before, weights(ema))
    assert not any(parameter.requires_grad for parameter in ema.parameters())


def test_the_average_evaluates_and_is_in_the_checkpoint(tmp_path: Path) -> None:
    data = Blobs()
    module, fit = classifier(data, Supervised(ema_decay=0.7)), trainer(3)
    fit.fit(module, data)
    assert module.ema is not None and module.ema.decay == 0.7
    images = torch.rand(5, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    module.eval()
    assert torch.equal(module.evaluate(images), module.ema.average(images))
    assert not torch.allclose(module.evaluate(images), module.network(images))
    fit.save_checkpoint(tmp_path / "x.ckpt")
    restored = Classifier.from_checkpoint(tmp_path / "x.ckpt").eval()
    assert torch.equal(restored.evaluate(images), module.evaluate(images))
    assert torch.equal(restored.network(images), module.network(images))


def test_the_average_moves_once_for_every_step_of_the_optimiser() -> None:
    moved = []

    class Counting(EMA):
        def update(self, network: nn.Module) -> None:
            moved.append(1)
            super().update(network)

    class Averaged(Classifier):
        def start_ema(self, decay: float) -> None:
            self.ema = Counting(self.network, decay)

    data = Blobs(steps_per_epoch=6)
    fit = trainer(2, accumulate_grad_batches=3)
    fit.fit(Averaged(data.spec), data)
    assert len(moved) == fit.global_step == 4


def test_the_count_of_updates_is_in_the_checkpoint(tmp_path: Path) -> None:
    data = Blobs()
    module, fit = classifier(data, Supervised(ema_decay=0.9)), trainer(3)
    fit.fit(module, data)
    assert module.ema is not None and module.ema.updates == fit.global_step == 12
    fit.save_checkpoint(tmp_path / "new.ckpt")
    old = torch.load(tmp_path / "new.ckpt")
    del old["state_dict"]["ema._extra_state"]  # as checkpoints were when nothing counted
    checkpoint_file.seal(old)
    torch.save(old, tmp_path / "old.ckpt")
    images = torch.rand(5, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    ends = []
    for name in ("new", "old"):
        restored = Classifier.from_checkpoint(tmp_path / f"{name}.ckpt").eval()
        assert torch.equal(restored.evaluate(images), module.eval().evaluate(images))
        data = Blobs()
        resumed = classifier(data, Supervised(ema_decay=0.9))
        trainer(5).fit(resumed, data, ckpt_path=tmp_path / f"{name}.ckpt", weights_only=True)
        assert resumed.ema is not None and resumed.ema.updates == 20
        ends.append(weights(resumed))
    assert same(*ends)


def test_without_a_decay_the_network_itself_evaluates() -> None:
    data = Blobs()
    module = classifier(data, Supervised())
    trainer(1).fit(module, data)
    module.eval()
    images = torch.rand(5, 1, 8, 8)
    assert module.ema is None and torch.equal(module.evaluate(images), module(images))
