"""What a network is made of: parameters by hand, modules of a kind, the shapes that it passes on."""

from __future__ import annotations

import torch
from torch import nn


def conv(inputs: int, outputs: int, kernel: int = 3, bias: bool = True) -> int:
    return kernel * kernel * inputs * outputs + (outputs if bias else 0)


def linear(inputs: int, outputs: int) -> int:
    return inputs * outputs + outputs


def norm(channels: int) -> int:
    return 2 * channels


def parameters(backbone: nn.Module, classes: int = 10) -> int:
    """With the linear head that a backbone doesn't have."""
    return sum(p.numel() for p in backbone.parameters()) + linear(int(backbone.num_features), classes)


def of_type(module: nn.Module, kind: type[nn.Module]) -> list[nn.Module]:
    return [m for m in module.modules() if isinstance(m, kind)]


def pooled_shapes(backbone: nn.Module, channels: int, size: int) -> list[tuple[int, ...]]:
    """Shape after every max-pooling, for one image, on the meta device."""
    shapes: list[tuple[int, ...]] = []
    for pool in of_type(backbone, nn.MaxPool2d):
        pool.register_forward_hook(lambda module, args, output: shapes.append(tuple(output.shape[1:])))
    backbone.eval()(torch.empty(2, channels, size, size, device="meta"))
    return shapes


def on_meta(cls: type[nn.Module], size: int = 96, channels: int = 3) -> nn.Module:
    with torch.device("meta"):
        return cls(channels, size)
