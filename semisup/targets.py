"""What methods make targets with: probabilities, sharpening, distribution alignment, running means, memory banks.

Pure functions of tensors. Whatever is remembered from step to step is the strategy's own, in attributes that end in
`_`, and comes from the global batch (semisup/runtime/ranks.py).
"""

from __future__ import annotations

import torch
from torch import Tensor

from semisup.losses import precise


def probabilities(logits: Tensor, temperature: float = 1.0) -> Tensor:
    """Softmax of logits (B, classes) over a temperature, without gradient, in float32 or more: (B, classes)."""
    return (precise(logits.detach()) / temperature).softmax(1)


def sharpen(p: Tensor, temperature: float) -> Tensor:
    """Probabilities (B, classes), each to the power 1 / temperature and normalised again.

    MixMatch (Berthelot et al. 2019, arXiv 1905.02249), equation 7; at a temperature of 0 it would be the most probable
    class alone.
    """
    powered = (p / p.amax(1, keepdim=True)) ** (1 / temperature)  # relative to the greatest, which never becomes 0
    return powered / powered.sum(1, keepdim=True)


def align(p: Tensor, seen: Tensor, wanted: Tensor | float = 1.0) -> Tensor:
    """Distribution alignment: probabilities (B, classes) times wanted / seen, normalised again.

    ReMixMatch (Berthelot et al. 2020, arXiv 1911.09785), section 3.1.

    Args:
        p: (B, classes) probabilities.
        seen: (classes,) their mean so far.
        wanted: (classes,) what that mean should be; uniform by default.
    """
    aligned = p * (wanted / seen.clamp_min(1e-6))
    return aligned / aligned.sum(1, keepdim=True)


def running(mean: Tensor, new: Tensor, decay: float) -> Tensor:
    """A running mean, decay * mean + (1 - decay) * new."""
    return decay * mean + (1 - decay) * new


def push(bank: Tensor, rows: Tensor) -> Tensor:
    """A memory bank (N, ...) after rows (B, ...) came in at its front and as many of the oldest left it."""
    return torch.cat([rows.to(bank.dtype), bank])[: len(bank)]
