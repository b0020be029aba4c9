"""Optimisers by name, parameter groups, and schedules against their formulas."""

from __future__ import annotations

import inspect
import math
from typing import Any

import pytest
import torch
from helpers import Blobs, classifier, trainer, weights
from jsonargparse import ArgumentParser
from torch import nn

from semisup.classifier import OptimizerOptions
from semisup.errors import InputError
from semisup.models import optim
from semisup.models.optim import Constant, Cosine, Halving, build_optimizer, constant, cosine, halving
from semisup.plugins import source


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3)
        self.norm = nn.BatchNorm2d(2)
        self.layer_norm = nn.LayerNorm((2, 4, 4))  # its parameters have three dimensions
        self.frozen = nn.Linear(2, 2)
        self.head = nn.Linear(2, 3)
        self.tied = self.head
        self.frozen.requires_grad_(False)


DECAYED = ["conv.weight", "head.weight"]
NOT_DECAYED = ["conv.bias", "norm.weight", "norm.bias", "layer_norm.weight", "layer_norm.bias", "head.bias"]


def names(network: nn.Module, group: dict[str, Any]) -> list[str]:
    known = {id(parameter): name for name, parameter in network.named_parameters()}
    return [known[id(parameter)] for parameter in group["params"]]


def test_weight_decay_spares_norms_and_biases() -> None:
    network = Network()
    optimizer = build_optimizer("SGD", network, {"lr": 0.1, "weight_decay": 0.5}, decay_norm_and_bias=False)
    decay, no_decay = optimizer.param_groups
    assert (names(network, decay), decay["weight_decay"], decay["lr"]) == (DECAYED, 0.5, 0.1)
    assert (names(network, no_decay), no_decay["weight_decay"], no_decay["lr"]) == (NOT_DECAYED, 0, 0.1)


def test_weight_decay_of_everything() -> None:
    network = Network()
    (group,) = build_optimizer("sgd", network, {"weight_decay": 0.5}, decay_norm_and_bias=True).param_groups
    assert sorted(names(network, group)) == sorted(DECAYED + NOT_DECAYED)
    assert group["weight_decay"] == 0.5


def test_default_weight_decay_spares_them_too() -> None:
    decay, no_decay = build_optimizer("adamw", Network(), {}, decay_norm_and_bias=False).param_groups
    assert (decay["weight_decay"], no_decay["weight_decay"]) == (0.01, 0)


def test_a_step_moves_only_what_is_decayed() -> None:
    network = Network()
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    optimizer = build_optimizer("sgd", network, {"lr": 1.0, "weight_decay": 0.25}, decay_norm_and_bias=False)
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for name, parameter in network.named_parameters():
        torch.testing.assert_close(parameter, before[name] * (0.75 if name in DECAYED else 1))


