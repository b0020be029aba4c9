"""Filters of a convolution, and centroids of patches, in a grid."""

from __future__ import annotations

import math

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from semisup.figures.mosaic import mosaic, pixels
from semisup.figures.style import PAD, TITLE, WIDTH, figure, show, styled

_WIDE_FILTERS = 256  # of more the page would be too low
_BACKGROUND = (214, 230, 245)  # a pale blue, since filters have white, grey and black pixels at their edges


def symmetric(filters: Tensor) -> Tensor:
    """Filters as images: zero is middle grey, and each filter's largest weight, of either sign, is black or white.

    Args:
        filters: (n, C, h, w) floats.

    Returns:
        (n, C, h, w) float32 in [0, 1]: a half for zero, also in a filter of zeros.
    """
    largest = filters.abs().amax(dim=(1, 2, 3), keepdim=True)
    return 0.5 + 0.5 * filters.float() / torch.where(largest == 0, 1, largest)


@styled()
def filters(panels: dict[str, Tensor]) -> Figure:
    """All filters of each panel in a grid, the panels side by side, every filter on a scale of its own (`symmetric`).

    Args:
        panels: title -> (n, C, h, w) floats: filters, or centroids. Three channels are shown as colours, any other
            number by their mean in grey.
    """
    grids = {title: _grid(weights, len(panels)) for title, weights in panels.items()}
    width = WIDTH / len(panels) - 2 * PAD
    drawn = figure(max(len(grid) / grid.shape[1] for grid in grids.values()) * width + TITLE + 2 * PAD)
    for axes, (title, grid) in zip(np.atleast_1d(drawn.subplots(1, len(panels))), grids.items(), strict=True):
        show(axes, grid, width)
        axes.set_title(title)
    return drawn


def _grid(weights: Tensor, panels: int) -> np.ndarray:
    """A grid about as wide as high, or twice as wide where few filters have the page; full where it can be."""
    count = len(weights)
    least = math.ceil(math.sqrt(count * (2 if panels == 1 and count <= _WIDE_FILTERS else 1)))
    columns = next((columns for columns in range(least, 2 * least) if count % columns == 0), least)
    return mosaic(pixels(symmetric(weights)), columns, _BACKGROUND)
