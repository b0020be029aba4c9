"""STL-10 (Coates, Ng & Lee 2011): 5,000 labeled and 100,000 unlabeled photographs, read from `stl10_binary` as it is.

    semisup data download stl10
    semisup fit --data stl10 --strategy pseudolabel

`fold_indices.txt` holds the official protocol: train on each fold of 1,000, and average over the ten.
"""

from __future__ import annotations

from math import isqrt
from pathlib import Path
from typing import Any, Literal

import numpy as np

from datamodules.duplicates import cached_duplicates
from datamodules.stl10_files import find_folder
from semisup.data.datamodule import DataModule
from semisup.data.pool import Pool
from semisup.data.pools import DataSpec, Pools
from semisup.data.splits import holdout, pick
from semisup.errors import InputError, require
from semisup.escape import shell
from semisup.runtime.console import say

_VAL = 1000  # images that the course's split holds out of 5,000


class STL10(DataModule):
    """5,000 labeled, 8,000 test and 100,000 unlabeled photographs of 96x96 pixels in 10 classes.

    The files are mapped into memory, not loaded, and give the images that torchvision's reader gives. Unlabeled images
    that are test or validation images too are left out, and counted in the log. `unlabeled_y.npy` beside the files,
    where it is there, holds the true classes of the unlabeled images (1 to 10, as in train_y.bin), which are hidden
    labels: measured with, and never trained on. Published figures train on all images of train without their labels as
    well, whatever few labels are given (FixMatch's create_unlabeled.py, TorchSSL and USB): with `labeled_in_unlabeled`
    those that `labels_per_class`, or the fold, leaves out join the unlabeled images too, and without it none does.
    Images of train are called `train/ROW`.

    Args:
        root: the folder that holds stl10_binary.
        split: course (4,000 to train, 1,000 to validate), full (all 5,000), or fold (1,000, the official protocol).
        fold: which of the ten folds, from 0 to 9, for the split fold.
        keep_test_duplicates: leave test and validation images in the unlabeled pool, as in published figures.
        kwargs: see DataModule.
    """

    def __init__(
        self,
        root: str = "data",
        split: Literal["course", "full", "fold"] = "course",
        fold: int | None = None,
        keep_test_duplicates: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if split == "fold":
            typed = "missing" if fold is None else str(fold)
            require(fold in range(10), f"data.fold is {typed}, but must be from 0 to 9; type --data.fold 0")
        else:
            require(fold is None, f"data.fold is {fold}, but data.split is {split}; type --data.split fold")
        self.root, self.split, self.fold, self.keep_test_duplicates = (
            Path(root).expanduser(),
            split,
            fold,
            keep_test_duplicates,
        )

    @property
    def spec(self) -> DataSpec:
        """Ten classes, by class_names.txt; colour; 96 pixels, unless the files hold another size."""
        folder = find_folder(self.root)
        names = _text(folder / "class_names.txt").split()
        problem = f"{folder / 'class_names.txt'} has {len(names)} names"
        require(len(names) > 1, f"{problem}, but must have one for each class, a line each")
        twice = next((name for name in names if names.count(name) > 1), "")
        require(not twice, f"{problem}, {twice!r} among them more than once; type semisup data download stl10")
        labels, images = _size(folder / "train_y.bin"), _size(folder / "train_X.bin")
        side = isqrt(images // max(1, 3 * labels))
        require(
            side > 0 and images == 3 * side * side * labels,
            f"{folder / 'train_X.bin'} has {images:,} bytes, which is not a number of square colour images for each of "
            f"the {labels:,} labels in train_y.bin (138,240,000 for STL-10's 5,000); the file is cut short, or another "
            f"one: type semisup data download stl10 --root {shell(self.root)}",
        )
        return DataSpec("stl10", tuple(names), channels=3, image_size=side)

    def read(self) -> Pools:
        """Maps the files and checks every label."""
        folder, spec = find_folder(self.root), self.spec
        classes = len(spec.class_names)
        labels = {part: _labels(folder / f"{part}_y.bin", classes) for part in ("train", "test")}
        images = {part: self._images(folder, part, spec.image_size) for part in ("train", "test", "unlabeled")}
        count, expected = len(images["test"]), len(labels["test"])
        require(
            count == expected > 0,
            f"{folder} has {count:,} images in test_X.bin, but {expected:,} labels in test_y.bin; "
            f"type semisup data download stl10 --root {shell(self.root)}",
        )
        train, val = self._split(folder, labels["train"])
        labeled = train
        if self.labels_per_class is not None:
            labeled = train[pick(labels["train"][train], self.labels_per_class, spec.class_names, self.labeling_seed)]
        rows = self._trainable(folder, len(images["unlabeled"]), spec.image_size, val)
        unlabeled = Pool(images["unlabeled"], rows=rows) if len(rows) else None
        path = folder / "unlabeled_y.npy"
        hidden = _hidden_labels(path, len(images["unlabeled"]), classes)[rows] if path.exists() else None

        def of_train(rows: np.ndarray) -> Pool:
            return Pool(images["train"], labels["train"][rows], rows, [f"train/{row}" for row in rows])

        rest = np.setdiff1d(np.arange(len(labels["train"])), np.concatenate([labeled, val]))
        if unlabeled and self.labeled_in_unlabeled and len(rest):
            unlabeled = unlabeled.followed_by(of_train(rest))
            hidden = None if hidden is None else np.concatenate([hidden, labels["train"][rest]])
        return Pools(
            labeled=of_train(labeled),
            unlabeled=unlabeled,
            val=Pool(images["train"], labels["train"][val], val) if len(val) else None,
            test=Pool(images["test"], labels["test"]),
            train_size=len(train),
            hidden_labels=hidden,
            left_out=len(images["unlabeled"]) - len(rows),
        )

    def _images(self, folder: Path, part: str, side: int) -> np.ndarray:
        """(N, 3, H, W) uint8, a view of the file: red, green and blue planes, each stored column by column."""
        path = folder / f"{part}_X.bin"
        size, whole = _size(path), 3 * side * side
        require(
            size % whole == 0,
            f"{path} has {size:,} bytes, which is not a whole number of {side}x{side} images of {whole:,} bytes; it is "
            f"cut short: type semisup data download stl10 --root {shell(self.root)}",
        )
        if size == 0:  # which can't be mapped
            return np.empty((0, 3, side, side), dtype=np.uint8)
        return np.memmap(path, np.uint8, "r").reshape(-1, 3, side, side).transpose(0, 1, 3, 2)

    def _split(self, folder: Path, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rows of train to train on and to validate on; the same for every seed."""
        none = np.empty(0, dtype=np.int64)
        if self.split == "full":
            return np.arange(len(labels)), none
        if self.fold is not None:
            return _folds(folder / "fold_indices.txt", len(labels))[self.fold], none
        return holdout(labels, _VAL if len(labels) == 5 * _VAL else len(labels) // 5, "stl10 course")

    def _trainable(self, folder: Path, count: int, side: int, val: np.ndarray) -> np.ndarray:
        """Rows of unlabeled_X.bin that may be trained on: not those that are test or validation images (`val`) too."""
        rows = np.arange(count)
        if self.keep_test_duplicates or not count:
            return rows
        size, of = 3 * side * side, {"test": ("test_X.bin", None), "validation": ("train_X.bin", val)}
        leaks = []
        for name, (file, held) in of.items():
            if held is None or len(held):
                leak = cached_duplicates(folder / "unlabeled_X.bin", folder / file, size, held)
                then = ", and left out (--data.keep_test_duplicates true puts them back)" if len(leak) else ""
                say(f"data: {len(leak):,} of {count:,} unlabeled images are {name} images too{then}")
                leaks.append(leak)
        return np.delete(rows, np.unique(np.concatenate(leaks)))


def _size(path: Path) -> int:
    require(path.is_file(), f"{path} is missing; type semisup data download stl10, or --data.root for another folder")
    return path.stat().st_size


def _text(path: Path) -> str:
    _size(path)
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not a text file: {error}") from error


def _labels(path: Path, classes: int) -> np.ndarray:
    """(N,) int64 from 0, of a file of one byte per image from 1."""
    _size(path)
    return _from_one(np.fromfile(path, np.uint8), path, classes)


def _hidden_labels(path: Path, count: int, classes: int) -> np.ndarray:
    """(N,) int64 from 0: the true classes of the unlabeled images."""
    try:
        stored = np.load(path, allow_pickle=False)
    except Exception as error:  # numpy's reader parses a header that is Python, with whatever that stumbles over
        raise InputError(f"{path} is not an array of numpy: {error}; remove it, or write it anew") from error
    require(
        stored.shape == (count,) and stored.dtype.kind in "ui",
        f"{path} holds {stored.dtype} of shape {stored.shape}, but must hold {count:,} whole numbers, one per image of "
        f"unlabeled_X.bin; remove it, or write it anew",
    )
    return _from_one(stored, path, classes)


def _from_one(stored: np.ndarray, path: Path, classes: int) -> np.ndarray:
    wrong = np.flatnonzero((stored < 1) | (stored > classes))
    if len(wrong):
        raise InputError(
            f"{path} has {len(wrong):,} labels outside of 1 to {classes}, the first is {stored[wrong[0]]} in row "
            f"{wrong[0]:,}; type semisup data download stl10"
        )
    return stored.astype(np.int64) - 1


def _folds(path: Path, count: int) -> list[np.ndarray]:
    """Ten arrays of rows of train, zero-based."""
    lines = _text(path).splitlines()
    require(len(lines) == 10, f"{path} has {len(lines)} lines, but must have ten, one per fold")
    rows = set(map(str, range(count)))
    for number, line in enumerate(lines, start=1):
        right = bool(line.split()) and rows.issuperset(line.split())
        require(right, f"{path}, line {number}: expected rows of train from 0 to {count - 1}, separated by spaces")
    return [np.array(line.split(), dtype=np.int64) for line in lines]
