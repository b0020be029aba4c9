"""What a network takes: the size, the channels and the statistics of its images, where it has them of its own."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class Input:
    """The images that a backbone is built for.

    Attributes:
        size: height and width in pixels.
        channels: of every image.
        mean: of each channel of the images that it was trained on, in [0, 1]; None where that is the labeled images'.
        std: their standard deviation.
        interpolation: how images of another size are made this large: bilinear or bicubic.
    """

    size: int
    channels: int
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    interpolation: str = "bicubic"


class Resize:
    """A hook before a backbone that makes images as large as it takes them, a batch at a time on its device.

    Images keep the dataset's size wherever they are kept and augmented, so that memory grows by one batch alone: 448
    images of 224 pixels take 270 MB in float32. One channel becomes three where the backbone has three.

    Args:
        wanted: what the backbone takes.
    """

    def __init__(self, wanted: Input) -> None:
        self.wanted = wanted

    def __call__(self, backbone: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """(B, C, H, W) floats -> (B, channels, size, size)."""
        (x,) = args
        size = (self.wanted.size, self.wanted.size)
        if x.shape[2:] != size:
            smaller = x.shape[-1] > self.wanted.size  # else aliasing can't be, and the filter against it takes time
            x = F.interpolate(x, size, mode=self.wanted.interpolation, align_corners=False, antialias=smaller)
        return (x if x.shape[1] == self.wanted.channels else x.expand(-1, self.wanted.channels, -1, -1),)
