"""Batch normalisation with one learnable shift per channel, and no scale.

Forward, over the n values of a channel: mean m, variance v (divided by n), s = sqrt(v + eps), z = (x - m) / s, and
y = z + b. Backward: the shift is added to every value, so dE/db = sum g. Each x moves z in three ways: directly, by
1 / s; through the mean, which moves all z of the channel by -1 / (n s); and through the deviation, by
dz_j/ds = -z_j / s with ds/dx_i = z_i / n. (The deviation's own way through the mean vanishes, as sum (x - m) = 0.) So

    dE/dx_i = (g_i - mean(g) - z_i mean(g z)) / s,

the part of g that is orthogonal to a constant and to z: a batch that is moved or stretched as a whole gives the same y.
A layer with a scale a, y = a z + b, has dE/da = sum g z, and a g in place of g in dE/dx.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from semisup.errors import require


def normalization_gradient(g: Tensor, z: Tensor, s: Tensor) -> Tensor:
    """dE/dx of z = (x - mean) / s, with the statistics taken over all axes but the second.

    Args:
        g: dE/dz, (B, C, ...).
        z: the normalised values, (B, C, ...).
        s: the standard deviations, (1, C, 1, ...).

    Returns:
        (B, C, ...).
    """
    axes = _axes(g)
    return (g - g.mean(axes, keepdim=True) - z * (g * z).mean(axes, keepdim=True)) / s


class ShiftNormFunction(torch.autograd.Function):
    """y = (x - mean) / sqrt(var + eps) + shift, by the batch's own statistics."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, shift: Tensor, eps: float) -> Tensor:
        """(B, C, ...) and (C,) -> (B, C, ...)."""
        variance, mean = torch.var_mean(x, _axes(x), correction=0, keepdim=True)
        s = (variance + eps).sqrt()
        z = (x - mean) / s
        ctx.save_for_backward(z, s)
        return z + _per_channel(shift, x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, Tensor, None]:
        """Gradients of x, (B, C, ...), and of the shift, (C,)."""
        z, s = ctx.saved_tensors
        return normalization_gradient(g, z, s), g.sum(_axes(g)), None


class ShiftNorm(nn.Module):
    """Batch normalisation whose only parameter is a shift, in place of a scale and a shift.

    While training it normalises by the batch's mean and variance and averages these; while evaluating, by the averages.

    Args:
        channels: of the input.
        eps: added to the variance.
        momentum: weight of a batch's statistics in their averages.

    Attributes:
        shift: (channels,) parameter, from 0.
        running_mean: (channels,) buffer, from 0.
        running_var: (channels,) buffer, from 1; of unbiased variances, as PyTorch's layers have it.

    Raises:
        InputError: while training, when there is a single value per channel.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int, eps: float = 1e-5, momentum: float = 0.1) -> None:
        super().__init__()
        self.eps, self.momentum = eps, momentum
        self.shift = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, ...) -> the same shape."""
        if self.training:
            require(x.numel() > x.shape[1], f"batch normalisation needs several values per channel, not {[*x.shape]}")
            with torch.no_grad():
                variance, mean = torch.var_mean(x, _axes(x))
                self.running_mean.lerp_(mean, self.momentum)
                self.running_var.lerp_(variance, self.momentum)
            y: Tensor = ShiftNormFunction.apply(x, self.shift, self.eps)
            return y
        s = (self.running_var + self.eps).sqrt()
        return (x - _per_channel(self.running_mean, x)) / _per_channel(s, x) + _per_channel(self.shift, x)


def _axes(x: Tensor) -> list[int]:
    """All axes but that of the channels."""
    return [axis for axis in range(x.ndim) if axis != 1]


def _per_channel(values: Tensor, x: Tensor) -> Tensor:
    return values.view(1, -1, *[1] * (x.ndim - 2))
