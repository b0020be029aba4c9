"""What methods make targets with: probabilities, sharpening, distribution alignment, running means, memory banks.

Pure functions of tensors. Whatever is remembered from step to step is the strategy's own, in attributes that end in
`_`, and comes from the global batch (semisup/runtime/ranks.py).
"""

from __future__ import annotations

import torch
from torch import Tensor

from semisup.losses import precise
from semisup.runtime.ranks import mean

_EPS = 1e-6  # added to probabilities and counts, so that none is 0
_NEWTON = 10  # iterations


def probabilities(logits: Tensor, temperature: float = 1.0) -> Tensor:
    """Softmax of logits (B, classes) over a temperature, without gradient, in float32 or more: (B, classes)."""
    return (precise(logits.detach()) / temperature).softmax(1)


def sharpen(p: Tensor, temperature: float) -> Tensor:
    """Probabilities (B, classes), each to the power 1 / temperature and normalised again.

    MixMatch (Berthelot et al. 2019, arXiv 1905.02249), equation 7; at a temperature of 0 it would be the most probable
    class alone.
    """
    powered = (p / p.amax(1, keepdim=True)) ** (1 / temperature)  # relative to the greatest, which never becomes 0
    return powered / powered.sum(1, keepdim=True)


def align(p: Tensor, seen: Tensor, wanted: Tensor | float = 1.0) -> Tensor:
    """Distribution alignment: probabilities (B, classes) times wanted / seen, normalised again.

    ReMixMatch (Berthelot et al. 2020, arXiv 1911.09785), section 3.1.

    Args:
        p: (B, classes) probabilities.
        seen: (classes,) their mean so far.
        wanted: (classes,) what that mean should be; uniform by default. A prediction that is sure of classes of which
            there should be none stays what it is.
    """
    aligned = p * (wanted / seen.clamp_min(1e-6))
    total = aligned.sum(1, keepdim=True)
    return torch.where(total > 0, aligned / total, p)


def align_to_latest(p: Tensor, means: list[Tensor], batches: int = 32) -> tuple[Tensor, list[Tensor]]:
    """Probabilities (B, classes), aligned by their mean over the latest batches, and these batches' means.

    Args:
        p: (B, classes) probabilities, of one more batch.
        means: of the batches before, the latest one last, (classes,) each.
        batches: how many count at the most, this one among them.
    """
    latest = [*means, mean(p.mean(0))][-batches:]
    return align(p, torch.stack(latest).mean(0)), latest


def without_noise(p: Tensor, counts: Tensor, delta: float) -> Tensor:
    """Predictions (N, classes) of which each class keeps its greatest, so many that there are delta * counts of them.

    What is kept of a class sums up to its count (classes,), before the rows are normalised again. DARP (Kim et al.
    2020, arXiv 2007.08844).
    """
    rank = p.argsort(dim=0, descending=True, stable=True).argsort(0)  # of an image in a class
    greatest = p * (rank < (delta * counts).floor())
    scaled = greatest * ((counts + _EPS) / (greatest.sum(0) + _EPS)) + _EPS
    return scaled / scaled.sum(1, keepdim=True)


def aligned_to_counts(p: Tensor, counts: Tensor, rounds: int) -> Tensor:
    """Of all (N, classes) with so many images of each class (classes,) what is nearest to predictions (N, classes).

    The distance is the Kullback-Leibler divergence of each row, over the entropy of its prediction: DARP (Kim et al.
    2020, arXiv 2007.08844).

    Args:
        p: without a 0.
        counts: images that there should be of each class, N in all.
        rounds: of the alternation; in its limit the sums are the counts.
    """
    log, entropy = p.T.log().contiguous(), -(p * p.log()).sum(1).clamp_max(-_EPS)  # (classes, N), 1 / w (N,)
    wanted, nu = counts.clamp_min(_EPS).log()[:, None], torch.zeros_like(counts)[:, None]
    for _ in range(rounds):
        normalised = log - (log - nu * entropy).logsumexp(0)
        for _ in range(_NEWTON):
            terms = normalised - nu * entropy
            top = terms.amax(1, keepdim=True)
            parts = (terms - top).exp()
            total = parts.sum(1, keepdim=True)
            nu = nu + (top + total.log() - wanted) * total / (parts @ entropy)[:, None]
    return (log - nu * entropy).softmax(0).T


def running(mean: Tensor, new: Tensor, decay: float) -> Tensor:
    """A running mean, decay * mean + (1 - decay) * new."""
    return decay * mean + (1 - decay) * new


def push(bank: Tensor, rows: Tensor, size: int) -> Tensor:
    """A memory bank (N, ...), which may be empty, after rows (B, ...) came in at its front.

    Of what are more rows than `size` then, the oldest leave it.
    """
    return torch.cat([rows, bank.reshape(-1, *rows.shape[1:])])[:size]


def flexible_thresholds(status: Tensor, classes: int, threshold: float) -> Tensor:
    """The threshold of every class (classes,), by the last confident class of every image.

    FlexMatch (Zhang et al. 2021, arXiv 2110.08263), equations 5, 6, 10 and 11.

    Args:
        status: (N,) int64 last confident class of every unlabeled image, -1 of one that never had any.
        classes: number of classes.
        threshold: the fixed one (tau).
    """
    counts = torch.zeros(classes + 1, dtype=torch.int64, device=status.device)
    counts.index_add_(0, status + 1, torch.ones_like(status))  # not bincount, which waits for the device
    learned = counts[1:] / counts.max().clamp_min(1)  # counts[0] are the unused images: the warm-up
    return threshold * learned / (2 - learned)


def updated(status: Tensor, rows: Tensor, predicted: Tensor, confident: Tensor) -> Tensor:
    """The status (N,) after images `rows` (B,) were predicted as classes (B,), where they are confident (B,) bool.

    Of an image that is in the batch twice, the greatest class counts, so that the order does not matter.
    """
    seen = torch.where(confident, predicted, -1)
    latest = torch.full_like(status, -1).scatter_reduce(0, rows, seen, "amax")
    return torch.where(latest >= 0, latest, status)


def kept(rows: Tensor, places: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The rows (N,) int64 of images in another pool than before, and which of them (N,) bool are among `count` there.

    Args:
        rows: (N,) int64 of the pool as it was.
        places: (n,) int64, for each of its rows the row now; -1 where the image is gone (`Strategy.remap`).
        count: images that can be meant; those behind them, as the labeled ones, can't.
    """
    now = places.to(rows.device)[rows]
    return now, (now >= 0) & (now < count)


def moved(table: Tensor, places: Tensor, count: int, empty: float = -1) -> tuple[Tensor, int]:
    """The table (count, ...) of another pool than before, and of how many of its images it holds what was known.

    Args:
        table: (N, ...) with a row for every image of the pool as it was, such as its status.
        places: (n,) int64, for each of its rows the row now; -1 where the image is gone (`Strategy.remap`).
        count: images that there are now.
        empty: what there is of images that are new.
    """
    rows = places.to(table.device)[: len(table)]  # the labeled images, which come last, may not be in the pool
    now, there = table.new_full((count, *table.shape[1:]), empty), (rows >= 0) & (rows < count)
    now[rows[there]] = table[: len(rows)][there]
    return now, int(there.sum())


def written(table: Tensor, rows: Tensor, values: Tensor) -> Tensor:
    """A table (N, ...) after values (B, ...) of its rows (B,) came in; of a row that is there twice the last counts."""
    order = torch.arange(len(rows), device=rows.device)
    last = rows.new_zeros(len(table)).scatter_reduce(0, rows, order, "amax")[rows]
    return table.index_copy(0, rows, values[last])
