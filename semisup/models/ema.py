"""The exponential moving average of a network: the weights that evaluate, or the teacher that makes targets."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn


class EMA(nn.Module):
    """Follows a network's parameters, average <- d * average + (1 - d) * network, and has its buffers.

    After k updates the next one keeps d = min(decay, (1 + k) / (10 + k)): the average looks back over a ninth of the
    steps so far and, once that is more, over 1 / (1 - decay) of them. With a decay that is full from the first step on,
    most of a short run's average would be the random weights that it began with. The rule is that of TensorFlow's
    `ExponentialMovingAverage`, given `num_updates`.

    Buffers, such as batch normalisation's running statistics, are copied: they are averages already, and averaged
    again they would be late. The code of FixMatch, of TorchSSL and of USB comes to the same: it averages the parameters
    alone, with a full decay from the first of its 2^20 steps on, and evaluates them with the network's own statistics.
    Others differ: Mean Teacher's code warms the decay up, min(decay, 1 - 1 / (k + 2)), and its teacher has the
    statistics of its own forward passes; timm averages buffers like weights by default. What each choice costs after
    500 to 10,000 steps is in experiments/RESULTS.md.

    The average is a module of its own, so that a checkpoint holds it, its count of updates included, and a device move
    takes it along; it is always in evaluation mode and has no gradients. Source: Tarvainen & Valpola 2017, Mean Teacher
    (arXiv 1703.01780), equation 1.

    Args:
        network: what to follow; the average starts from a copy of it.
        decay: how much of the average stays at every update in the end, in [0, 1).

    Attributes:
        updates: how many there were.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        super().__init__()
        self.average: Any = deepcopy(network).requires_grad_(False).eval()
        self.decay, self.updates = decay, 0

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """The average's output."""
        output: Tensor = self.average(images)
        return output

    @torch.no_grad()
    def features(self, images: Tensor) -> Tensor:
        """The features (B, F) of a `Network`'s average."""
        features: Tensor = self.average.features(images)
        return features

    @torch.no_grad()
    def head(self, features: Tensor) -> Tensor:
        """The logits (B, classes) of a `Network`'s average for features (B, F)."""
        logits: Tensor = self.average.head(features)
        return logits

    @property
    def extra(self) -> nn.ModuleDict:
        """The averages of the modules that the strategy trains beside the network."""
        extra: nn.ModuleDict = self.average.extra
        return extra

    def train(self, mode: bool = True) -> EMA:
        """Stays in evaluation mode: its statistics are averages already, and must not be updated by a batch."""
        return super().train(False)

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """One step towards the network."""
        keep = min(self.decay, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        ours: list[Tensor] = [*self.average.parameters()]
        if ours:
            torch._foreach_lerp_(ours, [*network.parameters()], 1 - keep)
        buffers = list(zip(self.average.buffers(), network.buffers(), strict=True))
        for dtype in {x.dtype for x, _ in buffers}:  # those of one dtype are copied in one go
            of_it = [(x, y) for x, y in buffers if x.dtype == dtype]
            torch._foreach_copy_([x for x, _ in of_it], [y for _, y in of_it])

    def get_extra_state(self) -> Tensor:
        """The count of updates, () int64, for the checkpoint."""
        return torch.tensor(self.updates)

    def set_extra_state(self, state: Tensor) -> None:
        """Goes on counting from there."""
        self.updates = int(state.long())
