"""Your own pictures, in folders named after their classes."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from math import isfinite
from pathlib import Path
from typing import Any, Literal

import numpy as np

from datamodules import folder_cache
from datamodules.folder_layout import PARTS, Layout, entry, layout
from datamodules.folder_words import tell
from semisup.batch import UNLABELED
from semisup.data.datamodule import DataModule
from semisup.data.few_labels import few_labels
from semisup.data.files import files, listing, named, printable
from semisup.data.labels_csv import read_labels
from semisup.data.picture import How, colour
from semisup.data.pool import Pool
from semisup.data.pools import DataSpec, Pools
from semisup.data.preprocessing import Preprocessing
from semisup.data.spelling import check_spelling, spelled, tell_alikes
from semisup.data.splits import holdout
from semisup.errors import InputError, did_you_mean, require
from semisup.runs.directory import place
from semisup.runtime.console import say

_SMALLEST, _LARGEST = 8, 4096  # pixels
_MAX_LIMIT = 100_000  # megapixels, or megabytes


class Folder(DataModule):
    """Your own pictures, of any size: ROOT/train/CLASS/*, ROOT/unlabeled/*, and perhaps val/CLASS/* and test/.

    Without `train/`, the folders of ROOT are the classes, but for `unlabeled/`, `val/` and `test/`. With `labels_csv`
    the labels are in a file, whatever the folders are called, and every picture that is not in it, nor in `val/` or
    `test/`, is unlabeled.

    `test/` holds a folder for each class, or pictures without labels, to be predicted. Below these folders any depth
    will do; hidden files are ignored. Links are followed, and what they lead to a second time is left out, also where
    it is the pictures of another part. `training`, `unlabelled`, `valid`, `validation`, `testing`, and capital letters,
    are understood as well; what else lies in ROOT is named. Without `val/` a fifth of `train/` validates, stratified
    and the same for every seed. With `labels_per_class`, the rest of `train/` joins the unlabeled pool, behind the
    pictures of `unlabeled/`; its hidden labels are known only where `unlabeled/` is empty.

    Pictures are turned as their EXIF orientation says, put before the background, made RGB (or grey: `channels`),
    resized so that the shorter side fits, and cut to the middle: once, into ROOT/.semisup-cache (~/.cache/semisup where
    ROOT can't be written), to which new and changed pictures are added. `semisup data clean` lists what is kept and
    removes what is old. Of several pages or frames the first is used. Files that can't be read are named with the
    reason, and left out.

    Values of more than 8 bits, with a sign or a floating point become bytes by one rule for all pictures of a dataset:
    v becomes floor(256 (v - black) / (white - black)), within 0..255. What is black and what is white is measured in
    train/ (in the next part with such pictures where it has none), for integers and for floating point apart: the
    least and the largest value, but for one stray pixel in ten thousand of each picture, rounded outward to the bounds
    that are usual for such values, such as 0 and 1, or 0 and 4096 (`seen_range` in deep.py says how). They are said at
    the start of each run; type them where a network is to be used with another folder of pictures.

    Pictures are read in 1 GiB of memory, together; a larger one is read alone, in at most 28 bytes for each pixel.
    JPEGs of more than 22 megapixels are decoded at a half, a quarter or an eighth of their size where four times
    `image_size` are left.

    Args:
        root: the folder that holds train/, or the classes.
        labels_csv: a CSV file with the columns path,class and a row for each labeled picture, by its path below root.
        image_size: height and width in pixels to give every picture.
        channels: 3 for RGB, 1 for grey; colours become grey by their brightness.
        background: the colour behind what is transparent: a name, or such as "#ff8000".
        black: the value that is black in pictures of more than 8 bits, such as -160; measured by default.
        white: the value that is white in them, such as 240; measured by default.
        max_megapixels: pictures of more are left out, in case they were made to fill the memory.
        max_metadata_mb: PNGs with more megabytes of text or colour profile are left out, for the same reason.
        kwargs: see DataModule.
    """

    def __init__(
        self,
        root: str = "data",
        labels_csv: str | None = None,
        image_size: int = 96,
        channels: Literal[1, 3] = 3,
        background: str = "white",
        black: float | None = None,
        white: float | None = None,
        max_megapixels: float = 179,
        max_metadata_mb: float = 1,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        require(
            image_size >= _SMALLEST, f"data.image_size is {image_size}, but must be at least {_SMALLEST}, such as 96"
        )
        require(image_size <= _LARGEST, f"data.image_size is {image_size}, but must be at most {_LARGEST}, such as 96")
        for name, value in {"black": black, "white": white}.items():
            require(value is None or isfinite(value), f"data.{name} is {value}, but must be a finite number")
        require(
            black is None or white is None or black < white,
            f"data.black is {black}, but must be less than data.white, which is {white}",
        )
        for name, limit in {"max_megapixels": max_megapixels, "max_metadata_mb": max_metadata_mb}.items():
            require(
                0 < limit <= _MAX_LIMIT, f"data.{name} is {limit}, but must be more than 0, and at most {_MAX_LIMIT:,}"
            )
        self.root, self.image_size, self.channels = Path(root).expanduser(), image_size, channels
        self.labels_csv = None if labels_csv is None else Path(labels_csv).expanduser()
        self.how = How(image_size, channels, colour(background), black, white, max_megapixels, max_metadata_mb)

    @property
    def spec(self) -> DataSpec:
        """Classes are the folders in train/, in the order of their names.

        Raises:
            InputError: there is no train/, or fewer than two classes in it.
        """
        return DataSpec("folder", self._class_names(), channels=self.channels, image_size=self.image_size)

    @property
    def preprocessing(self) -> Preprocessing:
        """As the pictures are made equal, with the range of values that was measured in them."""
        _ = self.pools
        return Preprocessing(self.how, self._ranges)

    def file(self, name: str) -> Path | None:
        """Its path: pictures are called by that below the root."""
        return self.root / name

    def read(self) -> Pools:
        """Finds the pictures, and opens or makes the cache.

        Raises:
            InputError: the folders are not as expected, a class has no readable picture, or the cache can't be written.
        """
        classes = self._class_names()
        pictures = self._find(classes)
        paths = [path for _, path, _ in pictures]
        names = [printable(path) for path in paths]
        parts, labels = np.array([part for part, _, _ in pictures]), np.array([label for _, _, label in pictures])
        cache = folder_cache.load(self.root, paths, [str(part) for part in parts], self.how)
        readable, self._ranges = cache.rows >= 0, cache.ranges
        if self.labels_csv is not None:
            labels = self._labels_of(names, labels, parts, classes)
        tell(names, [str(part) for part in parts], labels, classes, cache, self.how)
        for part, path in self._parts.items():
            if part != "train" and not (readable & (parts == part)).any():
                instead = ", so a fifth of what is labeled validates" if part == "val" else ""
                say(f"data: there is no readable picture in {path}{instead}")
        to_train = np.isin(parts, ("train", "unlabeled")) & readable
        train, loose = (np.flatnonzero(to_train & known) for known in (labels != UNLABELED, labels == UNLABELED))
        val, test = (np.flatnonzero((parts == part) & readable) for part in ("val", "test"))
        for label, name in enumerate(classes):
            lies = f"of class {name} in {self.labels_csv}" if self.labels_csv else f"in {self._parts['train']}/{name}"
            require(label in labels[train], f"there is no readable picture {lies}; add some or remove it")
        if not len(val):
            kept, held = holdout(labels[train], len(train) // 5, "folder val")
            train, val = train[kept], train[held]

        def pool(files: np.ndarray) -> Pool | None:
            called = [names[file] for file in files]
            return Pool(cache.images, labels[files], cache.rows[files], called) if len(files) else None

        return few_labels(self, cache.images, labels, train, pool(val), pool(test), loose, rows=cache.rows, names=names)

    @property
    def _parts(self) -> dict[str, Path]:
        return self._layout.parts

    @property
    def _layout(self) -> Layout:
        return layout(self.root, self.labels_csv is not None)

    @property
    def _csv_below(self) -> list[str]:
        """`labels_csv`, where it lies below the root, by its path there."""
        if self.labels_csv is None:
            return []
        below = os.path.relpath(place(str(self.labels_csv)), place(str(self.root)))
        return [] if below.startswith("..") else [below]

    @cached_property
    def _typed(self) -> dict[str, str]:
        """The class of each picture of `labels_csv`, by its path below the root."""
        assert self.labels_csv is not None
        name_of: dict[str, str] = {}
        for path, name in read_labels(self.labels_csv).items():
            below = os.path.normpath(path)
            below = os.path.relpath(below, place(str(self.root))) if os.path.isabs(below) else below
            other = name_of.setdefault(below, name)
            require(
                other == name, f"{self.labels_csv} has the classes {other} and {name} for {below}; keep one of them"
            )
        return name_of

    def _labels_of(self, names: list[str], labels: np.ndarray, parts: np.ndarray, classes: Sequence[str]) -> np.ndarray:
        """The label of every file, where those of what is trained on are in `labels_csv`."""
        places = {name: row for row, name in enumerate(names)}
        otherwise = {spelled(name): row for name, row in places.items()}
        typed = {name: otherwise[spelled(name)] for name in self._typed if spelled(name) in otherwise}
        places = typed | places
        unknown = [name for name in self._typed if name not in places]
        require(
            not unknown,
            f"{self.labels_csv} names {len(unknown):,} pictures that are not in {self.root}: {named(unknown)}; a path "
            f"is relative to that folder, such as {next(iter(names), 'cat.jpg')}",
        )
        held = [name for name in self._typed if parts[places[name]] in ("val", "test")]
        require(
            not held,
            f"{self.labels_csv} names {len(held):,} pictures of val/ or test/, which are not trained on: {named(held)}"
            f"; remove their rows, or put the pictures elsewhere",
        )
        labels = np.where(np.isin(parts, ("val", "test")), labels, UNLABELED)
        for name, label in self._typed.items():
            labels[places[name]] = classes.index(label)
        counts = Counter(self._typed.values())
        if single := [name for name in classes if counts[name] == 1]:
            say(f"data: warning: {self.labels_csv} has one picture of {named(single)}; label some more")
        return labels

    def _class_names(self) -> tuple[str, ...]:
        train = self.root / "train"
        expected = (
            f"expected {train}/CLASS/*.jpg for two classes or more, and if you like unlabeled/*, val/CLASS/*, and "
            f"test/CLASS/* or test/*; type --data.root FOLDER if they are elsewhere"
        )
        require(self.root.is_dir(), f"there is no folder {self.root}; {expected}")
        if self.labels_csv is not None:
            names = tuple(sorted({*self._typed.values()}))
            given = f"{self.labels_csv} has {len(names)} classes ({named(names) or 'none'})"
            require(len(names) >= 2, f"{given}, but must have two or more; add rows path,class of others")
            check_spelling(names, self.labels_csv)
            return names
        if "train" not in (parts := self._parts):
            folders, beside = listing(self.root)
            there = named([*(f"{path.name}/" for path in folders), *(path.name for path in beside)]) or "nothing"
            raise InputError(
                f"{self.root} holds {there}, but no train/, whose folders are the classes, also of a prediction; "
                f"{expected}"
            )
        folders = [folder for folder in listing(parts["train"])[0] if folder not in parts.values()]
        names = tuple(printable(folder.name) for folder in folders)
        require(
            len(names) >= 2, f"{parts['train']} holds fewer than two folders ({named(names) or 'none'}); {expected}"
        )
        check_spelling(names, parts["train"])
        return names

    def _find(self, classes: tuple[str, ...]) -> list[tuple[str, str, int]]:
        """Every file with the part that it is in, its path below the root, and its class."""
        lies = self._layout
        if lies.parts["train"] == self.root and self.labels_csv is None:
            say(f"data: there is no train/ in {self.root}, so its folders are the classes: {named(classes)}")
        if lies.unused:
            say(f"data: not used in {self.root}: {named(lies.unused)}")
        tell_alikes(classes)
        tops = [
            (part, path, label)
            for part in PARTS
            if part in lies.parts
            for path, label in self._tops(part, lies.parts, classes)
        ]
        below, left_out = files(self.root, [path.relative_to(self.root).as_posix() for _, path, _ in tops])
        if left_out:
            say(f"data: left out, as their files were found in another place already: {named(left_out)}")
        csv = self._csv_below
        others = tuple(f"{path.name}/" for path in lies.parts.values() if lies.parts["train"] in path.parents)
        return [
            (part, name, label)
            for its, (part, _, label) in zip(below, tops, strict=True)
            for name in (path.removeprefix("./") for path in its)
            if name not in csv and not (part == "train" and name.startswith(others))
        ]

    def _tops(self, part: str, parts: dict[str, Path], classes: tuple[str, ...]) -> list[tuple[Path, int]]:
        """The folders of a part, and the class of what is in them."""
        top, train = parts[part], parts["train"]
        folders, beside = listing(top)
        if top == self.root:
            folders = [folder for folder in folders if folder not in parts.values()]
        in_file = self.labels_csv is not None and part == "train"
        if part == "unlabeled" or (part == "test" and not folders) or in_file:
            return [(top, UNLABELED)]
        number = {spelled(name): label for label, name in enumerate(classes)}
        for name in (printable(folder.name) for folder in folders):
            if spelled(name) not in number:
                raise InputError(
                    f"{top / name} is no class of {self.labels_csv or train}: rename it, remove it, or add pictures of "
                    f"it to {self.labels_csv or train / name}{did_you_mean(name, classes)}"
                )
        if beside:
            say(f"data: left out of {top}, as in no class's folder: {named([*map(entry, beside)])}")
        return [(folder, number[spelled(printable(folder.name))]) for folder in folders]
