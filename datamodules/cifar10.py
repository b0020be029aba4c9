"""CIFAR-10: 60,000 small photographs of ten classes, all labeled, of which only a few are given to the strategy."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from torchvision.datasets import CIFAR10 as Source
from torchvision.datasets.utils import check_integrity

from semisup.data.datamodule import DataModule
from semisup.data.download import download, unpack_tar
from semisup.data.few_labels import few_labels
from semisup.data.pool import Pool
from semisup.data.pools import DataSpec, Pools
from semisup.data.splits import holdout
from semisup.errors import InputError

_UNPACKED = 200_000_000  # a little more than the bytes of an archive's files


class CIFAR10(DataModule):
    """60,000 photographs of 32x32 pixels in ten classes; labels_per_class says how many labels are given.

    The 10,000 test images are the test set; of the 50,000 others, 5,000 validate, stratified and the same for every
    seed. Of the remaining 45,000, `labels_per_class` per class are labeled, chosen by the seed, and the rest is the
    unlabeled pool, whose labels are hidden. Without `labels_per_class` all are labeled and none unlabeled.
    Source: A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009, in the "python version" of
    https://www.cs.toronto.edu/~kriz/cifar.html.

    Args:
        root: the folder that holds cifar-10-batches-py.
        download: whether to download the files (170 MB) to root where they are missing or damaged.
        kwargs: see DataModule.
    """

    source: ClassVar[type[Source]] = Source  # what reads the files, and knows their names, places and digests
    spec = DataSpec(
        "cifar10",
        ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
        channels=3,
        image_size=32,
    )
    title: ClassVar[str] = "CIFAR-10"
    packed: ClassVar[int] = 170_498_071  # bytes of the archive

    def __init__(self, root: str = "data", download: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.root, self.download = Path(root).expanduser(), download

    def read(self) -> Pools:
        """Reads the files, downloading them first where that was asked for.

        Raises:
            InputError: files are missing or damaged, or can't be downloaded.
        """
        self._check()
        images, labels = self._load(train=True)
        test_images, test_labels = self._load(train=False)
        train, val = holdout(labels, len(labels) // 10, f"{self.spec.name} val")
        test = Pool(test_images, test_labels)
        return few_labels(self, images, labels, train, Pool(images, labels[val], val), test)

    def _check(self) -> None:
        """The files are pickles, which can run any code when they are read: none is, before all have the right md5."""
        if self.download and self._wrong():
            self._fetch()
        if wrong := self._wrong():
            folder = self.root / self.source.base_folder
            damaged = [name for name in wrong if (folder / name).exists()]
            problem = f"in {folder} a wrong md5: {', '.join(damaged)}" if damaged else f"no {folder}/{wrong[0]}"
            raise InputError(
                f"{self.title} is missing or damaged (found {problem}); type --data.download true to download 170 MB "
                f"to {self.root}, or --data.root FOLDER if it is elsewhere"
            )

    def _wrong(self) -> list[str]:
        """Names of the files that are missing or not what they should be."""
        files = [
            *self.source.train_list,
            *self.source.test_list,
            (self.source.meta["filename"], self.source.meta["md5"]),
        ]
        return [name for name, md5 in files if not check_integrity(self.root / self.source.base_folder / name, md5)]

    def _fetch(self) -> None:
        """Fetches the archive, unpacks it and removes it; what was there and differed is replaced."""
        archive = self.root / self.source.filename
        download(self.source.url, archive, self.packed, self.source.tgz_md5)
        unpack_tar(archive, self.root, _UNPACKED)
        archive.unlink()

    def _load(self, train: bool) -> tuple[np.ndarray, np.ndarray]:
        """Images (N, 3, 32, 32) uint8 and labels (N,) int64 of the files, read by torchvision."""
        source = self.source(self.root, train=train)
        return source.data.transpose(0, 3, 1, 2), np.asarray(source.targets, dtype=np.int64)
