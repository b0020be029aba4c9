"""scikit-learn's 1,797 handwritten digits: real data that needs no download and trains in seconds."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from semisup.data.datamodule import DataModule
from semisup.data.few_labels import few_labels
from semisup.data.pool import Pool
from semisup.data.pools import DataSpec, Pools
from semisup.data.splits import holdout

_TEST, _VAL = 360, 180  # about a fifth and a tenth


class Digits(DataModule):
    """1,797 real handwritten digits of 8x8 pixels, embedded: no download, seconds to train.

    360 images are the test set and 180 validate, the same for every seed; of the other 1,257, `labels_per_class` per
    class are labeled, chosen by the seed, and the rest is the unlabeled pool, whose labels are hidden.
    Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI 1998, as scikit-learn ships it.

    Args:
        labels_per_class: labels given to the strategy for each class; 4 by default, 40 in all; null for all 1,257.
        batch_size: labeled images in a global batch, over all devices; 24 make an epoch a pass over the 1,257 images.
        kwargs: see DataModule.
    """

    default_augmentation = "shift"  # a mirrored digit is another digit, or none

    def __init__(self, labels_per_class: int | None = 4, batch_size: int = 24, **kwargs: Any) -> None:
        super().__init__(labels_per_class=labels_per_class, batch_size=batch_size, **kwargs)

    @property
    def spec(self) -> DataSpec:
        """Ten classes of 8x8 pixels in 17 levels of grey, stretched to 0..255."""
        return DataSpec("digits", tuple("0123456789"), channels=1, image_size=8)

    def read(self) -> Pools:
        """Reads the digits from scikit-learn."""
        pixels, labels = _digits()
        images = np.round(pixels * (255 / 16)).astype(np.uint8)[:, None]  # (N, 1, 8, 8)
        rest, test = holdout(labels, _TEST, "digits test")
        kept, held = holdout(labels[rest], _VAL, "digits val")
        train, val = rest[kept], rest[held]
        val_pool, test_pool = (Pool(images, labels[rows], rows) for rows in (val, test))
        return few_labels(self, images, labels, train, val_pool, test_pool)


def _digits() -> tuple[np.ndarray, np.ndarray]:
    """`sklearn.datasets.load_digits`: images (N, 8, 8) float64 from 0 to 16 and classes (N,) int64.

    Read from its file, since importing scikit-learn takes as long as all the rest that comes before the first step.
    """
    package = find_spec("sklearn")  # which imports nothing
    assert package is not None and package.origin is not None
    file = Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz"
    rows = np.loadtxt(file, delimiter=",")
    return rows[:, :-1].reshape(-1, 8, 8), rows[:, -1].astype(np.int64)
