"""t-SNE of images, drawn as thumbnails at their coordinates."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from torch import Tensor

from semisup.figures.mosaic import pixels
from semisup.figures.names import labels
from semisup.figures.style import PAD, PALETTE, TITLE, WIDTH, figure, show, styled

_WIDTH = 1600  # pixels of the canvas
_SMALLEST, _LARGEST = 8, 48  # pixels of a thumbnail's side
_SIDE_BY_SIDE = 0.8  # part of the canvas's width that the square root of all thumbnails fills, side by side
_NEIGHBOURS = 5
_COLUMNS = 5  # of the legend, at most
_LETTERS, _KEY = 105, 6  # that fit beside each other below the figure, and that a colour's patch takes


def tsne(features: Tensor, seed: int) -> np.ndarray:
    """Coordinates (N, 2) in the plane that keep near neighbours near: t-SNE (van der Maaten & Hinton 2008).

    Turned so that they spread most from left to right; the directions mean nothing by themselves. On one thread, so
    that the same features and seed give the same coordinates on the same machine.

    Args:
        features: (N, F) floats, 6 or more rows.
        seed: of scikit-learn's t-SNE.
    """
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    perplexity = min(30.0, (len(features) - 1) / 3)
    with threadpool_limits(1):
        points: np.ndarray = TSNE(perplexity=perplexity, random_state=seed, n_jobs=1).fit_transform(features.numpy())
        centred = points - points.mean(0)
        turned: np.ndarray = centred @ np.linalg.svd(centred, full_matrices=False)[2].T
    return turned


def knn_accuracy(features: Tensor, target: Tensor) -> float:
    """Share of images whose 5 nearest others, by Euclidean distance, mostly are of their class.

    As scikit-learn's KNeighborsClassifier in leave-one-out: of classes with as many votes, the first is taken.

    Args:
        features: (N, F) floats, 6 or more rows.
        target: (N,) int64, true classes.
    """
    from sklearn.neighbors import NearestNeighbors

    nearest = NearestNeighbors(n_neighbors=_NEIGHBOURS).fit(features.numpy()).kneighbors(return_distance=False)
    votes = F.one_hot(target[torch.from_numpy(nearest)]).sum(1)  # (N, classes)
    return (votes.argmax(1) == target).double().mean().item()


def thumbnails(images: Tensor, side: int) -> np.ndarray:
    """Images enlarged by a whole factor, or shrunk, (N, h, w, 3) uint8.

    Args:
        images: (N, C, H, W) uint8.
        side: pixels that the longer of h and w has, or almost where they are enlarged.
    """
    longer = max(images.shape[-2:])
    if side < longer:
        size = [max(1, length * side // longer) for length in images.shape[-2:]]
        images = F.interpolate(images.float(), size, mode="bilinear", antialias=True).round().clamp(0, 255).byte()
    factor = max(1, side // longer)
    return pixels(images).repeat(factor, axis=1).repeat(factor, axis=2)


def framed(cells: np.ndarray, colors: np.ndarray, width: int) -> np.ndarray:
    """Cells (N, h, w, 3) inside of frames of their colours (N, 3), (N, h + 2 * width, w + 2 * width, 3)."""
    count, height, length, _ = cells.shape
    frames = np.empty((count, height + 2 * width, length + 2 * width, 3), dtype=cells.dtype)
    frames[:] = colors[:, None, None]
    frames[:, width:-width, width:-width] = cells
    return frames


def composite(cells: np.ndarray, places: np.ndarray, width: int) -> np.ndarray:
    """A white canvas with every cell at its place; where two overlap, the later one is on top.

    Args:
        cells: (N, h, w, 3) uint8.
        places: (N, 2), (x, y) with y upwards, of the cells' centres; the scale is such that all cells just fit.
        width: of the canvas in pixels.

    Returns:
        (H, width, 3) uint8, H by how high the places are spread.
    """
    corners, height = scaled(places, width, cells.shape[1:3])
    canvas = np.full((height, width, 3), 255, dtype=np.uint8)
    for cell, (row, column) in zip(cells, corners, strict=True):
        canvas[row : row + len(cell), column : column + cell.shape[1]] = cell
    return canvas


def scaled(places: np.ndarray, width: int, cell: tuple[int, ...]) -> tuple[np.ndarray, int]:
    """Row and column (N, 2) int64 of every cell's upper left pixel in a `composite`, and the height of that."""
    low, high = places.min(0), places.max(0)
    scale = (width - cell[1]) / max(high[0] - low[0], 1e-12)
    rows, columns = (high[1] - places[:, 1]) * scale, (places[:, 0] - low[0]) * scale
    corners = np.rint(np.stack([rows, columns], axis=1)).astype(np.int64)
    return corners, int(corners[:, 0].max()) + cell[0]


@styled()
def embedding(images: Tensor, target: Tensor, features: Tensor, class_names: tuple[str, ...], title: str) -> Figure:
    """Thumbnails at the coordinates that t-SNE gives their features, and how many of the nearest neighbours agree.

    Frames have the colours of the classes, unless there are more classes than colours.

    Args:
        images: (N, C, H, W) uint8, N being 6 or more.
        target: (N,) int64, true classes.
        features: (N, F) floats.
        class_names: in the order of the labels.
        title: what the features are.
    """
    side = round(_SIDE_BY_SIDE * _WIDTH / math.sqrt(len(images)))
    cells = thumbnails(images, min(_LARGEST, max(_SMALLEST, side)))
    coloured = len(class_names) <= len(PALETTE)
    if coloured:
        colors = np.array([list(bytes.fromhex(color[1:])) for color in PALETTE])
        cells = framed(framed(cells, np.full((len(cells), 3), 255), 1), colors[target.numpy()], 3)
    canvas = composite(cells, tsne(features, seed=0), _WIDTH)
    names = labels(class_names)
    columns = max(1, min(_COLUMNS, int(_LETTERS / (_KEY + max(map(len, names))))))
    legend = max(0.45, 0.11 + 0.17 * -(-len(names) // columns)) * coloured  # inches
    width = WIDTH - 2 * PAD
    drawn = figure(width * len(canvas) / _WIDTH + 2 * TITLE + legend + 2 * PAD)
    axes = drawn.subplots()
    show(axes, canvas, width)
    accuracy = 100 * knn_accuracy(features, target)
    said = f"{title}\n{accuracy:.1f} % rightly classified by their {_NEIGHBOURS} nearest neighbours"
    drawn.suptitle(said, x=PAD / WIDTH, horizontalalignment="left")
    if coloured:
        handles = [Patch(color=color) for color in PALETTE[: len(class_names)]]
        drawn.legend(handles, names, loc="outside lower center", ncols=columns, handlelength=1, handleheight=1)
    return drawn
