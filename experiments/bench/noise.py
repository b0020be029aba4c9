"""Random pictures as a dataset: what is in a picture does not change what it costs."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from semisup.data.datamodule import DataModule
from semisup.data.pool import Pool
from semisup.data.pools import DataSpec, Pools
from semisup.randomness import key

_AT_ONCE = 1000  # pictures in memory while a file is written


class Noise(DataModule):
    """Random colour pictures of ten classes, some of them labeled.

    Args:
        images: (N, 3, side, side) uint8.
        labeled: how many of them, the first, have labels; the others are the unlabeled pool.
        kwargs: see DataModule.
    """

    def __init__(self, images: np.ndarray, labeled: int, **kwargs: object) -> None:
        super().__init__(**kwargs)  # type: ignore[arg-type]
        self.images, self.labeled = images, labeled

    @property
    def spec(self) -> DataSpec:
        """Ten classes."""
        return DataSpec("noise", tuple("0123456789"), channels=3, image_size=self.images.shape[-1])

    def read(self) -> Pools:
        """The pools; there is nothing to validate or to test on."""
        rows = np.arange(len(self.images))
        labeled, unlabeled = rows[: self.labeled], rows[self.labeled :]
        return Pools(
            labeled=Pool(self.images, labeled % 10, labeled),
            unlabeled=Pool(self.images, rows=unlabeled) if len(unlabeled) else None,
            val=None,
            test=None,
            train_size=len(labeled),
        )


def write_noise(path: Path, count: int, side: int) -> None:
    """Writes `count` random pictures of `side` x `side` pixels, a byte for each of three channels."""
    rng = np.random.default_rng(key(path.name))  # two files are not to hold the same pictures
    with path.open("wb") as file:
        for start in range(0, count, _AT_ONCE):
            file.write(rng.bytes(min(_AT_ONCE, count - start) * 3 * side * side))


def map_noise(path: Path, side: int) -> np.ndarray:
    """(N, 3, side, side) uint8, a memory map of such a file read as STL-10's are: column by column."""
    return np.memmap(path, np.uint8, "r").reshape(-1, 3, side, side).transpose(0, 1, 3, 2)
