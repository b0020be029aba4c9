"""A dictionary of patches: centroids that are learned from a pool once and kept in the user's cache."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import torch
from torch import Tensor

from semisup.data.cache import user_cache
from semisup.data.pool import Pool
from semisup.errors import require
from semisup.features.chunks import rows_at_once
from semisup.features.kmeans import Method, cluster, resolve
from semisup.features.patches import Whitening, contrast_normalize, random_patches
from semisup.runs.directory import replacing
from semisup.runtime.console import say

_VERSION = 1  # of what is kept, and of how it is computed


@dataclass(frozen=True)
class Dictionary:
    """Centroids of contrast-normalised patches, and the whitening they were found in.

    Attributes:
        centroids: (k, D) float32, with D = C*h*w, in the space of whitened patches.
        whitening: None where patches are only contrast-normalised.
        shape: (C, h, w) of a patch.
    """

    centroids: Tensor
    whitening: Whitening | None
    shape: tuple[int, int, int]

    def preprocess(self, patches: Tensor) -> Tensor:
        """Takes patches (M, D) float32 from 0 to 255 to the space of the centroids, (M, D)."""
        normalized = contrast_normalize(patches)
        return normalized if self.whitening is None else self.whitening.apply(normalized)

    def filters(self) -> Tensor:
        """(k, C, h, w) float32 filters w with w . p = centroid . whiten(p) + constant, p contrast-normalised.

        With W the matrix of the whitening, centroid . W (p - mean) = (W^T centroid) . p - constant: the centroids are
        mapped back through the whitening. p has no mean of its own, so a filter's mean does not matter to it and can be
        taken away; then the filter subtracts the mean of whatever patch it meets, and w . x = sqrt(var + 10) w . p for
        the raw patch x. What remains of the contrast normalisation is that factor, which no convolution can divide by.
        """
        filters = self.centroids if self.whitening is None else self.centroids @ self.whitening.matrix
        return (filters - filters.mean(dim=1, keepdim=True)).unflatten(1, self.shape)

    def to(self, device: torch.device) -> Dictionary:
        """The same dictionary on `device`."""
        whitening = self.whitening and self.whitening.to(device)
        return Dictionary(self.centroids.to(device), whitening, self.shape)


def learn(
    pool: Pool,
    k: int,
    size: tuple[int, int],
    seed: int,
    *,
    images: int,
    patches_per_image: int,
    eps: float | None = 0.1,
    steps: int = 25,
    method: Method = "auto",
    device: torch.device | None = None,
) -> Dictionary:
    """Clusters random patches of a pool, or recalls what the same patches gave before.

    Args:
        pool: the images.
        k: number of centroids.
        size: height and width of a patch in pixels.
        seed: chooses the patches and the first centroids.
        images: how many images to take patches of; all where there are fewer.
        patches_per_image: of each image.
        eps: of the whitening; None for none.
        steps: of `cluster`.
        method: of `cluster`.
        device: where to compute; the CPU by default.

    Returns:
        The dictionary, on `device`.

    Raises:
        InputError: patches are larger than the images, or there are fewer than k, or fewer than k distinct ones.
    """
    device = device or torch.device("cpu")
    shape = (pool.shape[0], *size)
    patches = random_patches(pool, images, patches_per_image, size, seed)
    require(
        k <= len(patches),
        f"k-means can't place {k:,} centroids on {len(patches):,} patches, {patches_per_image:,} of each of "
        f"{len(patches) // patches_per_image:,} images; take more of each (patches_per_image), or fewer centroids",
    )
    method = resolve(method, device)

    def compute() -> dict[str, Tensor]:
        points = patches.to(device)
        chunks = points.split(rows_at_once(points.shape[1], device))
        for chunk in chunks:  # in place, as there may be gigabytes of them
            chunk.copy_(contrast_normalize(chunk))
        whitening = None if eps is None else Whitening.fit(points, eps)
        if whitening:
            for chunk in chunks:
                chunk.copy_(whitening.apply(chunk))
        learned = {"centroids": cluster(points, k, seed, steps=steps, method=method).centroids}
        return learned | ({"mean": whitening.mean, "matrix": whitening.matrix} if whitening else {})

    digest = hashlib.sha256(repr((_VERSION, shape, k, seed, eps, steps, method)).encode())
    digest.update(patches.cpu().numpy().data)  # what the patches are, not which file they come from, decides
    length = math.prod(shape)
    shapes = {"centroids": (k, length)} | ({} if eps is None else {"mean": (length,), "matrix": (length, length)})
    learned = {name: value.to(device) for name, value in _cached(digest.hexdigest()[:32], shapes, compute).items()}
    whitening = None if eps is None else Whitening(learned["mean"], learned["matrix"])
    return Dictionary(learned["centroids"], whitening, shape)


def _cached(
    name: str, shapes: dict[str, tuple[int, ...]], compute: Callable[[], dict[str, Tensor]]
) -> dict[str, Tensor]:
    """What `compute`, of such shapes, returned when it was last called under this name, else what it returns now."""
    path = user_cache() / f"dictionary-{name}.pt"
    if path.is_file():
        with suppress(Exception):  # torch's reader raises whatever a damaged file makes it stumble over
            kept: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
            if {name: tuple(value.shape) for name, value in kept.items() if value.is_floating_point()} == shapes:
                return kept
        say(f"k-means: {path} is damaged; its centroids are computed anew")
    computed = compute()
    with suppress(OSError, RuntimeError):  # not writable, or full, which torch calls a RuntimeError: no cache then
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            torch.save({key: value.cpu() for key, value in computed.items()}, temporary)
    return computed
