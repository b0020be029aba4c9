"""Augments a batch on the device: the views that the strategy needs, or the plain images for evaluation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from semisup.augment.views import View, meant
from semisup.batch import Samples, Views, by_label
from semisup.data.pool import Pool
from semisup.data.served import Features
from semisup.randomness import Draw


@dataclass(frozen=True)
class Augmenter:
    """How samples are seen.

    Attributes:
        augmentation: the dataset's light one.
        seed: of every draw.
        find: the view of a name.
        features: what is served in place of views; None where images are.
    """

    augmentation: str
    seed: int
    find: Callable[[str], View]
    features: Features | None

    def add(self, samples: Samples, pool: Pool | None, stream: str, views: Views, step: int, size: int) -> None:
        """Adds views to samples.

        Args:
            samples: of a batch.
            pool: that they are of.
            stream: that the draws are called by.
            views: as `Needs.labeled_views`.
            step: of the training.
            size: samples of the stream in a global batch.
        """
        if self.features is None and samples.image.device.type != "cpu":
            samples.image = samples.image.contiguous()
        elif self.features is None:
            samples.image = torch.from_numpy(np.ascontiguousarray(samples.image.numpy()))  # in half of torch's time
        for label, name in by_label(views).items():
            view = meant(name, self.augmentation)
            draw = Draw(self.seed, step, f"{stream}/{label}", samples.position, size)
            if self.features is not None and pool is not None:
                samples.views[label] = self.features.gather(pool, samples.index, view, draw)
            else:
                samples.views[label] = self.find(view)(samples.image, draw)
