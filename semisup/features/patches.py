"""Random patches of a pool's images, and their preprocessing: contrast normalisation and ZCA whitening.

Source: Coates, Ng & Lee 2011, "An analysis of single-layer networks in unsupervised feature learning", section 3.1.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from semisup.data.pool import Pool
from semisup.errors import require
from semisup.features.chunks import rows_at_once
from semisup.randomness import Draw, permutation

_CONTRAST = 10.0  # added to a patch's variance, in squared steps of 0..255, so that flat patches don't become all noise
_IMAGES = 1024  # whose pixels are in memory at once


def random_patches(pool: Pool, images: int, per_image: int, size: tuple[int, int], seed: int) -> Tensor:
    """Patches at random places of random images; the same for the same seed.

    Args:
        pool: the images, of C channels.
        images: how many of them, chosen at random; all where there are fewer.
        per_image: patches of each, at places drawn independently of each other.
        size: height h and width w of a patch in pixels.
        seed: of the draws.

    Returns:
        (M, C*h*w) float32 from 0 to 255, on the pool's device; channels first, as in a flattened (C, h, w).

    Raises:
        InputError: a patch is larger than the images.
    """
    channels, height, width = pool.shape
    h, w = size
    require(h <= height and w <= width, f"patches of {h}x{w} pixels don't fit into images of {height}x{width}")
    rows = permutation(len(pool), seed, "images of patches")[:images].sort().values  # in the order of the file
    patches = torch.empty(len(rows), per_image, channels, h, w, device=pool.device)
    for chunk, out in zip(rows.split(_IMAGES), patches.split(_IMAGES), strict=True):
        draw = Draw(seed, 0, "patches", chunk, len(pool))
        top, left = draw.integers("top", height - h + 1, per_image), draw.integers("left", width - w + 1, per_image)
        windows = pool.gather(chunk).unfold(2, h, 1).unfold(3, w, 1)  # (B, C, H-h+1, W-w+1, h, w), a view
        image = torch.arange(len(chunk))[:, None]
        image, top, left = (index.to(pool.device) for index in (image, top, left))
        out.copy_(windows[image, :, top, left])  # (B, per_image, C, h, w)
    return patches.flatten(0, 1).flatten(1)


def contrast_normalize(patches: Tensor) -> Tensor:
    """(x - mean) / sqrt(var + 10) of each patch over all of its pixels and channels.

    The variance is Bessel-corrected, as in the authors' code.

    Args:
        patches: (..., D) floats from 0 to 255.

    Returns:
        (..., D), the same dtype.
    """
    variance, mean = torch.var_mean(patches, dim=-1, keepdim=True)
    return (patches - mean) / (variance + _CONTRAST).sqrt()


@dataclass(frozen=True)
class Whitening:
    """ZCA whitening: (x - mean) U diag((l + eps)^-1/2) U^T, with U diag(l) U^T the covariance of the patches.

    Directions of a variance much above `eps` come out with unit variance; those below it, mostly noise of high
    frequency, stay small. Of all whitenings it is the one whose output is nearest to its input, so that a whitened
    patch still is a picture.

    Attributes:
        mean: (D,) float32.
        matrix: (D, D) float32, U diag((l + eps)^-1/2) U^T; symmetric.
    """

    mean: Tensor
    matrix: Tensor

    @classmethod
    def fit(cls, patches: Tensor, eps: float = 0.1) -> Whitening:
        """Learns mean and covariance (Bessel-corrected, as in the authors' code).

        Args:
            patches: (M, D) float32.
            eps: added to every eigenvalue; more than 0.

        Raises:
            InputError: there are fewer than two patches, or eps is not more than 0.
        """
        require(eps > 0, f"the whitening's eps is {eps}, but must be more than 0, such as 0.1")
        require(len(patches) > 1, f"whitening needs two patches or more, got {len(patches)}")
        mean = patches.mean(dim=0, dtype=torch.float64)
        covariance = torch.zeros(len(mean), len(mean), dtype=torch.float64, device=patches.device)
        for chunk in patches.split(rows_at_once(len(mean), patches.device)):
            centered = chunk - mean  # float64
            covariance += centered.T @ centered
        values, vectors = torch.linalg.eigh(covariance / (len(patches) - 1))
        # Rounding can make the least eigenvalues, those of patches without brightness, slightly negative.
        matrix = vectors * (values.clamp(min=0) + eps).rsqrt() @ vectors.T
        return cls(mean.float(), matrix.float())

    def apply(self, patches: Tensor) -> Tensor:
        """(M, D) float32 patches -> (M, D) whitened."""
        return (patches - self.mean) @ self.matrix

    def invert(self, whitened: Tensor) -> Tensor:
        """(M, D) float32 whitened -> (M, D), the patches that `apply` makes it of."""
        return torch.linalg.solve(self.matrix, whitened.T).T + self.mean

    def to(self, device: torch.device) -> Whitening:
        """The same whitening on `device`."""
        return Whitening(self.mean.to(device), self.matrix.to(device))
