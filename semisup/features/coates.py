"""K-means features (Coates, Ng & Lee 2011, AISTATS): similarity to centroids, pooled over the quadrants of an image.

    semisup kmeans-features --data stl10

Around every pixel the patch is preprocessed as the patches that the centroids come from; the distances z_k to the
centroids become max(0, mean(z) - z_k), which is 0 for about half of them; and each is summed over the four quadrants.
"""

from __future__ import annotations

import sys

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from semisup.data.pool import Pool
from semisup.errors import require
from semisup.features.chunks import rows_at_once
from semisup.features.dictionary import Dictionary


def triangle(distances: Tensor) -> Tensor:
    """max(0, mean(z) - z_k), the activation of section 3.2.1: distances (..., k) -> (..., k), same dtype."""
    return (distances.mean(dim=-1, keepdim=True) - distances).clamp(min=0)


def sum_quadrants(maps: Tensor) -> Tensor:
    """Sums over the four quadrants: top left, top right, bottom left, bottom right.

    Where a side is odd, the middle row or column is the first half's, as in the authors' code.

    Args:
        maps: (B, H, W, k) floats.

    Returns:
        (B, 4*k), the same dtype, quadrant by quadrant.
    """
    _, height, width, _ = maps.shape
    rows = maps.split([height - height // 2, height // 2], dim=1)
    parts = [part for row in rows for part in row.split([width - width // 2, width // 2], dim=2)]
    return torch.cat([part.sum(dim=(1, 2)) for part in parts], dim=1)


def encode(images: Tensor, dictionary: Dictionary) -> Tensor:
    """The features of some images, all at once.

    Args:
        images: (B, C, H, W) uint8, or floats from 0 to 255.
        dictionary: of k centroids, on the device of the images.

    Returns:
        (B, 4*k) float32.
    """
    _, h, w = dictionary.shape
    height, width = images.shape[2] - h + 1, images.shape[3] - w + 1
    patches = F.unfold(images.float(), (h, w)).transpose(1, 2).flatten(0, 1)  # (B * height * width, D)
    distances = torch.cdist(dictionary.preprocess(patches), dictionary.centroids)
    return sum_quadrants(triangle(distances).unflatten(0, (len(images), height, width)))


def features(pool: Pool, dictionary: Dictionary, name: str = "images") -> Tensor:
    """The features of a pool, (N, 4*k) float32 on the CPU, computed where the dictionary is.

    Args:
        pool: the images.
        dictionary: of k centroids.
        name: what the progress bar calls the images.

    Raises:
        InputError: the dictionary's patches are larger than the images, or of other channels.
    """
    (channels, height, width), (c, h, w) = pool.shape, dictionary.shape
    require(
        c == channels and h < height and w < width,
        f"patches of {c}x{h}x{w} (channels, height, width) can't slide over images of {channels}x{height}x{width}",
    )
    (k, d), device = dictionary.centroids.shape, dictionary.centroids.device
    size = rows_at_once((height - h + 1) * (width - w + 1) * max(k, d), device)
    encoded = torch.empty(len(pool), 4 * k)
    chunks = tqdm(pool.chunks(size), name, -(-len(pool) // size), leave=False, disable=not sys.stderr.isatty())
    for part, images in zip(encoded.split(size), chunks, strict=True):
        part.copy_(encode(images.to(device), dictionary))
    return encoded
