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
    """

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

    def features(self, images: Tensor) -> Tensor:
        """Features (B, F) of images (B, C, H, W) float in [0, 1]."""
        # Another dtype than float32 only in "true" precisions, as 64-true.
        images = images.to(self.head.weight.dtype, memory_format=torch.channels_last)
        features: Tensor = self.backbone(self.normalization(images))
        return features

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, classes) of images (B, C, H, W) float in [0, 1]."""
        logits: Tensor = self.head(self.features(images))
        return logits