@pytest.mark.parametrize(
    ("name", "cls"),
    [("SGD", torch.optim.SGD), ("adam", torch.optim.Adam), ("ADAMW", torch.optim.AdamW), ("lbfgs", torch.optim.LBFGS)],
)
def test_any_optimizer_in_any_case(name: str, cls: type[torch.optim.Optimizer]) -> None:
    assert type(build_optimizer(name, Network(), {"lr": 0.1}, decay_norm_and_bias=False)) is cls


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("sdg", {}, "no optimizer 'sdg'; did you mean 'sgd'"),
        ("optimizer", {}, "no optimizer 'optimizer'"),
        ("sgd", {"momentumm": 0.9}, "SGD has no option 'momentumm'; did you mean 'momentum'"),
        ("sgd", {"params": []}, "SGD has no option 'params'"),
        ("sgd", {"lr": -1.0}, "SGD can't train this network: [Ii]nvalid learning rate"),
    ],
)
def test_optimizer_refusals(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        build_optimizer(name, Network(), options, decay_norm_and_bias=False)


def test_nothing_to_train() -> None:
    with pytest.raises(InputError, match="nothing to train"):
        build_optimizer("sgd", Network().requires_grad_(False), {}, decay_norm_and_bias=True)


@pytest.mark.parametrize("k", [0, 1, 500, 1023, 1024])
def test_cosine_is_fixmatchs(k: int) -> None:
    assert cosine(k, 1024) == pytest.approx(math.cos(7 * math.pi * k / (16 * 1024)), abs=1e-15)
    assert Cosine().factor(k, 1024, 10) == cosine(k, 1024)


def test_cosine_ends() -> None:
    assert cosine(1024, 1024) == pytest.approx(0.19509032201612825)  # sin(pi / 16)
    assert cosine(2000, 1024) == cosine(1024, 1024)
    assert cosine(512, 1024, cycles=0.5) == pytest.approx(math.sqrt(0.5))
    assert cosine(1024, 1024, cycles=0.5) == pytest.approx(0, abs=1e-15)


def test_warmup_rises_linearly_then_the_cosine_takes_the_rest() -> None:
    schedule = Cosine(cycles=0.5, warmup_steps=4)
    factors = [schedule.factor(step, 12, 1) for step in range(13)]
    assert factors[:4] == [0, 0.25, 0.5, 0.75]
    assert factors[4:] == pytest.approx([math.cos(math.pi / 2 * k / 8) for k in range(9)])


def test_halving_against_a_loop_over_steps() -> None:
    rate, steps_per_epoch = 1.0, 3
    for epoch in range(80):
        if epoch + 1 in (25, 50, 75):  # counted from 1, before whose first step the course's code halved
            rate /= 2
        for i in range(steps_per_epoch):
            step = epoch * steps_per_epoch + i
            expected = rate / (1 + step * 1e-7)
            assert halving(step, steps_per_epoch) == pytest.approx(expected, rel=1e-15)
            assert Halving().factor(step, 240, steps_per_epoch) == pytest.approx(expected, rel=1e-15)


def test_halving_with_other_numbers() -> None:
    factors = [Halving(every_epochs=2, gamma=0.1, decay=0.5).factor(step, 8, 2) for step in (0, 1, 2, 5, 6)]
    assert factors == pytest.approx([1, 1 / 1.5, 0.1 / 2, 0.1 / 3.5, 0.01 / 4])


def test_constant() -> None:
    assert {constant(step) for step in range(5)} == {Constant().factor(step, 5, 1) for step in range(5)} == {1.0}


@pytest.mark.parametrize(
    ("cls", "options", "named"),
    [
        (Cosine, {"cycles": 0.0}, "lr_scheduler.cycles is 0.0"),
        (Cosine, {"cycles": 0.6}, "lr_scheduler.cycles is 0.6"),
        (Cosine, {"cycles": math.nan}, "lr_scheduler.cycles is nan"),
        (Cosine, {"warmup_steps": -1}, "lr_scheduler.warmup_steps is -1"),
        (Halving, {"every_epochs": 0}, "lr_scheduler.every_epochs is 0"),
        (Halving, {"gamma": 0.0}, "lr_scheduler.gamma is 0.0"),
        (Halving, {"gamma": 1.5}, "lr_scheduler.gamma is 1.5"),
        (Halving, {"decay": -0.1}, "lr_scheduler.decay is -0.1"),
    ],
)
def test_schedule_refusals(cls: type, options: dict[str, float], named: str) -> None:
    with pytest.raises(InputError, match=named):
        cls(**options)


@pytest.mark.parametrize(("warmup", "total"), [(10, 10), (0, 0), (0, -1)])
def test_training_must_be_longer_than_the_warmup(warmup: int, total: int) -> None:
    with pytest.raises(InputError, match=f"lr_scheduler.warmup_steps is {warmup} but the training has {total} steps"):
        Cosine(warmup_steps=warmup).factor(0, total, 1)


@pytest.mark.parametrize(
    ("name", "arguments", "expected"),
    [
        ("cosine", ["--lr_scheduler.cycles=0.5", "--lr_scheduler.warmup_steps=3"], Cosine(0.5, 3)),
        ("halving", ["--lr_scheduler.gamma=0.1"], Halving(gamma=0.1)),
        ("constant", [], Constant()),
    ],
)
def test_schedules_have_their_own_options_on_the_command_line(name: str, arguments: list[str], expected: Any) -> None:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(optim.SCHEDULES[name], "lr_scheduler")
    values = parser.parse_args(arguments).get("lr_scheduler")
    assert optim.SCHEDULES[name](**(vars(values) if values else {})) == expected


@pytest.mark.parametrize("name", ["cosine", "halving", "constant"])
def test_every_option_has_its_help_in_the_docstring(name: str) -> None:
    cls = optim.SCHEDULES[name]
    described = source.describe(f"semisup.models.optim:{cls.__name__}")
    assert [option.name for option in described.options] == list(inspect.signature(cls).parameters)
    assert [option.name for option in described.options if not option.help] == []
    assert described.summary.endswith(".")


ALL = sorted(
    cls.__name__
    for cls in vars(torch.optim).values()
    if isinstance(cls, type) and issubclass(cls, torch.optim.Optimizer) and cls is not torch.optim.Optimizer
)
REFUSED = {"Muon": "only supports 2D parameters", "SparseAdam": "does not support dense gradients"}


@pytest.mark.parametrize("name", ALL)
def test_every_optimizer_of_torch_trains_or_is_one_clear_error(name: str) -> None:
    data = Blobs()
    module = classifier(data, optimizer=OptimizerOptions(name, {"lr": 0.001}))
    before, fitting = weights(module), trainer(1)
    if name in REFUSED:
        with pytest.raises(InputError, match=f"the optimizer {name} can't train this network: .*{REFUSED[name]}"):
            fitting.fit(module, data)
        assert fitting.global_step == 0
    else:
        fitting.fit(module, data)
        changed = [
            key for key, x in weights(module).items() if key.endswith("weight") and not torch.equal(x, before[key])
        ]
        assert fitting.global_step == 4 and changed


SWITCHES = ("foreach", "fused", "capturable", "differentiable", "maximize", "amsgrad", "nesterov", "centered")


@pytest.mark.parametrize("name", ALL)
def test_every_switch_of_every_optimizer_trains_or_is_one_clear_error(name: str) -> None:
    """A step that `build_optimizer` promises can be taken, and what it refuses is refused before any was."""
    switches = [switch for switch in SWITCHES if switch in inspect.signature(getattr(torch.optim, name)).parameters]
    for switch in switches:
        layers = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(3, 2))
        layers.to(memory_format=torch.channels_last)
        try:
            optimizer = build_optimizer(name, layers, {"lr": 0.01, switch: True}, decay_norm_and_bias=False)
        except InputError as error:
            assert switch in ("capturable", "differentiable", "nesterov") or name in REFUSED, error
            continue

        def closure(layers: nn.Module = layers, optimizer: torch.optim.Optimizer = optimizer) -> float:
            optimizer.zero_grad()
            loss = layers(torch.ones(2, 2, 3, 3).contiguous(memory_format=torch.channels_last)).square().mean()
            loss.backward()
            return float(loss)

        optimizer.step(closure)
        assert all(parameter.isfinite().all() for parameter in layers.parameters())
