"""Augments a batch on the device: the views that the strategy needs, or the plain images for evaluation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from semisup.augment.views import meant
from semisup.batch import Batch, Samples, by_label
from semisup.data.pool import Pool
from semisup.randomness import Draw

if TYPE_CHECKING:
    from semisup.data.datamodule import DataModule


def augment(data: DataModule, batch: Batch | Samples, batch_size: int) -> None:
    """Adds the views of a batch to it.

    Args:
        data: says what is trained on, and which views are needed of it.
        batch: to train on or, of one stream alone, to evaluate.
        batch_size: labeled images in a global batch.
    """
    if isinstance(batch, Samples):
        pool = data.pools.test if data.trainer and data.trainer.testing else data.pools.val
        _add_views(data, pool, batch, "evaluation", {"none": "none"}, 0, len(batch))
        return
    needs = data.needs
    labeled, unlabeled = by_label(needs.labeled_views), by_label(needs.unlabeled_views)
    _add_views(data, data.training_pool, batch.labeled, "labeled", labeled, batch.step, batch_size)
    if batch.unlabeled is not None:
        size = batch_size * needs.unlabeled_ratio
        _add_views(data, data.pools.unlabeled, batch.unlabeled, "unlabeled", unlabeled, batch.step, size)


def _add_views(
    data: DataModule, pool: Pool | None, samples: Samples, stream: str, views: dict[str, str], step: int, size: int
) -> None:
    if data.features is None and samples.image.device.type != "cpu":
        samples.image = samples.image.contiguous()
    elif data.features is None:
        samples.image = torch.from_numpy(np.ascontiguousarray(samples.image.numpy()))  # in half of torch's time
    for label, name in views.items():
        view = meant(name, data.augmentation)
        draw = Draw(data.seed, step, f"{stream}/{label}", samples.position, size)
        if data.features is not None and pool is not None:
            samples.views[label] = data.features.gather(pool, samples.index, view, draw)
        else:
            samples.views[label] = data.find_view(view)(samples.image, draw)
