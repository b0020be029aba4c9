"""SVHN: Street View House Numbers (Netzer et al. 2011), single digits cut out of photographs of houses.

semisup data download svhn
semisup fit --data svhn --data.labels_per_class 100 --strategy fixmatch
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from torchvision.datasets import SVHN as Source
from torchvision.datasets.utils import check_integrity

from semisup.data.datamodule import DataModule
from semisup.data.download import download, file_md5
from semisup.data.few_labels import few_labels
from semisup.data.pool import Pool
from semisup.data.pools import DataSpec, Pools
from semisup.data.splits import holdout
from semisup.errors import InputError
from semisup.escape import shell

_BYTES = {"train": 182_040_794, "test": 64_275_384, "extra": 1_329_278_602}  # of the files


class SVHN(DataModule):
    """House numbers of 32x32 pixels, digits in ten uneven classes; labels_per_class says how many labels are given.

    The 26,032 test images are the test set; a tenth of the 73,257 training images validates, stratified and the same
    for every seed. Of the rest, `labels_per_class` per class are labeled, chosen by the seed, and what is left is the
    unlabeled pool, whose labels are hidden. Without `labels_per_class` all are labeled and none unlabeled.
    Source: http://ufldl.stanford.edu/housenumbers, format 2. A mirrored digit is another digit, or none, so that the
    light augmentation only shifts, as in FixMatch (arXiv 2001.07685, section 4).

    Args:
        root: the folder that holds train_32x32.mat and test_32x32.mat.
        extra: whether the 531,131 further images of extra_32x32.mat, which are easier, join the unlabeled pool. They
            take 3.5 GB of memory while they are read, and half of it afterwards.
        kwargs: see DataModule.
    """

    default_augmentation = "shift"
    spec = DataSpec("svhn", tuple("0123456789"), channels=3, image_size=32)

    def __init__(self, root: str = "data", extra: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.root, self.extra = Path(root).expanduser(), extra

    def read(self) -> Pools:
        """Reads the files.

        Raises:
            InputError: files are missing or damaged.
        """
        images, labels = self._load("train")
        train, val = holdout(labels, len(labels) // 10, "svhn val")
        further = np.arange(0)
        if self.extra:
            easier, theirs = self._load("extra")
            further = len(labels) + np.arange(len(theirs))
            images, labels = np.concatenate([images, easier]), np.concatenate([labels, theirs])
        test = Pool(*self._load("test"))
        return few_labels(self, images, labels, train, Pool(images, labels[val], val), test, further)

    def _load(self, part: str) -> tuple[np.ndarray, np.ndarray]:
        """Images (N, 3, 32, 32) uint8 and labels (N,) int64 of `train`, `test` or `extra`."""
        _, name, md5 = Source.split_list[part]
        path = self.root / name
        if not check_integrity(path, md5):
            problem = f"a wrong md5 of {path}" if path.exists() else f"no {path}"
            raise InputError(
                f"SVHN is missing or damaged (found {problem}); type semisup data download svhn --root "
                f"{shell(self.root)} to fetch it (0.25 GB, and 1.3 GB for the extra images), or --data.root FOLDER if "
                f"it is elsewhere"
            )
        source = Source(str(self.root), split=part)
        return np.ascontiguousarray(source.data), np.asarray(source.labels, dtype=np.int64)


def fetch(root: Path) -> None:
    """Fetches SVHN's three files into `root` (1.6 GB), unless they are there, by torchvision's addresses and md5s.

    Raises:
        InputError: as `download`.
    """
    for part, size in _BYTES.items():
        url, name, md5 = Source.split_list[part]
        path = root / name
        if not (path.is_file() and file_md5(path) == md5):
            download(url.replace("http://", "https://"), path, size, md5)
    print(f"SVHN is in {root}; train on it with --data svhn --data.root {shell(root)}")
