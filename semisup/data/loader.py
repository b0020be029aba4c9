"""Index loaders: which images a step sees is a function of (seed, epoch, step, rank), and nothing else.

They replace torch's DataLoader: no worker processes, no per-image calls, one gather a batch, and a state of one number,
so that a run resumes in the middle of an epoch with exactly the batches it would have seen.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from semisup import randomness
from semisup.batch import Batch, Samples
from semisup.data.pool import Pool
from semisup.data.prefetch import ahead

CPU = torch.device("cpu")


def order(seed: int, stream: str, epoch: int, count: int, first: int, size: int) -> Tensor:
    """Pool rows (size,) int64 at positions `first`, `first + 1`, ... of a stream in an epoch.

    A stream goes through its pool of `count` images in a random order, each image once, and then again in another.
    """
    position = torch.arange(first, first + size)
    passes = position // count
    rows = [
        _shuffled(count, seed, stream, epoch, n)[position[passes == n] % count]
        for n in range(int(passes[0]), int(passes[-1]) + 1)
    ]
    return torch.cat(rows)


@lru_cache(maxsize=4)  # the current pass of either stream and the next; drawing one anew each step would cost O(pool)
def _shuffled(count: int, seed: int, stream: str, epoch: int, number: int) -> Tensor:
    return randomness.permutation(count, seed, stream, epoch, number)


def balanced_order(labels: Tensor, seed: int, stream: str, epoch: int, first: int, size: int) -> Tensor:
    """As `order`, of a pool with these labels (N,) int64, every class as often.

    A pass has of every class as many images as the largest one has, in a random order; those of a smaller class come
    again and again, each as often as any other of it, or once more.
    """
    counts = labels.bincount()
    total = int((counts > 0).sum()) * int(counts.max())
    places = order(seed, stream, epoch, total, first, size)
    passes = torch.arange(first, first + size) // total
    rows = [_repeated(labels, seed, stream, epoch, n)[places[passes == n]] for n in passes.unique().tolist()]
    return torch.cat(rows)


@lru_cache(maxsize=4)
def _repeated(labels: Tensor, seed: int, stream: str, epoch: int, number: int) -> Tensor:
    """Rows of a pass, class by class, as many of each: the same tensor of labels is the same pool."""
    most = torch.arange(int(labels.bincount().max()))
    rows = []
    for label in labels.unique().tolist():
        members = (labels == label).nonzero()[:, 0]
        shuffled = members[randomness.permutation(len(members), seed, stream, epoch, number, "class", label)]
        rows.append(shuffled[most % len(members)])
    return torch.cat(rows)


class Relabeled:
    """Rows of the unlabeled pool to which a strategy has given targets; none at first.

    Attributes:
        rows: (n,) int64, distinct rows of the unlabeled pool.
        targets: (n,) int64 classes or (n, classes) float32 probabilities.
    """

    def __init__(self) -> None:
        self.rows = torch.empty(0, dtype=torch.int64)
        self.targets = torch.empty(0, dtype=torch.int64)

    def __len__(self) -> int:
        return len(self.rows)

    def assign(self, rows: Tensor, targets: Tensor) -> None:
        """Forgets the former targets and takes these, on the CPU; loaders see them from the next epoch on."""
        self.rows, self.targets = rows.cpu(), targets.cpu()


class TrainLoader:
    """Batches of labeled and unlabeled images, `steps` of them an epoch, on one rank.

    Args:
        labeled: the labeled pool.
        batch_size: labeled images of a *global* batch.
        steps: batches in an epoch.
        seed: the run's seed.
        unlabeled: the unlabeled pool, or None where no unlabeled image is to be served.
        ratio: unlabeled images per labeled one.
        relabeled: None to serve the whole unlabeled pool. Otherwise the only rows to serve, with their targets; while
            it is empty, batches carry no unlabeled images.
        rank: which slice of the global batch to serve.
        world: in how many slices the global batch is cut.
        device: where batches are wanted.
        always_the_same: every epoch serves the images of the first.
        first_epoch: the trainer's epoch in which this loader begins; its own epochs and steps are counted from there.
        balanced: every class of the labeled pool is served as often.
    """

    def __init__(
        self,
        labeled: Pool,
        batch_size: int,
        steps: int,
        seed: int,
        unlabeled: Pool | None = None,
        ratio: int = 0,
        relabeled: Relabeled | None = None,
        rank: int = 0,
        world: int = 1,
        device: torch.device = CPU,
        always_the_same: bool = False,
        first_epoch: int = 0,
        balanced: bool = False,
    ) -> None:
        self.labeled, self.unlabeled, self.ratio, self.relabeled = labeled, unlabeled, ratio, relabeled
        self.batch_size, self.steps, self.seed, self.rank, self.world = batch_size, steps, seed, rank, world
        self.device, self.epoch, self.always_the_same = device, 0, always_the_same
        self.balanced = balanced
        self.first_epoch, self._next = first_epoch, 0  # step of the epoch to serve next

    def __len__(self) -> int:
        return self.steps

    @property
    def sampler(self) -> TrainLoader:
        """Lightning tells a loader the epoch through `loader.sampler.set_epoch`, and leaves such a loader alone."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Goes to the start of an epoch of the trainer; stays where it is in the epoch that a run resumes in."""
        if epoch - self.first_epoch != self.epoch:
            self.epoch, self._next = epoch - self.first_epoch, 0

    def state_dict(self) -> dict[str, Any]:
        """Where the loader stands."""
        return {"epoch": self.first_epoch + self.epoch, "next": self._next}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on where the saved loader stood."""
        self.epoch, self._next = state["epoch"] - self.first_epoch, state["next"]

    def __iter__(self) -> Iterator[Batch]:
        for batch in ahead(self._batch, range(self._next, self.steps), self.device):
            self._next += 1
            yield batch

    def relabeled_rows(self, batches: int) -> Tensor:
        """Rows (n,) of the unlabeled pool, each once, that so many batches of this epoch serve by their targets.

        Those of all ranks; none where the whole pool is served.
        """
        if self.relabeled is None or not len(self.relabeled):
            return torch.empty(0, dtype=torch.int64)
        served = min(batches * self.ratio * self.batch_size, len(self.relabeled))  # a pass serves each of them once
        return self.relabeled.rows[self._order("unlabeled", len(self.relabeled), 0, served)]

    def _order(self, stream: str, count: int, first: int, size: int) -> Tensor:
        epoch = 0 if self.always_the_same else self.epoch
        if self.balanced and stream == "labeled":
            return balanced_order(self.labeled.labels, self.seed, stream, epoch, first, size)
        return order(self.seed, stream, epoch, count, first, size)

    def _batch(self, step: int) -> Batch:
        labeled = self._samples("labeled", self.labeled, step, self.batch_size, None)
        unlabeled = None
        if self.unlabeled is not None and (self.relabeled is None or len(self.relabeled)):
            size = self.ratio * self.batch_size
            unlabeled = self._samples("unlabeled", self.unlabeled, step, size, self.relabeled)
        return Batch(self.epoch * self.steps + step, labeled, unlabeled)

    def _samples(self, stream: str, pool: Pool, step: int, size: int, relabeled: Relabeled | None) -> Samples:
        """This rank's slice of a stream's global batch of `size` images."""
        local = size // self.world
        position = torch.arange(self.rank * local, (self.rank + 1) * local)
        count = len(pool) if relabeled is None else len(relabeled)
        chosen = self._order(stream, count, step * size, size)[position]
        index = chosen if relabeled is None else relabeled.rows[chosen]
        target = pool.labels[chosen] if relabeled is None else relabeled.targets[chosen]
        return Samples(index, position, pool.gather(index), target)


class EvaluationLoader:
    """A pool in order, every image once, whatever the number of ranks.

    Args:
        pool: the images.
        batch_size: images in a batch.
        rank: whose share of the pool to serve.
        world: number of ranks.
        device: where batches are wanted.
    """

    def __init__(self, pool: Pool, batch_size: int, rank: int = 0, world: int = 1, device: torch.device = CPU) -> None:
        self.pool, self.device = pool, device
        self._parts = pool.share(rank, world).split(batch_size)

    def __len__(self) -> int:
        return len(self._parts)

    def __iter__(self) -> Iterator[Samples]:
        return ahead(self._samples, range(len(self)), self.device)

    def _samples(self, number: int) -> Samples:
        index = self._parts[number]
        return Samples(index, index, self.pool.gather(index), self.pool.labels[index])
