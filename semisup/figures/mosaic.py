"""Many small images in one array, so that a figure of hundreds of them draws as fast as one."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

WHITE = (255, 255, 255)
_CELL_PIXELS = 24  # pixels a side of a cell, so that the gaps between cells stay thin
_GAP = 2  # pixels between two cells


def pixels(images: Tensor) -> np.ndarray:
    """Images as matplotlib takes them, (N, H, W, 3) uint8.

    Args:
        images: (N, C, H, W) uint8, or float in [0, 1]. Where C is not 3, the mean over the channels is shown in grey.
    """
    images = images.detach().cpu()
    images = images.float() * (255 if images.is_floating_point() else 1)
    if images.shape[1] != 3:
        images = images.mean(1, keepdim=True).expand(-1, 3, -1, -1)
    array: np.ndarray = images.permute(0, 2, 3, 1).round().to(torch.uint8).numpy()
    return array


def mosaic(cells: np.ndarray, columns: int, background: tuple[int, int, int] = WHITE) -> np.ndarray:
    """Cells in reading order, with gaps of two pixels.

    Args:
        cells: (N, H, W, 3) uint8; small ones are enlarged by a whole factor to 24 pixels or more a side.
        columns: cells in a row; the last row may have fewer.
        background: the colour of the gaps, and of the cells that the last row lacks.

    Returns:
        (rows * (H + 2) - 2, columns * (W + 2) - 2, 3) uint8, H and W after enlarging.
    """
    factor = -(-_CELL_PIXELS // min(cells.shape[1:3]))
    cells = cells.repeat(factor, axis=1).repeat(factor, axis=2)
    count, height, width, _ = cells.shape
    rows = -(-count // columns)
    canvas = np.empty((rows * (height + _GAP) - _GAP, columns * (width + _GAP) - _GAP, 3), dtype=np.uint8)
    canvas[:] = background
    for number, cell in enumerate(cells):
        top, left = number // columns * (height + _GAP), number % columns * (width + _GAP)
        canvas[top : top + height, left : left + width] = cell
    return canvas
