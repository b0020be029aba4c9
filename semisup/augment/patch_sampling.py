"""Sampling of seed patches: where in each image lies the patch that a surrogate class is made of (`surrogate`)."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from semisup.augment import color
from semisup.errors import require
from semisup.randomness import Draw


def seed_patches(images: Tensor, size: int, draw: Draw, by: Literal["gradient", "uniform"] = "gradient") -> Tensor:
    """Chooses one patch of whole pixels in each image, among all that fit into it.

    Args:
        images: (B, 1 or 3, H, W) uint8.
        size: side of the patch in pixels.
        draw: where the choice comes from.
        by: `"gradient"` takes a patch with probability proportional to the mean squared magnitude of the image's
            gradient in it, so that patches of empty sky are rare; `"uniform"`, the course's, takes any with the same.

    Returns:
        (B, 2) float32, the patches' centres (x, y) in pixels; the pixel at the upper left has its centre at (0, 0).

    Raises:
        InputError: the patch is larger than the images.

    Source:
        Exemplar-CNN (Dosovitskiy et al. 2014, arXiv 1406.6909), "Creating Surrogate Training Data". There patches are
        taken at several scales as well; here at that of the images.
    """
    height, width = images.shape[-2:]
    rows, columns = height - size + 1, width - size + 1
    require(
        rows > 0 and columns > 0,
        f"images of {height}x{width} pixels have no patch of {size}x{size}; use patches of at most "
        f"{min(height, width)} pixels a side",
    )
    if by == "uniform":
        place = draw.integers("seed", rows * columns)
    else:
        energy = gradient_energy(images, size).flatten(1)  # (B, rows * columns)
        up_to = (energy + (energy.sum(1, keepdim=True) == 0)).cumsum(1)  # in a flat image all patches are alike
        drawn = (draw.uniform("seed").double() * up_to[:, -1:]).long()  # (B, 1), less than the sum of all
        place = torch.searchsorted(up_to, drawn, right=True)
    top = torch.div(place, columns, rounding_mode="floor")
    return torch.cat([place - top * columns, top], 1).float() + (size - 1) / 2


def gradient_energy(images: Tensor, size: int) -> Tensor:
    """The squared magnitude of the grey image's gradient, summed over every patch.

    The gradient is by central differences, one-sided at the border, as `numpy.gradient` has it.

    Args:
        images: (B, 1 or 3, H, W) uint8, at least 2 pixels a side.
        size: side of the patch in pixels.

    Returns:
        (B, H - size + 1, W - size + 1) int64, by the patch's first row and column: four times the sum, a whole number.
    """
    down, right = torch.gradient(color.grey(images)[:, 0].float(), dim=(1, 2))  # (B, H, W) each, in halves
    total = (4 * (down.square() + right.square())).long()
    for dim in (1, 2):
        sums = F.pad(total.cumsum(dim), (1, 0) if dim == 2 else (0, 0, 1, 0))
        count = sums.shape[dim] - size
        total = sums.narrow(dim, size, count) - sums.narrow(dim, 0, count)
    return total
