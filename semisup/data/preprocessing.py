"""How new pictures become what a model was trained on: the same size, colours, background and range of values.

A checkpoint carries it, so that a picture needs no dataset to be seen as the training images were.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from semisup.data.deep import FLOATS, INTEGERS, Range, seen_range
from semisup.data.files import files
from semisup.data.picture import REASONS, UNREADABLE, How, Reading, read, reading, square
from semisup.errors import InputError, require
from semisup.runs.paths import local

Picture: TypeAlias = str | os.PathLike[str] | Image.Image | np.ndarray | Tensor
_THREADS = 4  # Pillow lets go of the interpreter while it works


@dataclass(frozen=True)
class Preprocessing:
    """How pictures are made equal.

    Attributes:
        how: size, channels, background, and limits of what is read.
        ranges: what is black and what is white in each kind of pictures of more than 8 bits, as the training images had
            them. Of a kind that isn't there, the usual range that holds a picture's own values is taken.
    """

    how: How
    ranges: dict[str, Range] = field(default_factory=dict)

    def saved(self) -> dict[str, Any]:
        """In plain types, as a checkpoint keeps it."""
        ranges = {kind: list(pair) for kind, pair in self.ranges.items()}
        return {**asdict(self.how), "background": list(self.how.background), "ranges": ranges}

    @classmethod
    def restored(cls, saved: dict[str, Any]) -> Preprocessing:
        """What `saved` has made.

        Raises:
            InputError: it contradicts itself.
        """
        try:
            fields = {**saved, "background": tuple(map(int, saved["background"]))}
            ranges = {kind: (float(low), float(high)) for kind, (low, high) in fields.pop("ranges").items()}
            how = How(**fields)
            require(type(how.size) is int and 0 < how.size <= 4096 and how.channels in (1, 3), f"pictures {how.shape}")
            require(len(how.background) == 3 and ranges.keys() <= {INTEGERS, FLOATS}, f"pictures seen by {fields}")
            require(all(low < high for low, high in ranges.values()), f"pictures seen within {ranges}")
            return cls(how, ranges)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(f"what it says of pictures is {str(saved)[:200]}") from error

    def image(self, picture: Picture) -> Reading:
        """One picture as (H, W, C) uint8, or the reason why it can't be read; inside of `reading`.

        Args:
            picture: a path; a picture of Pillow; or uint8 in the order that is usual where it comes from, (H, W, C) or
                (H, W) of numpy, (C, H, W) or (H, W) of torch. Numbers in floating point are from 0 to 1.
        """
        if not isinstance(picture, str | os.PathLike):
            try:
                return Reading(square(_opened(picture), self.how))
            except InputError:
                raise
            except Exception:  # of a file that Pillow has opened, and reads now
                return Reading(reason=UNREADABLE)
        its = read(Path(picture), self.how, self.ranges)
        if its.pixels is None and its.kind:  # of a kind that the training images were not of
            its = read(Path(picture), self.how, {its.kind: seen_range(its.low, its.high, its.kind)})
        return its

    def batches(
        self, pictures: Iterable[tuple[str, Picture]], size: int
    ) -> Iterator[tuple[Tensor, list[str], dict[str, str]]]:
        """Named pictures in batches, read a batch at a time.

        Returns:
            An iterator over (B, C, H, W) uint8 of those that can be read, their names, and why the others can't be.
        """
        remaining = iter(pictures)
        with reading(self.how), ThreadPool(_THREADS) as pool:
            while chunk := list(islice(remaining, size)):
                names, these = zip(*chunk, strict=True)
                decoded = list(zip(names, pool.map(self.image, these), strict=True))
                images = [its.pixels for _, its in decoded if its.pixels is not None]
                stacked = np.stack(images) if images else np.empty((0, *self.how.shape), np.uint8)
                seen = [name for name, its in decoded if its.pixels is not None]
                unreadable = {name: self._reason(its) for name, its in decoded if its.pixels is None}
                yield torch.from_numpy(stacked).permute(0, 3, 1, 2), seen, unreadable

    def _reason(self, its: Reading) -> str:
        return REASONS.get(its.reason, its.reason).format(how=self.how)


def _opened(picture: Image.Image | np.ndarray | Tensor) -> Image.Image:
    """A picture that is in memory already, as Pillow has it, in at most 8 bits."""
    if isinstance(picture, Image.Image):
        deep = picture.mode in ("I", "F") or picture.mode.startswith("I;")
        require(not deep, f"a picture of Pillow's mode {picture.mode} has no range to be seen in; give its file")
        require(
            min(picture.size) > 0, f"a picture of {picture.width}x{picture.height} pixels has none; give another one"
        )
        return picture.copy()
    require(
        isinstance(picture, np.ndarray | Tensor),
        f"a picture is a path, or one of Pillow, numpy or torch; found {picture!r:.60}, a {type(picture).__name__}",
    )
    given = f"{type(picture).__module__.partition('.')[0]}, {picture.dtype}, shape {tuple(picture.shape)}"
    if isinstance(picture, Tensor):
        picture = picture.detach().cpu()
        picture = picture.float() if picture.is_floating_point() else picture
        picture = (picture.permute(1, 2, 0) if picture.ndim == 3 else picture).numpy()
    colours = picture.shape[2] if picture.ndim == 3 else 1
    floats = np.issubdtype(picture.dtype, np.floating)
    require(
        picture.ndim in (2, 3) and colours in (1, 3, 4) and picture.size > 0 and (floats or picture.dtype == np.uint8),
        f"a picture is uint8, or floating point from 0 to 1, of shape (H, W) or (H, W, C) in numpy and (H, W) or "
        f"(C, H, W) in torch, with 1, 3 or 4 channels; found {given}",
    )
    if floats:
        within = bool(np.isfinite(picture).all() and picture.min() >= 0 and picture.max() <= 1)
        require(within, f"a picture in floating point is from 0 to 1; found {picture.min():g} to {picture.max():g}")
        picture = np.round(picture * 255).astype(np.uint8)
    return Image.fromarray(picture.reshape(picture.shape[:2]) if colours == 1 else picture)


def find(paths: Sequence[str | os.PathLike[str]]) -> list[Path]:
    """Files as they are, and in the place of a folder all files in it, at any depth, without the hidden ones.

    Raises:
        InputError: a path is not there, or a folder can't be listed or holds no file.
    """
    listed: list[Path] = []
    for path in (local(os.fspath(path)) for path in paths):
        if not path.is_dir():
            require(path.exists(), f"{path} is not there; give pictures, or folders that hold some")
            listed.append(path)
            continue
        (its,), _ = files(path, ["."])
        require(bool(its), f"{path} holds no files; give pictures, or folders that hold some")
        listed += [path / name for name in its]
    return listed
