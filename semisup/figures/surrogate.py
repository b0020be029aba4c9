"""Samples of surrogate classes."""

from __future__ import annotations

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from semisup.figures.mosaic import mosaic, pixels
from semisup.figures.style import PAD, TITLE, WIDTH, figure, show, styled


@styled()
def surrogate(seeds: Tensor, samples: Tensor) -> Figure:
    """A class a row: the patch that it is made of, and then what it turns into.

    Args:
        seeds: (classes, C, h, w) uint8, or float in [0, 1].
        samples: (classes, n, C, h, w), likewise.
    """
    count = samples.shape[1]
    left, right = mosaic(pixels(seeds), 1), mosaic(pixels(samples.flatten(0, 1)), count)
    side = left.shape[1]
    image = np.concatenate([left, np.full((len(left), side // 3, 3), 255, np.uint8), right], axis=1)
    width = WIDTH - 2 * PAD
    drawn = figure(width * len(image) / image.shape[1] + TITLE + 2 * PAD)
    axes = drawn.subplots()
    show(axes, image, width)
    axes.set_xticks([side / 2, side * 4 / 3 + right.shape[1] / 2], ["patch", "samples of its class"])
    axes.xaxis.tick_top()
    return drawn


def whole_patches(images: Tensor, centres: Tensor, size: int) -> Tensor:
    """The patches themselves, cut out of their images at whole pixels.

    Args:
        images: (B, C, H, W).
        centres: (B, 2) float32, (x, y) in pixels, of patches that lie inside of the images.
        size: their side in pixels.

    Returns:
        (B, C, size, size), the dtype of the images.
    """
    corners = (centres - (size - 1) / 2).round().long().tolist()
    return torch.stack([x[:, y0 : y0 + size, x0 : x0 + size] for x, (x0, y0) in zip(images, corners, strict=True)])
