"""The exponential moving average of a network: the weights that evaluate, or the teacher that makes targets."""

from __future__ import annotations

from collections.abc import Iterable
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

_EARLY = 100  # updates, in which statistics are averaged over fewer steps than the weights
_STATISTICS = ("running_mean", "running_var")  # what batch normalisation calls its own, in torch and elsewhere


class EMA(nn.Module):
    """Follows a network: average <- d * average + (1 - d) * network.

    After k updates the next one keeps d = min(decay, (1 + k) / (10 + k)): the average looks back over a ninth of the
    steps so far and, once that is more, over 1 / (1 - decay) of them. With a decay that is full from the first step on,
    most of a short run's average would be the random weights that it began with. The rule is that of TensorFlow's
    `ExponentialMovingAverage`, given `num_updates`.

    The running statistics of batch normalisation are averages already, of the last steps' batches. They are averaged
    like the weights, but for the first hundred updates, which keep (1 + k) / (100 + k) of them: over as many steps as
    the weights, they would forget their initial 0 and 1 too late for a run of some dozens of steps. Copied, they would
    be those of the network's last weights and batches, and less fit for the average. All other buffers are copied.

    Other code: that of FixMatch, of TorchSSL and of USB averages the parameters alone, with a full decay from the first
    of 2^20 steps on, and evaluates them with the network's own statistics. Mean Teacher's warms the decay up by
    min(decay, 1 - 1 / (k + 2)), and its teacher has the statistics of its own forward passes. timm averages buffers
    like weights by default. What these choices cost in shorter runs is in experiments/RESULTS.md.

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
        k, self.updates = self.updates, self.updates + 1
        _approach(self.average.parameters(), network.parameters(), min(self.decay, (1 + k) / (10 + k)))
        ours, theirs = dict(self.average.named_buffers()), dict(network.named_buffers())
        statistics = [name for name in ours if name.rpartition(".")[2] in _STATISTICS]
        keep = min(self.decay, (1 + k) / ((10 if k >= _EARLY else 100) + k))
        _approach([ours[name] for name in statistics], [theirs[name] for name in statistics], keep)
        others = [name for name in ours if name not in statistics]
        for dtype in {ours[name].dtype for name in others}:  # those of one dtype are copied in one go
            of_it = [name for name in others if ours[name].dtype == dtype]
            torch._foreach_copy_([ours[name] for name in of_it], [theirs[name] for name in of_it])

    def get_extra_state(self) -> Tensor:
        """The count of updates, () int64, for the checkpoint."""
        return torch.tensor(self.updates)

    def set_extra_state(self, state: Tensor) -> None:
        """Goes on counting from there."""
        self.updates = int(state.long())


def _approach(ours: Iterable[Tensor], theirs: Iterable[Tensor], keep: float) -> None:
    """keep * ours + (1 - keep) * theirs, in place and in one go."""
    moving = list(ours)
    if moving:
        torch._foreach_lerp_(moving, list(theirs), 1 - keep)
