"""Data in which something that training must not know is not as it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from helpers import Blobs, trainer

from semisup.classifier import Classifier, ModelOptions
from semisup.composition import Composition
from semisup.data.datamodule import DataModule
from semisup.data.pool import Pool
from semisup.data.pools import Pools
from semisup.strategy import Strategy
from semisup.training.checkpoints import Checkpoints


def noise(pool: Pool) -> Pool:
    """Other images of the same number and size, with other labels."""
    rng = np.random.default_rng(7)
    images = rng.integers(0, 256, (len(pool), *pool.shape), dtype=np.uint8)
    return Pool(images, rng.permutation(np.roll(pool.labels.numpy(), 1)))


class Altered(Blobs):
    """Blobs in which something is not as it is, that training must not know.

    Args:
        parts: `truth` (of the unlabeled images), `test` or `val` (their images and labels), or `val labels`.
    """

    def __init__(self, *parts: str, **kwargs: Any) -> None:
        super().__init__("permuted" if "truth" in parts else "right", augmentation="weak", **kwargs)
        self.parts = parts

    def read(self) -> Pools:
        pools = super().read()
        assert pools.val is not None and pools.test is not None
        pools.test = noise(pools.test) if "test" in self.parts else pools.test
        pools.val = noise(pools.val) if "val" in self.parts else pools.val
        assert pools.val is not None
        if "val labels" in self.parts:
            pools.val.labels = (pools.val.labels + 1) % 3
        return pools


def fit(strategies: dict[str, Strategy], data: DataModule, folder: Path, epochs: int = 2, **options: Any) -> Classifier:
    """Trains with checkpoints in `folder`, and without what k-means found in an earlier fit."""
    for found in folder.parent.glob("cache/semisup/*"):
        found.unlink()
    module = Classifier(data.spec, Composition(strategies), ModelOptions("small"))
    callbacks = [Checkpoints(folder), *options.pop("callbacks", [])]
    trainer(epochs, enable_checkpointing=True, callbacks=callbacks, **options).fit(module, data)
    return module
