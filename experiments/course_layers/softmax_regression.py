"""Softmax regression: cross-entropy of a linear layer's softmax, and its gradient.

Forward: z = W x + b, p = softmax(z), E = -mean log p_t over the images, t being an image's class. Backward: with
log p_t = z_t - log sum_k exp(z_k), an image's dE/dz_k = p_k - [k = t], over the number of images. A row of W moves
only its own z, by x, and b_k moves z_k by 1. So, with P the probabilities, T the one-hot classes and X the images as
rows, D = (P - T) / B: dE/dW = D' X, dE/db = the columns' sums of D, dE/dX = D W.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


class SoftmaxRegression(torch.autograd.Function):
    """Mean cross-entropy, in nats, of softmax(x W' + b)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, target: Tensor) -> Tensor:
        """x (B, F), weight (classes, F), bias (classes,), target (B,) int64 -> a scalar."""
        log_p = (x @ weight.T + bias).log_softmax(dim=1)
        ctx.save_for_backward(x, weight, log_p, target)
        return -log_p.gather(1, target[:, None]).mean()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        """Gradients of x, (B, F), weight, (classes, F), and bias, (classes,)."""
        x, weight, log_p, target = ctx.saved_tensors
        one_hot = torch.nn.functional.one_hot(target, len(weight))
        d = g * (log_p.exp() - one_hot) / len(x)  # (B, classes)
        return d @ weight, d.T @ x, d.sum(dim=0), None
