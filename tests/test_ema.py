"""The moving average against its closed form, and where it is used."""

from __future__ import annotations

from pathlib import Path

import torch
from helpers import Blobs, classifier, same, trainer, weights
from torch import nn

from semisup.classifier import Classifier
from semisup.models.ema import EMA
from strategies.supervised import Supervised


def test_parameters_and_buffers_follow_the_closed_form() -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    ema = EMA(network, 0.9)
    expected = {name: value.clone().double() for name, value in network.state_dict().items()}
    generator = torch.Generator().manual_seed(0)
    for _ in range(5):
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(torch.randn(parameter.shape, generator=generator))
        network(torch.randn(4, 1, 5, 5, generator=generator))  # moves batch normalisation's buffers
        ema.update(network)
        for name, value in network.state_dict().items():
            expected[name] = value if name.endswith("tracked") else 0.9 * expected[name] + 0.1 * value
    for name, value in ema.average.state_dict().items():
        assert torch.allclose(value.double(), expected[name].double(), rtol=1e-5), name
    assert int(ema.average[1].num_batches_tracked) == 5


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
    assert not torch.allclose(module.evaluate(images), module(images))
    fit.save_checkpoint(tmp_path / "x.ckpt")
    restored = Classifier.from_checkpoint(tmp_path / "x.ckpt").eval()
    assert torch.equal(restored.evaluate(images), module.evaluate(images))
    assert torch.equal(restored(images), module(images))


def test_the_average_moves_once_for_every_step_of_the_optimiser() -> None:
    moved = []

    class Counting(EMA):
        def update(self, network: nn.Module) -> None:
            moved.append(1)
            super().update(network)

    class Averaged(Classifier):
        def follow(self, decay: float) -> None:
            self.ema = Counting(self.network, decay)

    data = Blobs(steps_per_epoch=6)
    fit = trainer(2, accumulate_grad_batches=3)
    fit.fit(Averaged(data.spec), data)
    assert len(moved) == fit.global_step == 4


def test_without_a_decay_the_network_itself_evaluates() -> None:
    data = Blobs()
    module = classifier(data, Supervised())
    trainer(1).fit(module, data)
    module.eval()
    images = torch.rand(5, 1, 8, 8)
    assert module.ema is None and torch.equal(module.evaluate(images), module(images))
