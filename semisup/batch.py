"""What a strategy asks of the data (`Needs`), and what it gets (`Batch`)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

UNLABELED = -1  # the target of an image without a label, everywhere; scikit-learn's convention

Stream = Literal["all", "relabeled"]


@dataclass(frozen=True)
class Needs:
    """What a strategy needs from the data, declared once, before the first step.

    A view is a named way of augmenting an image: `"weak"` (the dataset's own light augmentation), `"strong"`
    (RandAugment and cutout), `"none"`, or another of semisup/augment/views.py.

    Attributes:
        labeled_views: views of every labeled image.
        unlabeled_views: views of every unlabeled image; none means that no unlabeled image is served.
        unlabeled_ratio: unlabeled images per labeled one in a batch (mu in FixMatch).
        unlabeled: `"all"` serves the whole unlabeled pool, `"relabeled"` only the images to which the strategy has
            given targets (none before it has).
    """

    labeled_views: tuple[str, ...] = ("weak",)
    unlabeled_views: tuple[str, ...] = ()
    unlabeled_ratio: int = 0
    unlabeled: Stream = "all"


@dataclass
class Samples:
    """One stream's part of a batch.

    Attributes:
        index: (B,) int64, rows of the pool that the images come from.
        place: (B,) int64, each sample's place in the global batch, over all ranks.
        image: (B, C, H, W) uint8, as stored.
        target: (B,) int64 classes, or (B, classes) float32 probabilities; `UNLABELED` where there is none.
        views: name -> (B, C, H, W) float32 in [0, 1], the augmented images.
    """

    index: Tensor
    place: Tensor
    image: Tensor
    target: Tensor
    views: dict[str, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.index)

    def to(self, device: torch.device) -> Samples:
        """The same samples on `device`, without waiting for the copy."""
        index, place, image, target = (move(x, device) for x in (self.index, self.place, self.image, self.target))
        return Samples(index, place, image, target, {name: move(view, device) for name, view in self.views.items()})

    def record_stream(self, stream: torch.cuda.Stream) -> None:
        """Keeps the samples' memory until what `stream` has been given so far is done."""
        for x in (self.index, self.place, self.image, self.target, *self.views.values()):
            x.record_stream(stream)


@dataclass
class Batch:
    """One training step's data on one rank.

    Attributes:
        step: global step, counted from 0; with the seed it determines every random draw of the step.
        labeled: truly labeled images, never `UNLABELED`.
        unlabeled: the unlabeled stream, or None where the strategy needs none or has no targets yet. True labels are
            not in here: `target` holds what the strategy gave, else `UNLABELED`.
    """

    step: int
    labeled: Samples
    unlabeled: Samples | None = None

    def to(self, device: torch.device) -> Batch:
        """The same batch on `device`."""
        unlabeled = None if self.unlabeled is None else self.unlabeled.to(device)
        return Batch(self.step, self.labeled.to(device), unlabeled)

    def record_stream(self, stream: torch.cuda.Stream) -> None:
        """Keeps the batch's memory until what `stream` has been given so far is done."""
        for samples in (self.labeled, self.unlabeled):
            if samples is not None:
                samples.record_stream(stream)


def move(x: Tensor, device: torch.device) -> Tensor:
    """The tensor on `device`; nothing waits for a copy to CUDA, because it is made from pinned memory."""
    if x.device.type == "cpu" and device.type == "cuda":
        x = x.pin_memory()
    return x.to(device, non_blocking=True)
