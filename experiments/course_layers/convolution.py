"""A convolution without padding, and its gradients as convolutions.

Forward (no flip, stride 1): y[o, i] = b[o] + sum over c, u of w[o, c, u] x[c, i + u], for the places i where the whole
kernel lies inside. Backward: x[c, j] enters y[o, j - u] with the weight w[o, c, u], for every u with j - u inside of y:

    dE/dx[c, j] = sum over o, u of w[o, c, u] g[o, j - u],

the same kind of sum with g padded by kernel - 1 on all sides, the kernel flipped, and inputs and outputs exchanged: a
"full" convolution. In dE/dw[o, c, u] = sum over images and i of g[o, i] x[c, i + u] the gradient itself is the kernel,
and images and channels are exchanged. dE/db[o] is the sum of g[o].
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable


def input_gradient(g: Tensor, weight: Tensor) -> Tensor:
    """dE/dx (B, C, H, W) of a convolution without padding.

    Args:
        g: dE/dy, (B, O, H - kH + 1, W - kW + 1).
        weight: (O, C, kH, kW).
    """
    height, width = weight.shape[-2:]
    padded = F.pad(g, (width - 1, width - 1, height - 1, height - 1))
    return F.conv2d(padded, weight.flip(-2, -1).transpose(0, 1))


class ValidConvolution(torch.autograd.Function):
    """Convolution of stride 1 without padding."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """x (B, C, H, W), weight (O, C, kH, kW), bias (O,) -> (B, O, H - kH + 1, W - kW + 1)."""
        ctx.save_for_backward(x, weight)
        return F.conv2d(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Gradients of x, weight and bias, in their shapes."""
        x, weight = ctx.saved_tensors
        by_weight = F.conv2d(x.transpose(0, 1), g.transpose(0, 1)).transpose(0, 1)
        return input_gradient(g, weight), by_weight, g.sum(dim=(0, 2, 3))
