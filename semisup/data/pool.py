"""A pool: uint8 images that stay in a memory-mapped file or on the device, and their labels."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from semisup.batch import UNLABELED, move
from semisup.data.keys import image_keys
from semisup.data.pictures import Pictures
from semisup.errors import InputError

__all__ = ["Pool"]

_UPLOAD = 4096  # images copied to the device at once: bounds the host memory that an upload takes


class Stack:
    """Arrays of images one after the other, as if they were one array, and without a copy.

    Args:
        parts: (N_k, C, H, W) uint8 each, of one C, H and W.
    """

    def __init__(self, *parts: np.ndarray) -> None:
        self.parts = parts
        self._ends = np.cumsum([len(images) for images in parts])
        self.shape = (len(self), *parts[0].shape[1:])

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        """Images (B, C, H, W) uint8 of `rows` (B,) int64, in the first array's order in memory."""
        images_of_rows = np.empty_like(self.parts[0][:1], subok=False, shape=(len(rows), *self.shape[1:]))
        part = np.searchsorted(self._ends, rows, side="right")
        for number, images in enumerate(self.parts):
            here = part == number
            images_of_rows[here] = images[rows[here] - (self._ends[number] - len(images))]
        return images_of_rows


class BrokenPool(InputError):
    """A pool that can't be: what a dataset makes one of is not what it must be."""


