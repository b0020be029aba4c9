"""Pictures that were given in Python, made equal: of one size and one number of colours."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from semisup.data.files import named
from semisup.data.given import Source
from semisup.data.picture import How
from semisup.data.preprocessing import Picture, Preprocessing
from semisup.errors import InputError
from semisup.runtime.console import say

_AT_ONCE = 256  # pictures
# Pixels that pictures get where it is not said: where they have several sizes, at least, and at most.
_SIDE, _SMALLEST, _LARGEST = 96, 8, 224


@dataclass(frozen=True)
class Read:
    """Pictures made equal.

    Attributes:
        images: (N, C, H, W) uint8.
        labels: (N,) of each; None for none.
        names: (N,) their paths, or their numbers.
    """

    images: np.ndarray
    labels: list[Any]
    names: list[str]


def how(pools: Iterable[Source], size: int | None, channels: int | None, background: tuple[int, int, int]) -> How:
    """How pictures are made equal; what is not said of it is as these pictures are."""
    if size is None or channels is None:
        sides, grey = set(), True
        for pool in pools:
            if pool.array is not None:
                sides.add(min(pool.array.shape[1:3]))
                grey = grey and pool.array.shape[3] == 1
                continue
            for picture, _ in pool.pairs():
                side, its = _seen(picture)
                sides.add(side)
                grey = grey and its
        size = size or (max(_SMALLEST, min(*sides, _LARGEST)) if len(sides) == 1 else _SIDE)
        channels = channels or (1 if grey else 3)
    return How(size, channels, background)


def _seen(picture: Picture) -> tuple[int, bool]:
    """A picture's shorter side in pixels, and whether it is grey; 0 of what can't be read, which is said later."""
    if isinstance(picture, str | os.PathLike):
        try:
            with Image.open(Path(picture)) as file:
                return min(file.size), file.mode in ("1", "L", "LA") or file.mode.startswith("I")
        except Exception:  # whatever Pillow's readers stumble over
            return _SIDE, True
    if isinstance(picture, Image.Image):
        return min(picture.size), picture.mode in ("1", "L", "LA")
    shape = tuple(getattr(picture, "shape", (_SIDE, _SIDE)))
    if len(shape) == 3:
        channels = shape[0] if isinstance(picture, Tensor) else shape[2]
        return min(shape[1:] if isinstance(picture, Tensor) else shape[:2]), channels == 1
    return min(shape, default=_SIDE), True


def read(pool: Source, how: How) -> Read:
    """Reads the pictures; what can't be read is named and left out.

    Raises:
        InputError: something is no picture.
    """
    array, labels = pool.array, list[Any]()
    if array is not None and array.shape[1:] == how.shape and array.dtype == np.uint8:
        labels = [label for _, label in pool.pairs()]
        whole = np.ascontiguousarray(array.transpose(0, 3, 1, 2))
        return Read(whole, labels, [str(k) for k in range(len(array))])
    images, names, unreadable = list[np.ndarray](), list[str](), dict[str, str]()

    def pictures() -> Iterator[tuple[str, Picture]]:
        for k, (picture, label) in enumerate(pool.pairs()):
            labels.append(label)
            yield f"{k}\0{picture if isinstance(picture, str | os.PathLike) else k}", picture

    try:
        for batch, seen, reasons in Preprocessing(how).batches(pictures(), _AT_ONCE):
            images.append(batch.contiguous().numpy())
            names += seen
            unreadable |= reasons
    except InputError as error:
        raise InputError(f"{pool.what}: {error}") from error
    for reason in dict.fromkeys(unreadable.values()):
        these = [name.partition("\0")[2] for name, its in unreadable.items() if its == reason]
        of = f"{len(these):,} of {pool.count:,} files of {pool.what}"
        say(f"data: {of} are {reason}, and are left out: {named(these)}")
    rows = [int(name.partition("\0")[0]) for name in names]
    stacked = np.concatenate(images) if images else np.empty((0, how.channels, how.size, how.size), np.uint8)
    return Read(stacked, [labels[row] for row in rows], [name.partition("\0")[2] for name in names])
