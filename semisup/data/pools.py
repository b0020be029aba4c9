"""What a dataset is to the rest of the framework: what a network must know of it, and its pools of images."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from semisup.data.pool import Pool

__all__ = ["DataSpec", "Pools"]


@dataclass(frozen=True)
class DataSpec:
    """What a network must know of a dataset.

    Attributes:
        name: the dataset's name.
        class_names: one for each class, in the order of the labels.
        channels: of every image.
        image_size: height and width in pixels.
    """

    name: str
    class_names: tuple[str, ...]
    channels: int
    image_size: int


@dataclass
class Pools:
    """The images of a dataset, by what they may be used for.

    Attributes:
        labeled: the images to train on whose labels the strategy is given.
        unlabeled: the images to train on without labels; None where there are none. Those at its end, and no others,
            are labeled ones as well (`labeled_in_unlabeled`).
        val: to choose on.
        test: to report on.
        train_size: labeled images that there would be with all labels; sets the length of an epoch, so that runs with
            few labels and with many take the same number of steps.
        hidden_labels: true classes of `without_label`, where known; to measure with, never to train on.
        left_out: unlabeled images that were left out because they are validation or test images too.
        labeled_in_unlabeled: how many images at the end of `unlabeled` are those of `labeled`, in the same order.
    """

    labeled: Pool
    unlabeled: Pool | None
    val: Pool | None
    test: Pool | None
    train_size: int
    hidden_labels: np.ndarray | None = None
    left_out: int = 0
    labeled_in_unlabeled: int = 0

    @property
    def without_label(self) -> Pool | None:
        """The unlabeled images that are not labeled ones too, at the same rows as in `unlabeled`; None for none.

        Whatever gives an image a label, looks for classes or scores them does so here: a pseudo-label of an image whose
        label is known teaches nothing, and would be among the most confident ones.
        """
        if not self.unlabeled or not self.labeled_in_unlabeled:
            return self.unlabeled
        return self.unlabeled.first(len(self.unlabeled) - self.labeled_in_unlabeled)

    def with_labeled_unlabeled(self) -> Pools:
        """The same pools with the labeled images among the unlabeled ones too, where there are such."""
        if not self.unlabeled:
            return self
        together = self.unlabeled.followed_by(self.labeled)
        return replace(self, unlabeled=together, labeled_in_unlabeled=len(self.labeled))

    def with_pseudo_labels(self, rows: Tensor, targets: Tensor) -> Pool:
        """The labeled images, and behind them some unlabeled ones with the labels that they were given.

        Args:
            rows: (n,) int64 of `without_label`.
            targets: (n,) int64 classes.
        """
        assert self.without_label is not None
        both = self.labeled.followed_by(self.without_label.at(rows.cpu().numpy()))
        return both.with_labels(torch.cat([self.labeled.labels, targets.cpu()]))
