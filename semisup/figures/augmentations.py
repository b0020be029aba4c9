"""What the views make of the same few images."""

from __future__ import annotations

import torch
from matplotlib.figure import Figure
from torch import Tensor

from semisup.figures.mosaic import mosaic, pixels
from semisup.figures.names import labels
from semisup.figures.style import PAD, WIDTH, figure, show, styled

_NAMES = 1.05  # inches that the longest takes


@styled()
def augmentations(views: dict[str, Tensor]) -> Figure:
    """A view a row, an image a column.

    Args:
        views: name -> (B, C, H, W) float in [0, 1], the same B images in every view.
    """
    names = labels(views, 17)
    count = len(next(iter(views.values())))
    image = mosaic(pixels(torch.cat(list(views.values()))), count)
    width = WIDTH - _NAMES - 2 * PAD
    drawn = figure(width * len(image) / image.shape[1] + 2 * PAD)
    axes = drawn.subplots()
    show(axes, image, width)
    axes.set_anchor("E")  # all that is left of the width is for the names
    step = len(image) / len(views)
    axes.set_yticks([step * (row + 0.5) for row in range(len(views))], names)
    return drawn
