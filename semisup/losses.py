"""Losses as pure functions of logits and targets."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from semisup.errors import require


def cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Mean cross-entropy, a scalar in nats, of logits (B, classes) against hard or soft targets.

    Args:
        logits: (B, classes) float.
        target: (B,) int64 classes, or (B, classes) float probabilities.
    """
    return F.cross_entropy(logits.float(), target)


def linear_ramp(step: int, start: int, end: int) -> float:
    """0 up to step `start`, rising linearly to 1 at step `end`, then 1.

    The weight alpha(t) of pseudo-labels over its final value: Lee 2013, "Pseudo-Label", equation 16.
    """
    require(0 <= start <= end, f"a ramp from step {start} to step {end} must have 0 <= start <= end")
    if step >= end:
        return 1.0
    return max(0.0, (step - start) / (end - start))
