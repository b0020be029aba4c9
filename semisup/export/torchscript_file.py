"""A network as TorchScript: the resizing, which is compiled, before the network, which is traced."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semisup.export.metadata import Probabilities, description

if TYPE_CHECKING:
    from semisup.classifier import Classifier


def fit(images: Tensor, size: int) -> Tensor:
    """Pictures (N, C, H, W) uint8 of any size as a network takes them, (N, C, size, size) float32 in [0, 1].

    TorchScript compiles it. The sides are rounded half to even, as Pillow's are here.
    """
    height, width = images.shape[-2], images.shape[-1]
    shorter = min(height, width)
    if height != size or width != size:
        sides = [height * size, width * size]
        for k in range(2):
            rounded = (2 * sides[k] + shorter) // (2 * shorter)
            half = (2 * sides[k] + shorter) % (2 * shorter) == 0
            sides[k] = rounded - 1 if half and rounded % 2 == 1 else rounded
        if images.device.type == "cpu":  # where bytes are resized as Pillow does it, rounded between the passes
            images = F.interpolate(images, sides, mode="bicubic", antialias=True)
        else:
            images = F.interpolate(images.float(), sides, mode="bicubic", antialias=True).round().clamp(0, 255)
        top, left = (sides[0] - size) // 2, (sides[1] - size) // 2
        images = images[:, :, top : top + size, left : left + size]
    return images.float() / 255


class _Whole(nn.Module):
    """The resizing, which depends on a picture's shape and is compiled, before the network, which is traced."""

    def __init__(self, traced: nn.Module, size: int) -> None:
        super().__init__()
        self.network, self.size = traced, size

    def forward(self, images: Tensor) -> Tensor:
        probabilities: Tensor = self.network(fit(images, self.size))
        return probabilities


def write(classifier: Classifier, path: Path) -> None:
    size, channels = classifier.spec.image_size, classifier.spec.channels
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # newer versions of torch advise torch.export, whose files need Python
        traced = torch.jit.trace(Probabilities(classifier.scored).eval(), torch.zeros(2, channels, size, size))
        whole = torch.jit.script(_Whole(traced, size).eval())
        torch.jit.save(whole, str(path), _extra_files={"semisup.json": json.dumps(description(classifier))})


def opened(classifier: Classifier, path: Path) -> Callable[[Tensor], Tensor]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loaded: Callable[[Tensor], Tensor] = torch.jit.load(str(path), map_location="cpu")
    return loaded