class Pool:
    """Some rows of an array of images, with their labels.

    Args:
        images: (N, C, H, W) uint8; a memory map, or any view of one (transposed axes cost nothing).
        labels: (len(rows),) classes, `UNLABELED` where there is none; None for a pool without labels.
        rows: (n,) rows of `images` that belong to the pool, in the pool's order; None for all.
        names: (n,) what to call each image in `predictions.csv`; None to call them by their row.

    Raises:
        BrokenPool: a shape, a type or a number of rows is another.
    """

    def __init__(
        self,
        images: np.ndarray | Stack,
        labels: np.ndarray | None = None,
        rows: np.ndarray | None = None,
        names: list[str] | None = None,
    ) -> None:
        for part in images.parts if isinstance(images, Stack) else (images,):
            if not isinstance(part, np.ndarray) or part.dtype != np.uint8 or part.ndim != 4:
                raise BrokenPool(
                    f"has {_shown(part)} for images, which must be a numpy array of uint8 (N, channels, height, width)"
                )
        self._images = images
        self.rows = np.arange(len(images)) if rows is None else _integers("rows", rows)
        if len(self.rows) and not 0 <= self.rows.min() <= self.rows.max() < len(images):
            raise BrokenPool(f"has rows from {self.rows.min()} to {self.rows.max()} of {len(images)} images")
        labels = np.full(len(self.rows), UNLABELED) if labels is None else _integers("labels", labels)
        for what, values in {"labels": labels, "names": names}.items():
            if values is not None and len(values) != len(self.rows):
                raise BrokenPool(f"has {len(values)} {what} for {len(self.rows)} images")
        self.names = names
        self.labels = torch.as_tensor(labels)
        self._resident: Tensor | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def followed_by(self, other: Pool) -> Pool:
        """This pool, and behind it the images of another one; none of them has a label."""
        names = [pool.name(row) for pool in (self, other) for row in range(len(pool))]
        if self._images is other._images:
            images, rows = self._images, other.rows
        else:
            images = Stack(*self.arrays, *other.arrays)
            rows = other.rows + len(self._images)
        known = self.names or other.names or self._images is not other._images
        return Pool(images, None, np.concatenate([self.rows, rows]), names if known else None)

    def first(self, count: int) -> Pool:
        """Its first images as a pool, which are not copied; resident where these are."""
        names = self.names[:count] if self.names else None
        pool = Pool(self._images, self.labels[:count].numpy(), self.rows[:count], names)
        pool._resident = None if self._resident is None else self._resident[:count]
        return pool

    def at(self, rows: np.ndarray) -> Pool:
        """Its images at `rows` (n,) int64 as a pool, which are not copied."""
        names = [self.names[row] for row in rows] if self.names else None
        return Pool(self._images, self.labels.numpy()[rows], self.rows[rows], names)

    def with_labels(self, labels: Tensor) -> Pool:
        """The same images with these labels (n,) int64."""
        return Pool(self._images, labels.cpu().numpy(), self.rows, self.names)

    @property
    def arrays(self) -> tuple[np.ndarray, ...]:
        """The arrays of images that it has rows of, one after the other."""
        return self._images.parts if isinstance(self._images, Stack) else (self._images,)

    @property
    def scorable(self) -> bool:
        """Whether every image has a label, so that predictions can be scored."""
        return bool((self.labels != UNLABELED).all())

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of every image."""
        channels, height, width = self._images.shape[1:]
        return channels, height, width

    @property
    def nbytes(self) -> int:
        """Bytes that the pool takes when it is resident on a device."""
        return len(self) * int(np.prod(self.shape))

    @property
    def device(self) -> torch.device:
        """Where `gather` returns its images."""
        return torch.device("cpu") if self._resident is None else self._resident.device

    def name(self, index: int) -> str:
        """What `predictions.csv` calls an image: its file's name, or its row in the dataset's file."""
        return self.names[index] if self.names else str(self.rows[index])

    def pictures(self, keys: dict[int, np.ndarray] | None = None) -> Pictures:
        """Which images they are, for a fingerprint.

        Args:
            keys: the keys of arrays that were read before, by the arrays' identity; those that are read now are added.
        """
        keys = {} if keys is None else keys
        for images in self.arrays:
            if id(images) not in keys:
                keys[id(images)] = image_keys(images)
        own = np.concatenate([keys[id(images)] for images in self.arrays])[self.rows]
        return Pictures(tuple(self.name(row) for row in range(len(self))), self.labels.numpy(), own)

    def gather(self, index: Tensor) -> Tensor:
        """Images (B, C, H, W) uint8 of pool rows `index` (B,) int64, on the pool's device.

        From the host they come in the file's own order in memory, whatever the order of their axes: a plain copy is ten
        times faster than one that transposes, which the device does better.
        """
        if self._resident is not None:
            return self._resident[move(index, self._resident.device)]
        return torch.from_numpy(self._images[self.rows[index.numpy()]])

    def make_resident(self, device: torch.device) -> None:
        """Copies the pool's images to `device`, once; `gather` reads them there from now on."""
        if self._resident is None:
            resident = torch.empty((len(self), *self.shape), dtype=torch.uint8, device=device)
            for part, images in zip(resident.split(_UPLOAD), self.chunks(_UPLOAD), strict=True):
                part.copy_(images)
            self._resident = resident

    def share(self, rank: int, world: int) -> Tensor:
        """Pool rows (n,) int64 that are one rank's when `world` of them go through the pool together."""
        return torch.arange(rank * len(self) // world, (rank + 1) * len(self) // world)

    def chunks(self, size: int) -> Iterator[Tensor]:
        """All images in order, (B, C, H, W) uint8, `size` at a time."""
        for index in torch.arange(len(self)).split(size):
            yield self.gather(index)


def _integers(what: str, values: Any) -> np.ndarray:
    """(n,) int64 of whole numbers; a mask, floats or another shape would be taken for something else than was meant."""
    array = np.asarray(values)
    if array.ndim != 1 or (array.dtype.kind not in "iu" and array.size):
        raise BrokenPool(f"has {_shown(array)} for {what}, which must be integers (n,)")
    return array.astype(np.int64, copy=False)


def _shown(value: Any) -> str:
    dtype, shape = getattr(value, "dtype", ""), getattr(value, "shape", None)
    return f"a {type(value).__name__}" if shape is None else f"{dtype} {tuple(shape)} ({type(value).__name__})"


class Repeated(Pool):
    """Every image of a pool several times, one after the other, none of them copied; its row there is its label.

    Args:
        pool: the images.
        times: how often each is there.
    """

    def __init__(self, pool: Pool, times: int) -> None:
        super().__init__(pool._images, np.arange(len(pool)).repeat(times), pool.rows.repeat(times))
        self._pool, self._times = pool, times

    @property
    def nbytes(self) -> int:
        """Bytes that the pool takes when it is resident on a device."""
        return self._pool.nbytes

    @property
    def device(self) -> torch.device:
        """Where `gather` returns its images."""
        return self._pool.device

    def gather(self, index: Tensor) -> Tensor:
        """Images (B, C, H, W) uint8 of pool rows `index` (B,) int64, on the pool's device."""
        return self._pool.gather(torch.div(index, self._times, rounding_mode="floor"))

    def make_resident(self, device: torch.device) -> None:
        """Copies every image to `device` once."""
        self._pool.make_resident(device)
