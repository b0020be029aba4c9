"""The course's networks for MNIST: parameters by hand, layers against a naive version of them, refused sizes."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from semisup.errors import InputError
from semisup.models import backbones
from semisup.models.backbones.lenet import LeNet, LeNetReLU, LeNetTanh, LeNetTanh3


def conv(inputs: int, outputs: int) -> int:
    return 25 * inputs * outputs + outputs


def linear(inputs: int, outputs: int) -> int:
    return inputs * outputs + outputs


@pytest.mark.parametrize(
    ("name", "kind", "expected"),
    [
        ("lenet-tanh", LeNetTanh, conv(1, 64) + conv(64, 64) + linear(64 * 4 * 4, 128) + linear(128, 10)),
        ("lenet-relu", LeNetReLU, conv(1, 64) + conv(64, 64) + linear(64 * 4 * 4, 128) + linear(128, 10)),
        (
            "lenet-tanh-3",
            LeNetTanh3,
            conv(1, 32) + conv(32, 64) + conv(64, 128) + linear(128 * 3 * 3, 256) + linear(256, 10),
        ),
    ],
)
def test_parameters_and_shapes_by_hand(name: str, kind: type[LeNet], expected: int) -> None:
    backbone = backbones.build(name, in_channels=1, image_size=28)
    assert type(backbone) is kind
    assert sum(p.numel() for p in backbone.parameters()) + linear(int(backbone.num_features), 10) == expected
    assert f"{expected:,}" in (kind.__doc__ or "") or kind is LeNetReLU
    assert backbone(torch.rand(3, 1, 28, 28)).shape == (3, backbone.num_features)
    assert backbones.build(name, 3, 96)(torch.rand(2, 3, 96, 96)).shape == (2, backbone.num_features)


@pytest.mark.parametrize("activation", [nn.Tanh, nn.ReLU])
def test_a_network_is_the_naive_one(activation: type[nn.Module]) -> None:
    torch.manual_seed(0)
    network = LeNet(2, 8, (3, 5), activation).double()
    images = torch.rand(2, 2, 8, 8, dtype=torch.float64)
    convolution, hidden = (m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear))
    squash = math.tanh if activation is nn.Tanh else lambda x: max(0.0, x)
    features = []
    for image in images:
        pooled = torch.zeros(3, 2, 2, dtype=torch.float64)
        for o in range(3):
            for y in range(4):
                for x in range(4):
                    window = (convolution.weight[o] * image[:, y : y + 5, x : x + 5]).sum() + convolution.bias[o]
                    pooled[o, y // 2, x // 2] += squash(window.item()) ** 2
        maps = subtracted(pooled.sqrt())
        features.append([squash(value) for value in (hidden.weight @ maps.flatten() + hidden.bias).tolist()])
    torch.testing.assert_close(network(images), torch.tensor(features, dtype=torch.float64))


def subtracted(maps: Tensor) -> Tensor:
    """Each value less the mean of all channels' values in the window, weighted by its Gaussian."""
    result = maps.clone()
    _, height, width = maps.shape
    for y in range(height):
        for x in range(width):
            total = weights = 0.0
            for v in range(height):
                for u in range(width):
                    weight = math.exp(-((v - y) ** 2 + (u - x) ** 2) / (2 * (7 / 4) ** 2))
                    total += weight * maps[:, v, u].mean().item()
                    weights += weight
            result[:, y, x] -= total / weights
    return result


@pytest.mark.parametrize("kind", [LeNetTanh, LeNetReLU, LeNetTanh3])
def test_gradients_are_finite_on_empty_images(kind: type[LeNet]) -> None:
    """The root of a sum of squares has no derivative at 0, which ReLU meets all the time."""
    backbone = kind(1, 28)
    for p in backbone.parameters():
        if p.ndim == 1:
            nn.init.zeros_(p)
    backbone(torch.zeros(2, 1, 28, 28)).square().sum().backward()
    backbone(torch.rand(2, 1, 28, 28)).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in backbone.parameters())


@pytest.mark.parametrize(("kind", "least"), [(LeNetTanh, 16), (LeNetReLU, 16), (LeNetTanh3, 8)])
def test_the_smallest_images_and_smaller_ones(kind: type[LeNet], least: int) -> None:
    assert kind(1, least)(torch.rand(1, 1, least, least)).shape[0] == 1
    with pytest.raises(InputError, match=f"of images of {least - 1} pixels; .*--model.backbone small"):
        kind(1, least - 1)
