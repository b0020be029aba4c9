"""The exponential moving average of a network: the weights that evaluate, or the teacher that makes targets."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import Tensor, nn


class EMA(nn.Module):
    """Follows a network: average <- decay * average + (1 - decay) * network, parameters and buffers alike.

    Whole-number buffers, such as batch normalisation's count of batches, are copied. The average is a module of its
    own, so that a checkpoint holds it and a device move takes it along; it is always in evaluation mode and has no
    gradients. Source: Tarvainen & Valpola 2017, Mean Teacher (arXiv 1703.01780), equation 1; there without buffers.

    Args:
        network: what to follow; the average starts from a copy of it.
        decay: how much of the average stays at every update, in [0, 1).
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        super().__init__()
        self.average = deepcopy(network).requires_grad_(False).eval()
        self.decay = decay

    def forward(self, images: Tensor) -> Tensor:
        """The average's output."""
        output: Tensor = self.average(images)
        return output

    def train(self, mode: bool = True) -> EMA:
        """Stays in evaluation mode: its statistics are averages already, and must not be updated by a batch."""
        return super().train(False)

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """One step towards the network."""
        ours = [*self.average.parameters(), *self.average.buffers()]
        theirs = [*network.parameters(), *network.buffers()]
        moving = [(x, y) for x, y in zip(ours, theirs, strict=True) if x.is_floating_point()]
        torch._foreach_lerp_([x for x, _ in moving], [y.detach() for _, y in moving], 1 - self.decay)
        for x, y in zip(ours, theirs, strict=True):
            if not x.is_floating_point():
                x.copy_(y)
