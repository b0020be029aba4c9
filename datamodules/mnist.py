"""MNIST (LeCun, Bottou, Bengio & Haffner 1998): 70,000 handwritten digits, all labeled, few of them given.

semisup data download mnist
semisup fit --data mnist --data.labels_per_class 10 --strategy fixmatch --model.backbone lenet-tanh
"""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any, Literal
from zlib import error as ZlibError

import numpy as np
from torchvision.datasets import MNIST as Source

from semisup.data.datamodule import DataModule
from semisup.data.download import download, file_md5
from semisup.data.few_labels import few_labels
from semisup.data.pool import Pool
from semisup.data.pools import DataSpec, Pools
from semisup.data.splits import holdout
from semisup.errors import InputError, require
from semisup.escape import shell
from semisup.runtime.console import say

_SIDE = 28  # pixels
_LARGEST = 16 + 60_000 * _SIDE * _SIDE  # bytes of a file
_PACKED = {  # bytes of the files as they are fetched
    "train-images-idx3-ubyte.gz": 9_912_422,
    "train-labels-idx1-ubyte.gz": 28_881,
    "t10k-images-idx3-ubyte.gz": 1_648_877,
    "t10k-labels-idx1-ubyte.gz": 4_542,
}


class MNIST(DataModule):
    """70,000 handwritten digits of 28x28 pixels in grey; labels_per_class says how many labels are given.

    The 10,000 test images are the test set; a tenth of the 60,000 others validates, stratified and the same for every
    seed. Of the rest, `labels_per_class` per class are labeled, chosen by the seed, and what is left is the unlabeled
    pool, whose labels are hidden. Without `labels_per_class` all are labeled and none unlabeled.
    Source: http://yann.lecun.com/exdb/mnist; the files are read as they are published, unpacked or not.

    Args:
        root: the folder that holds MNIST/raw, where torchvision puts the files, or the files themselves.
        split: holdout (54,000 to train, 6,000 to validate), full (all 60,000 to train), or peek (the same, and the test
            images validate: for curves of the test accuracy over a training, and not to choose anything by).
        kwargs: see DataModule.
    """

    default_augmentation = "shift"  # a mirrored digit is another digit, or none

    def __init__(
        self, root: str = "data", split: Literal["holdout", "full", "peek"] = "holdout", **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.root, self.split = Path(root).expanduser(), split

    @property
    def spec(self) -> DataSpec:
        """Ten classes of 28x28 pixels in grey."""
        return DataSpec("mnist", tuple("0123456789"), channels=1, image_size=_SIDE)

    def read(self) -> Pools:
        """Reads the files.

        Raises:
            InputError: files are missing or not what they should be.
        """
        images, labels = self._load("train")
        test = Pool(*self._load("t10k"))
        train, held = holdout(labels, len(labels) // 10 if self.split == "holdout" else 0, "mnist val")
        val = Pool(images, labels[held], held) if len(held) else None
        if self.split == "peek":
            say("data: the test images validate (--data.split peek), so nothing may be chosen by validation")
            val = test
        return few_labels(self, images, labels, train, val, test)

    def _load(self, part: str) -> tuple[np.ndarray, np.ndarray]:
        """Images (N, 1, 28, 28) uint8 and labels (N,) int64 of `train` or `t10k`."""
        images, labels = self._idx(f"{part}-images-idx3-ubyte"), self._idx(f"{part}-labels-idx1-ubyte")
        require(
            images.shape == (len(labels), _SIDE, _SIDE) and labels.ndim == 1 and len(labels) > 0 and labels.max() < 10,
            f"{self.root} holds {part} images of shape {images.shape} and labels of shape {labels.shape}, but MNIST "
            f"has 28x28 pixels and a label from 0 to 9 for each image; type semisup data download mnist --root FOLDER",
        )
        return images[:, None], labels.astype(np.int64)

    def _idx(self, name: str) -> np.ndarray:
        """A file of MNIST's format: two zeros, the type (8 is uint8), the number of axes, their sizes, the values."""
        folders = (self.root / "MNIST" / "raw", self.root)
        existing = [path for folder in folders for path in (folder / name, folder / f"{name}.gz") if path.is_file()]
        require(
            bool(existing),
            f"there is no {name} in {folders[0]}, and none in {folders[1]}; type --data.root FOLDER for where it is, "
            f"or semisup data download mnist --root {shell(self.root)} to fetch MNIST (12 MB)",
        )
        try:
            with gzip.open(existing[0]) if existing[0].suffix else existing[0].open("rb") as file:
                content = file.read(_LARGEST + 1)
            require(len(content) <= _LARGEST, f"it unpacks to more than {_LARGEST:,} bytes")
            shape = np.frombuffer(content, ">u4", content[3], offset=4)  # a negative size would be any size to NumPy
            require(content[:3] == b"\0\0\x08", "it doesn't begin as a file of bytes")
            return np.frombuffer(content, np.uint8, offset=4 + 4 * len(shape)).reshape(shape)
        except (OSError, EOFError, ValueError, IndexError, ZlibError) as error:
            raise InputError(
                f"{existing[0]} is damaged, or not one of MNIST's files ({error}); remove it and type semisup data "
                f"download mnist --root FOLDER"
            ) from error


def fetch(root: Path) -> None:
    """Fetches MNIST into `root/MNIST/raw` (12 MB), unless it is there, from torchvision's mirror and by its md5s.

    Raises:
        InputError: as `download`.
    """
    folder = root / "MNIST" / "raw"
    for name, md5 in Source.resources:
        unpacked, packed = folder / Path(name).stem, folder / name
        if not (unpacked.is_file() or (packed.is_file() and file_md5(packed) == md5)):
            download(f"{Source.mirrors[0]}{name}", packed, _PACKED[name], md5)
    print(f"MNIST is in {folder}; train on it with --data mnist --data.root {shell(root)}")
