"""Backbones of torchvision: all but the head and the first convolution is theirs."""

from __future__ import annotations

import pytest
import torch
from structure import parameters
from torch import nn

from semisup.models import backbones


@pytest.mark.parametrize(
    ("name", "channels", "size", "features"),
    [
        ("resnet18", 3, 32, 512),
        ("mobilenet_v3_small", 1, 32, 1024),
        ("vgg11", 1, 32, 4096),
        ("vit_b_32", 3, 64, 768),
        ("regnet_y_400mf", 4, 32, 440),
    ],
)
def test_torchvision(name: str, channels: int, size: int, features: int) -> None:
    backbone = backbones.build(f"torchvision:{name}", channels, size).eval()
    assert backbone.num_features == features
    with torch.no_grad():
        assert backbone(torch.rand(1, channels, size, size)).shape == (1, features)


def test_torchvision_keeps_all_but_head_and_first_convolution() -> None:
    from torchvision.models import resnet18

    torch.manual_seed(0)
    backbone = backbones.build("torchvision:resnet18", 3, 32)
    torch.manual_seed(0)
    reference = resnet18(weights=None)
    reference.fc = nn.Identity()
    x = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(backbone.eval()(x), reference.eval()(x))
    gray = backbones.build("torchvision:resnet18", 1, 32)
    first = next(m for m in gray.modules() if isinstance(m, nn.Conv2d))
    assert (tuple(first.weight.shape), first.stride, first.padding) == ((64, 1, 7, 7), (2, 2), (3, 3))
    assert first.bias is None
    assert parameters(gray, 1000) == sum(p.numel() for p in resnet18().parameters()) - 64 * 2 * 49
