"""The network: input normalisation, backbone and linear head, and whatever modules a strategy trains beside them."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from semisup.models.normalization import Normalization


class Network(nn.Module):
    """Input normalisation, backbone and linear head, one after the other.

    Args:
        normalization: of images (B, C, H, W) float in [0, 1].
        backbone: images to features (B, F).
        head: features to logits (B, classes).
        extra: name -> a strategy's own module, such as a projection head. The optimiser, the moving average, the
            checkpoint and moves to a device cover it as they do the rest.

    Attributes:
        stages: names of the backbone's parameters by stages, from the input (semisup/models/adapt.py).
        frozen: names of those that are not trained.
        held: parts of the backbone that stay in evaluation mode.
    """

    stages: tuple[tuple[str, ...], ...] = ()
    frozen: frozenset[str] = frozenset()
    held: tuple[str, ...] = ()

    def __init__(
        self,
        normalization: Normalization,
        backbone: nn.Module,
        head: nn.Linear,
        extra: Mapping[str, nn.Module] | None = None,
    ) -> None:
        super().__init__()
        self.normalization, self.backbone, self.head = normalization, backbone, head
        self.extra = nn.ModuleDict(extra)

    def train(self, mode: bool = True) -> Network:
        """Goes into training or evaluation mode, but for what stays in the latter."""
        super().train(mode)
        for name in self.held:
            self.backbone.get_submodule(name).eval()
        return self

    @property
    def networks(self) -> list[Network]:
        """This one, and those of its kind beside it."""
        return [self, *(part for part in self.extra.values() if isinstance(part, Network))]

    def freeze(self) -> None:
        """Leaves what is frozen without a gradient."""
        for name, parameter in self.backbone.named_parameters():
            if name in self.frozen:
                parameter.requires_grad_(False)

    def features(self, images: Tensor) -> Tensor:
        """Features (B, F) of images (B, C, H, W) float in [0, 1]; features that were computed before, as they are."""
        if images.ndim == 2:
            return images
        # Another dtype than float32 only in "true" precisions, as 64-true.
        images = images.to(self.head.weight.dtype, memory_format=torch.channels_last)
        features: Tensor = self.backbone(self.normalization(images))
        return features

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, classes) of images (B, C, H, W) float in [0, 1]."""
        logits: Tensor = self.head(self.features(images))
        return logits
