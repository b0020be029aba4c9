"""Wide residual networks: structure by hand, and outputs against a naive reference."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from structure import conv, linear, norm, of_type, on_meta, parameters
from torch import Tensor, nn

from semisup.models.backbones import wideresnet
from semisup.models.backbones.wideresnet import WideResNet28x2, WideResNet37x2


def wide_parameters(widths: tuple[int, ...]) -> int:
    total, before = conv(3, 16), 16
    for width in widths:
        total += norm(before) + conv(before, width) + norm(width) + conv(width, width) + conv(before, width, kernel=1)
        total += 3 * 2 * (norm(width) + conv(width, width))
        before = width
    return total + norm(before) + linear(before, 10)


@pytest.mark.parametrize(
    ("cls", "widths", "sides", "by_hand", "usb"),
    [
        (WideResNet28x2, (32, 64, 128), (32, 16, 8), 1_469_642, 1_467_626),
        (WideResNet37x2, (32, 64, 128, 256), (16, 8, 4, 2), 5_933_770, 5_929_450),
    ],
)
def test_wide_resnet_structure(
    cls: type[nn.Module], widths: tuple[int, ...], sides: tuple[int, ...], by_hand: int, usb: int
) -> None:
    backbone = on_meta(cls, 32)
    assert parameters(backbone) == wide_parameters(widths) == by_hand
    assert f"{by_hand:,}" in (cls.__doc__ or "") and f"{by_hand:,}" in (wideresnet.__doc__ or "")
    biases = sum(m.bias.numel() for m in of_type(backbone, nn.Conv2d) if m is not backbone.stem)
    assert by_hand - biases == usb  # counted of USB's own code, whose convolutions but the stem have none
    assert f"{usb:,}" in (wideresnet.__doc__ or "")
    assert backbone.num_features == widths[-1]
    assert len(of_type(backbone, nn.Conv2d)) == 1 + len(widths) * (4 * 2 + 1)  # 28 and 37
    x = backbone.stem(torch.empty(1, 3, 32, 32, device="meta"))
    for stage, width, side in zip(backbone.stages, widths, sides, strict=True):
        x = stage(x)
        assert tuple(x.shape) == (1, width, side, side)
    assert {m.negative_slope for m in of_type(backbone, nn.LeakyReLU)} == {0.1}


def naive_wide_resnet(weights: list[Tensor], x: Tensor, strides: tuple[int, ...]) -> Tensor:
    """FixMatch's network, written line by line over a queue of weights in the order in which they are used."""
    queue = iter(weights)

    def convolve(x: Tensor, stride: int = 1) -> Tensor:
        weight, bias = next(queue), next(queue)
        return F.conv2d(x, weight, bias, stride=stride, padding=weight.shape[-1] // 2)

    def activate(x: Tensor) -> Tensor:
        weight, bias, mean, variance = (next(queue)[:, None, None] for _ in range(4))
        x = (x - mean) / (variance + 0.001).sqrt() * weight + bias
        return torch.where(x > 0, x, 0.1 * x)

    y = convolve(x)
    for stage, stride in enumerate(strides):
        for block in range(4):
            x0, step = y, stride if block == 0 else 1
            y = activate(y)
            if stage == 0 and block == 0:
                x0 = y
            y = convolve(activate(convolve(y, step)))
            y = (convolve(x0, step) if block == 0 else x0) + y
    y = activate(y).mean(dim=(2, 3))
    assert next(queue, None) is None
    return y


@pytest.mark.parametrize(
    ("cls", "strides", "size"), [(WideResNet28x2, (1, 2, 2), 9), (WideResNet37x2, (2, 2, 2, 2), 17)]
)
def test_wide_resnet_against_naive_reference(cls: type[nn.Module], strides: tuple[int, ...], size: int) -> None:
    torch.manual_seed(0)
    backbone = cls(3, size).double().eval()
    for name, tensor in backbone.state_dict().items():
        if "running_var" in name:
            tensor.uniform_(0.5, 2)
        elif "num_batches" not in name and tensor.ndim == 1:
            tensor.normal_(1 if name.endswith("weight") else 0, 0.3)
    weights = [value for name, value in backbone.state_dict().items() if "num_batches" not in name]
    x = torch.rand(2, 3, size, size, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(backbone(x), naive_wide_resnet(weights, x, strides))


def test_every_wide_resnet_parameter_is_used() -> None:
    backbone = WideResNet28x2(1, 4)
    backbone(torch.rand(2, 1, 4, 4)).square().sum().backward()
    assert [name for name, p in backbone.named_parameters() if p.grad is None] == []
