"""Features of a frozen backbone, computed once for every image and kept on disk: `--model.adapt head`.

Where nothing of the backbone is trained, what it makes of an image is the same in every step. So the views that a
strategy asks for are drawn a few times for every image (`--model.draws`, or as many as fit), their features are
computed in one pass and kept, and steps then cost a linear layer. Features are kept as bfloat16 in memory-mapped files,
one for each array of images, view and backbone, by what these hold: another run, strategy or seed on them finds what is
there, and computes the images that are missing.

    XDG_CACHE_HOME/semisup/features/<digest>.features   (draws, N, F) bfloat16
                                    <digest>.done       (draws, N) bool, which of them are there
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from torch import Tensor

from semisup.augment.views import find_view
from semisup.batch import move
from semisup.data.cache import user_cache
from semisup.data.keys import image_keys
from semisup.data.pool import Pool
from semisup.errors import InputError, require
from semisup.randomness import Draw
from semisup.runtime.console import Watched, say
from semisup.runtime.ranks import of_the_first

PLAIN = "none"  # the view without augmentation, of which there is one draw
_SEED = 0  # of the draws, which are the same in all runs, so that these can share them
_SHARE = 0.5  # of the free disk that draws may take
_VERSION = 1  # of the views and of the files


class CachedFeatures:
    """Features of views of images, by the rows of their pools.

    Args:
        compute: images (B, C, H, W) float32 in [0, 1] on the device -> features (B, F).
        backbone: a digest of everything that `compute` depends on.
        width: F.
        draws: of every view but the plain one, at the most (`limit`).
        batch_size: images that are computed at once.
        device: where they are computed.
    """

    def __init__(
        self,
        compute: Callable[[Tensor], Tensor],
        backbone: str,
        width: int,
        draws: int,
        batch_size: int,
        device: torch.device,
    ) -> None:
        self._compute, self._backbone, self._width, self.count = compute, backbone, width, draws
        self._batch_size, self._device = batch_size, device
        self._open: dict[tuple[int, str], np.ndarray] = {}  # identity of an array and view -> features
        self._digests: dict[int, str] = {}

    def draws(self, view: str) -> int:
        """How many draws of a view there are."""
        return 1 if view == PLAIN else self.count

    def limit(self, views: Iterable[tuple[Pool, str]]) -> None:
        """Keeps no more draws than fit into half of the disk that is free, and at least one; says where it is fewer.

        Args:
            views: of pools, that will be prepared. Whatever is there already takes no more room.
        """
        folder = _folder()
        arrays = {(id(images), view): images for pool, view in views for images in pool.arrays if view != PLAIN}
        there, room = set(os.listdir(folder)), _SHARE * shutil.disk_usage(folder).free

        def missing(count: int) -> int:
            """Bytes of the files that are not there yet."""
            left = [x for (_, view), x in arrays.items() if f"{self._name(x, view, count)}.done" not in there]
            return sum(2 * count * len(images) * self._width for images in left)

        fits = next((count for count in range(self.count, 1, -1) if missing(count) <= room), 1)
        fits = int(of_the_first(torch.tensor([fits]), self._device))  # another rank may have begun to write
        if fits < self.count:
            say(
                f"features: {fits} draw{'s' if fits > 1 else ''} of every view, as many as fit: the {self.count} of "
                f"--model.draws take {missing(self.count) / 1e9:.1f} GB, and half of what is free in {folder} is "
                f"{room / 1e9:.1f} GB"
            )
        self.count = fits

    def prepare(self, pool: Pool, view: str) -> None:
        """Computes what is missing of a view of a pool's images.

        Raises:
            InputError: the disk has no room for it.
        """
        for images, rows, _ in _parts(pool, np.arange(len(pool))):
            self._fill(images, rows, view)

    def gather(self, pool: Pool, index: Tensor, view: str, draw: Draw | None = None) -> Tensor:
        """Features (B, F) float32 of images of a pool, of the draw of a view that a step chooses, on the device.

        Args:
            pool: whose view was prepared.
            index: (B,) int64 rows of the pool.
            view: of them.
            draw: chooses for each image one of the draws; None for the first.
        """
        count = self.draws(view)
        chosen = np.zeros(len(index), np.int64) if draw is None else draw.integers("draw", count)[:, 0].cpu().numpy()
        gathered = np.empty((len(index), self._width), np.int16)
        for images, rows, here in _parts(pool, index.cpu().numpy()):
            gathered[here] = self._open[id(images), view][chosen[here], rows]
        return move(torch.from_numpy(gathered).view(torch.bfloat16), self._device).float()

    def _name(self, images: np.ndarray, view: str, draws: int) -> str:
        if id(images) not in self._digests:
            self._digests[id(images)] = _short(image_keys(images).tobytes())
        return _short(f"{_VERSION} {self._backbone} {self._digests[id(images)]} {view} {draws}".encode())

    def _fill(self, images: np.ndarray, rows: np.ndarray, view: str) -> None:
        draws, folder = self.draws(view), _folder()
        name = self._name(images, view, draws)
        values, done = folder / f"{name}.features", folder / f"{name}.done"
        with FileLock(folder / f"{name}.lock"):  # other processes and ranks wait, and then find all of it
            shape = (draws, len(images), self._width)
            size = 2 * int(np.prod(shape))
            if not done.exists():
                free = shutil.disk_usage(folder).free
                require(
                    size < 0.9 * free,
                    f"{draws} draws of the view {view} of {len(images):,} images take {size / 1e9:.1f} GB in {folder}, "
                    f"which has {free / 1e9:.1f} GB; type --model.draws with a smaller number, or 0 for none",
                )
                np.memmap(values, np.int16, "w+", shape=shape)
                np.memmap(done, bool, "w+", shape=shape[:2])
            try:
                kept, there = (
                    np.memmap(values, np.int16, "r+", shape=shape),
                    np.memmap(done, bool, "r+", shape=shape[:2]),
                )
            except (ValueError, OSError) as error:
                raise InputError(f"{values} is damaged ({error}); remove it and {done}") from error
            rows = np.unique(rows)
            missing = [(draw, rows[~there[draw, rows]]) for draw in range(draws)]
            count = sum(len(these) for _, these in missing)
            told = f"{draws} draw{'s' if draws > 1 else ''} of the view {view} of {len(rows):,} images"
            if count:
                say(f"features: {told}, {count:,} computed now, {size / 1e6:,.0f} MB in {values}")
            with Watched(f"features ({view})", count, "images") as bar:
                for draw, these in missing:
                    for part in np.array_split(these, -(-len(these) // self._batch_size)) if len(these) else []:
                        kept[draw, part] = self._features(images, part, view, draw)
                        kept.flush()
                        there[draw, part] = True
                        bar.update(len(part))
        self._open[id(images), view] = kept

    def _features(self, images: np.ndarray, rows: np.ndarray, view: str, draw: int) -> np.ndarray:
        """(B, F) as the bits of bfloat16."""
        pixels = torch.from_numpy(np.ascontiguousarray(images[rows])).to(self._device)
        position = torch.from_numpy(rows).to(self._device)
        seen = find_view(view)(pixels, Draw(_SEED, draw, f"features/{view}", position, len(images)))
        return self._compute(seen).bfloat16().cpu().view(torch.int16).numpy()


def _folder() -> Path:
    folder = user_cache() / "features"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _parts(pool: Pool, index: np.ndarray) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """The arrays that rows of a pool are in, their rows there, and which of `index` these are."""
    rows, parts, begin = pool.rows[index], [], 0
    for images in pool.arrays:
        here = np.flatnonzero((rows >= begin) & (rows < begin + len(images)))
        parts.append((images, rows[here] - begin, here))
        begin += len(images)
    return parts


def _short(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:24]
