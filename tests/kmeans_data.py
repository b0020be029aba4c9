"""Crops of photographs to cluster."""

from __future__ import annotations

import numpy as np
from helpers import Blobs
from helpers import patches as crops

from semisup.data.pool import Pool
from semisup.data.pools import DataSpec, Pools


class Photographs(Blobs):
    """Crops of photographs, red halved so that the channels differ: 12 labeled, 60 unlabeled."""

    def __init__(self, side: int = 32, unlabeled: bool = True) -> None:
        super().__init__()
        self.side, self.unlabeled = side, unlabeled

    @property
    def spec(self) -> DataSpec:
        return DataSpec("photographs", ("one", "two", "three"), channels=3, image_size=self.side)

    def read(self) -> Pools:
        images = crops(self.side, tuple(range(20, 560, 30))).numpy()  # (72, 3, side, side)
        images[:, 0] = images[:, 0] // 2 + 100
        rows = np.arange(72)
        unlabeled = Pool(images, rows=rows[12:]) if self.unlabeled else None
        return Pools(Pool(images, rows[:12] % 3, rows[:12]), unlabeled, None, None, train_size=12)
