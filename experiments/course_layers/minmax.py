"""A small graph whose branches meet again: y = min(s(x1), s(x2)) + max(s(x1), s(x2)), with s the sigmoid.

Backward: the minimum sends g to the smaller of the two, the maximum sends g to the larger one, so each sigmoid gets g
exactly once, whichever is larger, and dE/dxi = g s(xi) (1 - s(xi)). Where both are equal either may be called the
smaller, and the other is the larger then: the sum has a derivative where neither of its terms has one.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


class MinPlusMax(torch.autograd.Function):
    """y = min(s(x1), s(x2)) + max(s(x1), s(x2)) for tensors of one shape."""

    @staticmethod
    def forward(ctx: Any, x1: Tensor, x2: Tensor) -> Tensor:
        """Two tensors (...) -> (...)."""
        s1, s2 = x1.sigmoid(), x2.sigmoid()
        ctx.save_for_backward(s1, s2)
        return torch.minimum(s1, s2) + torch.maximum(s1, s2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, Tensor]:
        """Gradients of x1 and x2, (...) each."""
        s1, s2 = ctx.saved_tensors
        return g * s1 * (1 - s1), g * s2 * (1 - s2)
