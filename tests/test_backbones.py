"""Backbones: structure by hand, outputs against a naive reference, and how sizes and names are refused."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from structure import conv, linear, norm, of_type, on_meta, parameters, pooled_shapes
from torch import nn

from semisup import plugins
from semisup.errors import InputError
from semisup.models import backbones
from semisup.models.backbones import from_torchvision
from semisup.models.backbones.course import Sample, Solution, VGGBNDrop
from semisup.models.backbones.small import Small
from semisup.models.backbones.wideresnet import WideResNet28x2, WideResNet37x2
from semisup.plugins import source

SAMPLE = (3, 64, 128, 256, 256, 256, 256, 256)
VGG = (3, 64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512)
SOLUTION = (3, 64, 64, 128, 128, 256, 256)


@pytest.mark.parametrize(
    ("cls", "widths", "flat", "hidden", "by_hand"),
    [
        (Sample, SAMPLE, 256 * 2 * 2, 256, 2_999_562),
        (VGGBNDrop, VGG, 512 * 3 * 3, 512, 17_089_098),
        (Solution, SOLUTION, 1024, 256, 1_412_682),
    ],
)
def test_course_parameters(cls: type[nn.Module], widths: tuple[int, ...], flat: int, hidden: int, by_hand: int) -> None:
    body = sum(conv(i, o) + norm(o) for i, o in pairwise(widths))
    expected = body + linear(flat, hidden) + norm(hidden) + linear(hidden, 10)
    backbone = on_meta(cls)
    assert parameters(backbone) == expected == by_hand
    assert f"{expected:,}" in (cls.__doc__ or "")
    convolutions = of_type(backbone, nn.Conv2d)
    assert [m.out_channels for m in convolutions] == list(widths[1:])
    assert {(m.kernel_size, m.stride, m.padding) for m in convolutions} == {((3, 3), (1, 1), (1, 1))}
    assert backbone.num_features == hidden


@pytest.mark.parametrize(
    ("cls", "expected"),
    [
        (Sample, [(64, 24, 24), (128, 8, 8), (256, 4, 4), (256, 2, 2)]),
        (VGGBNDrop, [(64, 48, 48), (128, 24, 24), (256, 12, 12), (512, 6, 6), (512, 3, 3)]),
        (Solution, [(64, 32, 32), (128, 8, 8), (256, 2, 2)]),
    ],
)
def test_course_shapes_after_each_group(cls: type[nn.Module], expected: list[tuple[int, ...]]) -> None:
    assert pooled_shapes(on_meta(cls), 3, 96) == expected


def test_course_pools_round_up() -> None:
    networks = (Sample, VGGBNDrop, Solution)
    sides = {cls: [shape[-1] for shape in pooled_shapes(on_meta(cls, 97), 3, 97)] for cls in networks}
    assert sides == {Sample: [25, 9, 5, 3], VGGBNDrop: [49, 25, 13, 7, 4], Solution: [33, 9, 3]}


SMALL = [(Sample, 8), (Sample, 32), (VGGBNDrop, 8), (VGGBNDrop, 32), (Solution, 13), (Solution, 32), (Solution, 48)]


@pytest.mark.parametrize(("cls", "size"), SMALL)
def test_course_at_other_sizes(cls: type[nn.Module], size: int) -> None:
    backbone = cls(1, size).eval()
    assert backbone(torch.rand(2, 1, size, size)).shape == (2, backbone.num_features)


def order(backbone: nn.Module) -> list[str]:
    names = {"Conv2d": "C", "BatchNorm2d": "B", "BatchNorm1d": "b", "ReLU": "R", "Flatten": "F", "Linear": "L"}
    words = []
    for module in backbone.modules():
        if isinstance(module, nn.Dropout):
            words.append(f"D{module.p}")
        elif isinstance(module, nn.MaxPool2d):
            assert module.kernel_size == module.stride
            words.append(f"P{module.kernel_size}")
        elif type(module).__name__ in names:
            words.append(names[type(module).__name__])
    return words


def test_order_of_layers_and_places_of_dropout() -> None:
    cbr, neck = "C B R", "F D0.5 L b R D0.5"
    sample = f"{cbr} P4 {cbr} P3 {cbr} {cbr} P2 {cbr} {cbr} {cbr} P2 {neck}"
    solution = f"{cbr} {cbr} P3 {cbr} {cbr} P4 {cbr} {cbr} P4 {neck}"
    three = f"{cbr} D0.4 {cbr} D0.4 {cbr} P2"
    vgg = f"{cbr} D0.3 {cbr} P2 {cbr} D0.4 {cbr} P2 {three} {three} {three} {neck}"
    for cls, expected in ((Sample, sample), (Solution, solution), (VGGBNDrop, vgg)):
        assert order(on_meta(cls)) == expected.split()


@pytest.mark.parametrize("cls", [Sample, VGGBNDrop, Solution, WideResNet28x2])
def test_initialisation_and_eps(cls: type[nn.Module]) -> None:
    torch.manual_seed(0)
    backbone = cls(3, 48)
    for module in backbone.modules():
        if isinstance(module, nn.Conv2d):
            expected = math.sqrt(2 / (module.kernel_size[0] * module.kernel_size[1] * module.out_channels))
            deviations = 5 / math.sqrt(2 * module.weight.numel())  # five standard errors of a standard deviation
            assert module.weight.std().item() == pytest.approx(expected, rel=deviations)
            assert module.bias is not None and module.bias.eq(0).all()
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            assert module.eps == (1e-3 if isinstance(module, nn.BatchNorm2d) else 1e-5)
            assert module.momentum == (1e-2 if cls is WideResNet28x2 else 0.1)


@pytest.mark.parametrize(("channels", "by_hand"), [(1, 94_186), (3, 94_762)])
def test_small(channels: int, by_hand: int) -> None:
    widths = (channels, 32, 64, 128)
    convolutions = sum(conv(i, o, bias=False) + norm(o) for i, o in pairwise(widths))
    assert parameters(Small(channels, 8)) == convolutions + linear(128, 10) == by_hand
    assert f"{by_hand:,}" in (Small.__doc__ or "")
    assert pooled_shapes(on_meta(Small, 8, channels), channels, 8) == [(32, 4, 4), (64, 2, 2)]
    assert not of_type(Small(channels, 8), nn.Dropout)


def test_small_learns_in_seconds() -> None:
    torch.manual_seed(0)
    images, targets = torch.rand(64, 1, 8, 8), torch.arange(64) % 4
    images[torch.arange(64), 0, targets] += 0.5  # the class is the row that is lit
    network = nn.Sequential(Small(1, 8), nn.Linear(128, 4))
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    for _ in range(40):
        optimizer.zero_grad()
        F.cross_entropy(network(images), targets).backward()
        optimizer.step()
    assert (network.eval()(images).argmax(dim=1) == targets).float().mean() > 0.95


@pytest.mark.parametrize(
    ("size", "name"), [(8, "small"), (16, "small"), (17, "wrn-28-2"), (64, "wrn-28-2"), (65, "solution")]
)
def test_choose(size: int, name: str) -> None:
    assert backbones.choose(size) == name
    assert name in plugins.installed(plugins.BACKBONES)


@pytest.mark.parametrize(
    ("name", "cls"),
    [
        ("small", Small),
        ("sample", Sample),
        ("vgg_bn_drop", VGGBNDrop),
        ("solution", Solution),
        ("wrn-28-2", WideResNet28x2),
        ("wrn-37-2", WideResNet37x2),
    ],
)
def test_build_by_name(name: str, cls: type[nn.Module]) -> None:
    with torch.device("meta"):
        assert type(backbones.build(name, 1, 96)) is cls


def test_summaries_are_read_from_the_source() -> None:
    for name, point in plugins.installed(plugins.BACKBONES).items():
        if point.module.startswith("semisup."):
            cls = plugins.load(plugins.BACKBONES, name)
            assert source.describe(point.value).summary == (cls.__doc__ or "").splitlines()[0]


@pytest.mark.parametrize(
    ("name", "size", "words"),
    [
        ("solution", 8, ["13 pixels or more", "have 8", "--model.backbone small"]),
        ("solution", 12, ["13 pixels or more", "have 12"]),
        ("small", 3, ["4 pixels or more", "have 3"]),
        ("torchvision:vgg11", 8, ["8 pixels", "takes is 32", "--model.backbone small"]),
        ("torchvision:vit_b_16", 33, ["33 pixels", "takes is 48", "--model.backbone small"]),
        ("torchvision:resnet81", 32, ["did you mean 'resnet18'"]),
        ("torchvision:squeezenet1_0", 96, ["no linear layer", "--model.backbone solution"]),
        ("resnet18", 32, ["--model.backbone torchvision:resnet18"]),
        ("solutoin", 96, ["did you mean 'solution'"]),
        ("small", 0, ["0 pixels"]),
    ],
)
def test_refusals(name: str, size: int, words: list[str]) -> None:
    with pytest.raises(InputError) as error:
        backbones.build(name, 3, size)
    assert [word for word in words if word not in str(error.value)] == []
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("name", "size"), [("vgg11", 32), ("vit_b_16", 48)])
def test_the_size_that_a_refusal_names_is_taken_and_the_one_before_is_not(name: str, size: int) -> None:
    assert from_torchvision._fits(name, 3, size)
    assert not from_torchvision._fits(name, 3, size - 1)


def test_a_strangers_class_that_is_no_backbone(monkeypatch: pytest.MonkeyPatch) -> None:
    class Headless(nn.Module):
        def __init__(self, in_channels: int, image_size: int) -> None:
            super().__init__()

    monkeypatch.setattr(plugins, "installed", lambda group: {"theirs": None})
    monkeypatch.setattr(plugins, "load", lambda group, name: Headless)
    with pytest.raises(InputError, match="'theirs' has no integer attribute num_features"):
        backbones.build("theirs", 3, 8)
    monkeypatch.setattr(plugins, "load", lambda group, name: dict)
    with pytest.raises(InputError, match=r"'theirs' is no nn\.Module but a dict"):
        backbones.build("theirs", 3, 8)
