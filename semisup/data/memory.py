"""The datamodule of pictures that a program gives: `semisup.fit(data=semisup.Data(...))`."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np

from semisup.batch import UNLABELED
from semisup.data.datamodule import DataModule
from semisup.data.few_labels import few_labels
from semisup.data.given import Data, Source, source
from semisup.data.given_classes import Classes
from semisup.data.given_pictures import how, read
from semisup.data.keys import image_keys
from semisup.data.picture import How, colour
from semisup.data.pool import Pool, Stack
from semisup.data.pools import DataSpec, Pools
from semisup.data.preprocessing import Preprocessing
from semisup.data.splits import holdout
from semisup.errors import InputError, check, require

_SMALLEST, _LARGEST = 8, 4096  # pixels


@dataclass(frozen=True)
class _Part:
    images: np.ndarray  # (N, C, H, W) uint8
    labels: np.ndarray  # (N,) int64
    names: list[str]


class Memory(DataModule):
    """Pictures that were given in Python (`semisup.Data`): arrays, lists, datasets of torchvision and Hugging Face.

    They are resized as those of a folder are, and lie in memory as bytes. Labeled ones without a label are unlabeled,
    and with `labels_per_class` the rest of the labeled ones are too, whose classes are known to measure with where all
    unlabeled ones are such.

    Args:
        image_size: height and width in pixels; by default the shorter side of the labeled pictures, at most 224, where
            it is the same for all, and else 96.
        channels: 3 for RGB, 1 for grey; by default grey where all labeled pictures are.
        background: the colour behind what is transparent: a name, or such as "#ff8000".
        images: what tells these images from others; filled in where they are given.
        kwargs: see DataModule.
    """

    given: Data | None = None

    def __init__(
        self,
        image_size: int | None = None,
        channels: Literal[1, 3] | None = None,
        background: str = "white",
        images: str = "",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if image_size is not None:
            check("data", image_size=(image_size, _SMALLEST, _LARGEST))
        self.image_size, self.channels, self.background, self.images = image_size, channels, colour(background), images

    @property
    def spec(self) -> DataSpec:
        """The classes of the labels.

        Raises:
            InputError: nothing is given here, or what is given is not what it should be.
        """
        its, classes, _ = self._opened
        return DataSpec("memory", classes.names, channels=its.channels, image_size=its.size)

    @property
    def preprocessing(self) -> Preprocessing:
        """As the pictures are made equal."""
        return Preprocessing(self._opened[0])

    @cached_property
    def digest(self) -> str:
        """Of all images that are given, with their labels, whichever of them the seed chooses."""
        parts = {
            name: (image_keys(part.images).astype("<u8").tobytes(), part.labels.astype("<i8").tobytes())
            for name, part in self._opened[2].items()
        }
        return hashlib.sha256(repr((parts, self._opened[1].names)).encode()).hexdigest()[:16]

    def read(self) -> Pools:
        """The pools.

        Raises:
            InputError: a class has no labeled picture, or what is given is not what it should be.
        """
        _, classes, parts = self._opened
        labeled, loose = parts["labeled"], parts.get("unlabeled")
        train, without = np.flatnonzero(labeled.labels != UNLABELED), np.flatnonzero(labeled.labels == UNLABELED)
        for label, name in enumerate(classes.names):
            require(
                label in labeled.labels, f"class {name!r} has no labeled picture; give some, or class_names without it"
            )
        if (its := parts.get("val")) is not None:
            count = int((its.labels == UNLABELED).sum())
            require(
                not count, f"{count:,} pictures of val have no label to be scored by; give each one, or leave val out"
            )
        images, labels, names = labeled.images, labeled.labels, labeled.names
        stacked: np.ndarray | Stack = images
        if loose is not None:
            without = np.concatenate([len(images) + np.arange(len(loose.images)), without])
            stacked, names = Stack(images, loose.images), names + loose.names
            labels = np.concatenate([labels, np.full(len(loose.images), UNLABELED)])
        val, test = (
            Pool(x.images, x.labels, None, x.names) if (x := parts.get(name)) else None for name in ("val", "test")
        )
        if val is None:
            kept, held = holdout(labels[train], len(train) // 5, "memory val")
            train, held = train[kept], train[held]
            val = Pool(stacked, labels[held], held, [names[row] for row in held]) if len(held) else None
        return few_labels(self, stacked, labels, train, val, test, without, names=names)

    @cached_property
    def _opened(self) -> tuple[How, Classes, dict[str, _Part]]:
        """How the pictures are made equal, the classes, and the parts that have a picture."""
        if self.given is None:
            raise InputError(
                "the data of this run was given in Python and can't be read from here; type semisup predict RUN "
                "PICTURE, for any pictures, or give it once more: semisup.fit(data=..., resume=RUN)"
            )
        given = self.given
        named = {"labeled": given.labeled, "unlabeled": given.unlabeled, "val": given.val, "test": given.test}
        sources = {name: source(name, pictures) for name, pictures in named.items() if pictures is not None}
        require("labeled" in sources, "labeled has no pictures; give some with labels")
        its = how([sources["labeled"]], self.image_size, self.channels, self.background)
        opened = {name: its_own for name, pool in sources.items() if (its_own := read(pool, its)).names}
        require("labeled" in opened, "labeled has no pictures; give some with labels")
        classes = Classes(sources["labeled"], opened["labeled"].labels, given.class_names)

        def part(name: str, pool: Source) -> _Part:
            its, known = opened[name], name != "unlabeled"
            labels = classes.of(pool, its.labels) if known else np.full(len(its.names), UNLABELED)
            train = name in ("labeled", "unlabeled")
            return _Part(its.images, labels, [f"{name}/{x}" if train and x.isdecimal() else x for x in its.names])

        return its, classes, {name: part(name, sources[name]) for name in opened}
