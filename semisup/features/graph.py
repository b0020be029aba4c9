"""Labels that spread over a graph of nearest neighbours among up to a million points, a block of them at a time.

Zhou et al. 2004, "Learning with Local and Global Consistency", on the graph of Iscen et al. 2019, "Label Propagation
for Deep Semi-supervised Learning" (arXiv 1904.04717), section 4: A holds the cosines of every point's nearest others to
the power 3, W = A + A^T, S = D^-1/2 W D^-1/2, and the labels Y spread to F = (I - alpha S)^-1 Y, without any matrix of
N x N numbers.

Memory for N points of F numbers, k neighbours and C classes: 4 N F bytes for the points, 40 N k for the graph and up to
as much again while it is made, 16 N C for what spreads, and half a gigabyte beside these. A million of 384 numbers with
50 neighbours and 100 classes take 7 GB.
"""

from __future__ import annotations

import torch
from torch import Tensor

_ROWS, _COLUMNS = 1024, 65_536  # points that are compared at once
_CLASSES = 32  # that spread at once
_POWER = 3  # of the cosines (gamma)
_RESIDUAL = 1e-6  # that conjugate gradients leave, relative to the labels
_TOLERANCE = 1e-5  # of what spreads, where a point's classes add up to 1
_ROUNDING = 1e-6  # of which no change is told
_MAX_ITERATIONS = 1000


def nearest(points: Tensor, k: int, rows: int = _ROWS, columns: int = _COLUMNS) -> tuple[Tensor, Tensor]:
    """The k nearest others of every point by cosine, the nearest first.

    Args:
        points: (N, F) float32 of length 1.
        k: less than N.
        rows: points whose neighbours are looked for at once.
        columns: points that these are compared with at once.

    Returns:
        Cosines (N, k) float32 and the others' numbers (N, k) int64.
    """
    blocks = []
    for own in torch.arange(len(points), device=points.device).split(rows):
        best = points.new_empty(len(own), 0)
        numbers = own.new_empty(len(own), 0)
        for others in torch.arange(len(points), device=points.device).split(columns):
            cosines = points[own] @ points[others].T
            cosines.masked_fill_(own[:, None] == others, -torch.inf)
            some, places = cosines.topk(min(k, len(others)))
            best, numbers = torch.cat([best, some], 1), torch.cat([numbers, others[places]], 1)
            best, places = best.topk(min(k, best.shape[1]))
            numbers = numbers.gather(1, places)
        blocks.append((best, numbers))
    cosines, numbers = map(torch.cat, zip(*blocks, strict=True))
    return cosines, numbers


def normalized_graph(cosines: Tensor, numbers: Tensor) -> Tensor:
    """S, (N, N) sparse: symmetric, with eigenvalues of at most 1 in size. A point without a neighbour has a zero row.

    Args:
        cosines: (N, k) of every point's neighbours; negative ones don't count.
        numbers: (N, k) int64, which these are.
    """
    count, k = cosines.shape
    weights = cosines.clamp_min(0).pow(_POWER).flatten()
    one, other = torch.arange(count, device=numbers.device).repeat_interleave(k), numbers.flatten()
    degree = weights.new_zeros(count).index_add_(0, one, weights).index_add_(0, other, weights)
    root = degree.rsqrt().masked_fill(degree == 0, 0)
    weights = weights * root[one] * root[other]
    indices = torch.cat([torch.stack([one, other]), torch.stack([other, one])], 1)
    values = torch.cat([weights, weights])
    return torch.sparse_coo_tensor(indices, values, (count, count), check_invariants=False).coalesce()


def spread(graph: Tensor, labels: Tensor, classes: int, alpha: float) -> Tensor:
    """F = (I - alpha S)^-1 Y, (N, classes) float32, each row divided by its sum; zeros where no label comes to.

    Args:
        graph: S, (N, N) sparse.
        labels: (n,) int64 classes of the first n points; those behind them have none.
        classes: their number.
        alpha: how much of what its neighbours say a point takes on, in [0, 1).
    """
    made = torch.cat([_solved(graph, labels, part, alpha) for part in torch.arange(classes).split(_CLASSES)], 1)
    # What is far from every label may be smaller than the error of all others. In F = alpha S F + Y nothing cancels,
    # so that there every number becomes right by itself.
    before, place = _shares(made.clamp_min_(0)), torch.arange(len(labels), device=made.device)
    for _ in range(_MAX_ITERATIONS):
        made = alpha * torch.sparse.mm(graph, made)
        made[place, labels] += 1
        now = _shares(made)
        # Of a change, the sum of all that follow from it is alpha / (1 - alpha).
        change = float((now - before).abs().max())
        before = now
        if alpha * change <= max(_TOLERANCE * (1 - alpha), _ROUNDING):
            break
    return before


def _shares(made: Tensor) -> Tensor:
    """Rows (N, classes) over their sums, and zeros where there are only zeros."""
    return made / made.sum(1, keepdim=True).clamp_min(torch.finfo(made.dtype).tiny)


def _solved(graph: Tensor, labels: Tensor, classes: Tensor, alpha: float) -> Tensor:
    """X with (I - alpha S) X = Y, for some classes, by conjugate gradients."""
    y = torch.zeros(graph.shape[0], len(classes), device=graph.device)
    y[: len(labels)] = (labels[:, None] == classes.to(labels.device)).float()
    x, residual, way = torch.zeros_like(y), y.clone(), y.clone()
    square = first = residual.square().sum(0)
    for _ in range(_MAX_ITERATIONS):
        going = square > _RESIDUAL**2 * first
        if not bool(going.any()):
            break
        image = way - alpha * torch.sparse.mm(graph, way)
        step = torch.where(going, square / (way * image).sum(0), 0)
        x += step * way
        residual -= step * image
        before, square = square, residual.square().sum(0)
        way = residual + torch.where(going, square / before, 0) * way
    return x
