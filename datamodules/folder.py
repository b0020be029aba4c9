"""Your own pictures, in folders named after their classes."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from datamodules import folder_cache
from semisup.batch import UNLABELED
from semisup.data.datamodule import DataModule, DataSpec, Pools
from semisup.data.pool import Pool
from semisup.data.splits import holdout, pick
from semisup.errors import InputError, did_you_mean, require
from semisup.runtime.console import say

_PARTS = ("train", "unlabeled", "val", "test")
_NAMED = 10  # unreadable files that are called by name
_SMALLEST, _LARGEST = 8, 4096  # pixels


class Folder(DataModule):
    """Your own pictures, of any size: ROOT/train/CLASS/*, ROOT/unlabeled/*, and perhaps val/CLASS/* and test/.

    `test/` holds a folder for each class, or pictures without labels, to be predicted. Below these folders any depth
    will do; hidden files are ignored, and links to folders are not followed. Without `val/` a fifth of `train/`
    validates, stratified and the same for every seed. With `labels_per_class`, the rest of `train/` joins the unlabeled
    pool, behind the pictures of `unlabeled/`; the audit knows the truth only where `unlabeled/` is empty.

    Pictures are turned as their EXIF orientation says, made RGB (or grey: `channels`), resized so that the shorter side
    fits, and cut to the middle: once, into ROOT/.semisup-cache (~/.cache/semisup where ROOT can't be written), and
    again only when a file or one of these options changes. Files that can't be read as a picture are named and left
    out.

    Args:
        root: the folder that holds train/.
        image_size: height and width in pixels to give every picture.
        channels: 3 for RGB, 1 for grey; colours become grey by their brightness.
        kwargs: see DataModule.
    """

    def __init__(self, root: str = "data", image_size: int = 96, channels: Literal[1, 3] = 3, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        require(
            image_size >= _SMALLEST, f"data.image_size is {image_size}, but must be at least {_SMALLEST}, such as 96"
        )
        require(image_size <= _LARGEST, f"data.image_size is {image_size}, but must be at most {_LARGEST}, such as 96")
        self.root, self.image_size, self.channels = Path(root).expanduser(), image_size, channels

    @property
    def spec(self) -> DataSpec:
        """Classes are the folders in train/, in the order of their names.

        Raises:
            InputError: there is no train/, or fewer than two classes in it.
        """
        return DataSpec("folder", self._class_names(), channels=self.channels, image_size=self.image_size)

    def read(self) -> Pools:
        """Finds the pictures, and opens or makes the cache.

        Raises:
            InputError: the folders are not as expected, a class has no readable picture, or the cache can't be written.
        """
        classes = self._class_names()
        found = [(part, path, label) for part in _PARTS for path, label in self._find(part, classes)]
        paths = [path.relative_to(self.root).as_posix() for _, path, _ in found]
        names = [_printable(path) for path in paths]
        parts, labels = np.array([part for part, _, _ in found]), np.array([label for _, _, label in found])
        cache, readable = folder_cache.load(self.root, paths, self.image_size, self.channels)
        if unreadable := [name for name, good in zip(names, readable, strict=True) if not good]:
            count = f"{len(unreadable):,} of {len(names):,} files"
            say(f"data: {count} are not readable pictures and are left out: {_named(unreadable)}")
        train, loose, val, test = (np.flatnonzero((parts == part) & readable) for part in _PARTS)
        for label, name in enumerate(classes):
            require(
                label in labels[train],
                f"there is no readable picture in {self.root}/train/{name}; add some or remove it",
            )
        if not len(val):
            kept, held = holdout(labels[train], len(train) // 5, "folder val")
            train, val = train[kept], train[held]
        labeled = train
        if self.labels_per_class is not None:
            labeled = train[pick(labels[train], self.labels_per_class, classes, self.seed)]
        unlabeled = np.concatenate([loose, np.setdiff1d(train, labeled)])
        images = cache.transpose(0, 3, 1, 2)  # (N, C, H, W)

        def pool(rows: np.ndarray, known: bool = True) -> Pool:
            return Pool(images, labels[rows] if known else None, rows, [names[row] for row in rows])

        return Pools(
            labeled=pool(labeled),
            unlabeled=pool(unlabeled, known=False) if len(unlabeled) else None,
            val=pool(val) if len(val) else None,
            test=pool(test) if len(test) else None,
            train_size=len(train),
            truth=labels[unlabeled] if len(unlabeled) and not len(loose) else None,
        )

    def _class_names(self) -> tuple[str, ...]:
        train = self.root / "train"
        layout = (
            f"expected {train}/CLASS/*.jpg for two classes or more, and if you like unlabeled/*, val/CLASS/*, and "
            f"test/CLASS/* or test/*; type --data.root FOLDER if they are elsewhere"
        )
        require(self.root.is_dir(), f"there is no folder {self.root}; {layout}")
        if not train.is_dir():
            folders, files = _list(self.root)
            there = _named([*(f"{path.name}/" for path in folders), *(path.name for path in files)]) or "nothing"
            raise InputError(
                f"{self.root} holds {there}, but no train/, whose folders are the classes, also of a prediction; "
                f"{layout}"
            )
        names = tuple(_printable(folder.name) for folder in _list(train)[0])
        require(len(names) >= 2, f"{train} holds fewer than two folders ({_named(names) or 'none'}); {layout}")
        return names

    def _find(self, part: str, classes: tuple[str, ...]) -> Iterator[tuple[Path, int]]:
        """Files in train/ or another part, and the class of each."""
        top = self.root / part
        folders, beside = _list(top)
        if part == "unlabeled" or (part == "test" and not folders):
            yield from ((path, UNLABELED) for path in _files(top))
            return
        for folder in folders:
            name = _printable(folder.name)
            if name not in classes:
                raise InputError(
                    f"{folder} is no class of {self.root / 'train'}: rename it, remove it, or add pictures of it to "
                    f"{self.root / 'train' / name}{did_you_mean(name, classes)}"
                )
            yield from ((path, classes.index(name)) for path in _files(folder))
        if beside:
            say(f"data: left out of {top}, as in no class's folder: {_named([path.name for path in beside])}")


def _named(names: Sequence[str]) -> str:
    """The first few names."""
    more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
    return ", ".join(map(_printable, names[:_NAMED])) + more


def _printable(name: str) -> str:
    """A file's name with what is not Unicode, or controls a terminal, as an escape: it can be printed and saved."""
    name = name.encode("utf-8", "backslashreplace").decode()
    return re.sub(r"[\x00-\x1f\x7f-\x9f]", lambda found: f"\\x{ord(found[0]):02x}", name)


def _list(top: Path) -> tuple[list[Path], list[Path]]:
    """The folders and the files in a folder, sorted and without the hidden ones; none where it isn't there."""
    _, *content = next(os.walk(top, onerror=_fail), ("", [], []))
    folders, files = ([top / name for name in sorted(names) if not name.startswith(".")] for names in content)
    return folders, files


def _files(top: Path) -> Iterator[Path]:
    """The files below a folder at any depth, in a fixed order; none where it isn't there."""
    folders, files = _list(top)
    yield from files
    for folder in folders:
        if not folder.is_symlink():  # it could lead back here
            yield from _files(folder)


def _fail(error: OSError) -> None:
    """A folder that can't be listed would else pass for an empty one."""
    if not isinstance(error, FileNotFoundError):
        raise InputError(f"can't list {error.filename} ({error.strerror}); make it readable, or remove it") from error
