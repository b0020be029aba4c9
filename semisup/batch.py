"""What a strategy asks of the data (`Needs`), and what it gets (`Batch`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

from semisup.errors import InputError

__all__ = ["UNLABELED", "Batch", "Needs", "Samples"]

UNLABELED = -1  # the target of an image without a label, everywhere; scikit-learn's convention

Stream = Literal["all", "relabeled"]
Views = Mapping[str, str] | tuple[str, ...]
Maker = Callable[[int, int], nn.Module]


@dataclass(frozen=True)
class Needs:
    """What a strategy needs from the data and beside the network, declared once, before the first step.

    A view is a named way of augmenting an image: `"weak"` (the dataset's own light augmentation), `"strong"`
    (RandAugment and cutout), `"none"`, or another of semisup/augment/views.py. A strategy gives every view that it asks
    for a label, `{"weak": "weak", "weak_2": "weak"}`, and finds it under that: two labels of one view are two
    independent draws of it. Where every view is asked for once, their names do as labels: `("weak", "strong")`.

    Attributes:
        labeled_views: views of every labeled image, label -> view.
        unlabeled_views: views of every unlabeled image; none means that no unlabeled image is served.
        unlabeled_ratio: unlabeled images per labeled one in a batch (mu in FixMatch).
        unlabeled: `"all"` serves the whole unlabeled pool, `"relabeled"` only the images to which the strategy has
            given targets (none before it has).
        modules: name -> maker of a module that the strategy trains beside the network, such as a projection head; it is
            called with the width of the features and the number of classes, and seeded as the network is. The strategy
            finds it as `module.extra[name]`, and its average as `module.teacher.extra[name]`.
        networks: names of networks beside the one that trains and of its kind, found as modules are, with weights that
            the seed draws by their names, or those of `--model.weights`.

    Raises:
        InputError: a tuple of views names one twice.
    """

    labeled_views: Views = ("weak",)
    unlabeled_views: Views = ()
    unlabeled_ratio: int = 0
    unlabeled: Stream = "all"
    modules: Mapping[str, Maker] = field(default_factory=dict)
    networks: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("labeled_views", "unlabeled_views"):
            object.__setattr__(self, name, by_label(getattr(self, name)))


def by_label(views: Views) -> dict[str, str]:
    """Views as label -> view; those of a tuple are labeled by their own names.

    Raises:
        InputError: a tuple names a view twice, which would be one draw of it.
    """
    if isinstance(views, Mapping):
        return dict(views)
    twice = next((view for view in views if views.count(view) > 1), None)
    if twice is not None:
        raise InputError(
            f"the views {views} name {twice!r} twice; give two draws of a view labels of their own: "
            f'{{"{twice}": "{twice}", "{twice}_2": "{twice}"}}'
        )
    return {view: view for view in views}


@dataclass
class Samples:
    """One stream's part of a batch.

    Attributes:
        index: (B,) int64, rows of the pool that the images come from.
        position: (B,) int64, each sample's position in the global batch, over all ranks.
        image: (B, C, H, W) uint8, as stored.
        target: (B,) int64 classes, or (B, classes) float32 probabilities; `UNLABELED` where there is none.
        views: label -> (B, C, H, W) float32 in [0, 1], the augmented images.
    """

    index: Tensor
    position: Tensor
    image: Tensor
    target: Tensor
    views: dict[str, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.index)

    def to(self, device: torch.device) -> Samples:
        """The same samples on `device`, without waiting for the copy."""
        index, position, image, target = (move(x, device) for x in (self.index, self.position, self.image, self.target))
        return Samples(index, position, image, target, {name: move(view, device) for name, view in self.views.items()})

    def first(self, count: int) -> Samples:
        """The first of these samples."""
        views = {name: view[:count] for name, view in self.views.items()}
        return Samples(self.index[:count], self.position[:count], self.image[:count], self.target[:count], views)

    def record_stream(self, stream: torch.cuda.Stream) -> None:
        """Keeps the samples' memory until what `stream` has been given so far is done."""
        for x in (self.index, self.position, self.image, self.target, *self.views.values()):
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

    @property
    def streams(self) -> list[Samples]:
        """The labeled and, where there are some, the unlabeled images."""
        return [self.labeled] if self.unlabeled is None else [self.labeled, self.unlabeled]

    def to(self, device: torch.device) -> Batch:
        """The same batch on `device`."""
        unlabeled = None if self.unlabeled is None else self.unlabeled.to(device)
        return Batch(self.step, self.labeled.to(device), unlabeled)

    def record_stream(self, stream: torch.cuda.Stream) -> None:
        """Keeps the batch's memory until what `stream` has been given so far is done."""
        for samples in self.streams:
            samples.record_stream(stream)


def move(x: Tensor, device: torch.device) -> Tensor:
    """The tensor on `device`; nothing waits for a copy to CUDA, because it is made from pinned memory."""
    if x.device.type == "cpu" and device.type == "cuda":
        x = x.pin_memory()
    return x.to(device, non_blocking=True)
