"""What keeps the ranks of a distributed run equal; with one process, every function returns what it was given.

A strategy whose state follows the batch (a threshold, a prior, a memory bank) computes it from the *global* batch, so
that every rank holds the same and several processes do what one does. `mean` and `gather` are for that: all ranks hold
equally many images of a batch, so no rank has to ask how many another one has, and nothing waits for the device.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

_rehearsing = False


@contextmanager
def rehearsal() -> Iterator[None]:
    """The functions below exchange nothing, and take every rank to hold what this one holds.

    A pass that may fail on one rank alone is tried in it: shapes are those of a step, and no rank waits for another.
    """
    global _rehearsing
    _rehearsing = True
    try:
        yield
    finally:
        _rehearsing = False


def mean(x: Tensor) -> Tensor:
    """The mean over the ranks of a tensor that has the same shape on each, without gradient."""
    if not _exchanged():
        return x.detach()
    total = x.detach().clone()
    dist.all_reduce(total)
    return total / dist.get_world_size()


def gather(x: Tensor) -> Tensor:
    """The rows of the global batch, (ranks * B, ...), of every rank's (B, ...), without gradient.

    They come in the order of the ranks, and so in that of `Samples.position`.
    """
    x = x.detach()
    if not _exchanged():
        return _of_equal_ranks(x)
    everyone = [torch.empty_like(x, memory_format=torch.contiguous_format) for _ in range(dist.get_world_size())]
    dist.all_gather(everyone, x.contiguous())
    return torch.cat(everyone)


def gather_with_gradient(x: Tensor) -> Tensor:
    """As `gather`, and the gradient of every rank's loss flows back to the rank that a row came from.

    Where each rank's loss is a mean over its own rows, the mean over ranks that DDP takes of the gradients is then the
    gradient of the mean over the global batch.
    """
    return _Gather.apply(x) if _distributed() else x


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return gather(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].contiguous().clone()
        if _exchanged():
            dist.all_reduce(total)
        return total.chunk(dist.get_world_size())[dist.get_rank()]


def _distributed() -> bool:
    return dist.is_available() and dist.is_initialized()


def _exchanged() -> bool:
    return _distributed() and not _rehearsing


def _of_equal_ranks(x: Tensor) -> Tensor:
    return x.repeat(dist.get_world_size(), *[1] * (x.ndim - 1)) if _distributed() else x


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Makes gradients the mean of every rank's, in one go, where DDP does not; all ranks have the same ones."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    if not _exchanged() or not gradients:
        return
    means = mean(torch.cat([x.flatten() for x in gradients])).split([x.numel() for x in gradients])
    for x, averaged in zip(gradients, means, strict=True):
        x.copy_(averaged.view_as(x))


def gather_rows(x: Tensor) -> Tensor:
    """Every rank's rows (n, ...), with n a rank's own, one after the other in the order of the ranks."""
    if not _exchanged():
        return _of_equal_ranks(x)
    counts = [torch.zeros(1, dtype=torch.int64, device=x.device) for _ in range(dist.get_world_size())]
    dist.all_gather(counts, torch.tensor([len(x)], device=x.device))
    padded = x.new_zeros(int(torch.cat(counts).max()), *x.shape[1:])
    padded[: len(x)] = x
    everyone = [torch.empty_like(padded) for _ in counts]
    dist.all_gather(everyone, padded)
    return torch.cat([rows[:count] for rows, count in zip(everyone, torch.cat(counts).tolist(), strict=True)])


def mean_over_ranks(scalars: dict[str, Tensor]) -> dict[str, Tensor]:
    """The means over ranks, in one go; every rank has the same names, and the dtype is that of the first scalar."""
    if not _exchanged():
        return scalars
    first = next(iter(scalars.values()))
    values = torch.stack([x.detach().to(first.dtype) for x in scalars.values()])
    dist.all_reduce(values)
    return dict(zip(scalars, values / dist.get_world_size(), strict=True))


def of_the_first(x: Tensor, device: torch.device) -> Tensor:
    """Rank 0's tensor, on the device that `x` is on, for all ranks, where rounding might have made theirs others.

    Args:
        x: of one shape and dtype on all ranks.
        device: that this process computes on.
    """
    if not _exchanged():
        return x
    sent = x.to(device, copy=True)
    dist.broadcast(sent, src=0)
    return sent.to(x.device)


def synchronize_buffers(module: nn.Module) -> None:
    """Gives every rank the buffers of rank 0.

    Batch normalisation's running statistics differ from rank to rank, and ranks that predict with different ones
    would disagree about the same image.
    """
    if _exchanged():
        for buffer in module.buffers():
            dist.broadcast(buffer, src=0)
