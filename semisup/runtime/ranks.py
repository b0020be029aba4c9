"""What keeps the ranks of a distributed run equal; with one process, every function returns what it was given."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor, nn


def gather_rows(x: Tensor) -> Tensor:
    """Every rank's rows (n, ...), with n a rank's own, one after the other in the order of the ranks."""
    if not (dist.is_available() and dist.is_initialized()):
        return x
    counts = [torch.zeros(1, dtype=torch.int64, device=x.device) for _ in range(dist.get_world_size())]
    dist.all_gather(counts, torch.tensor([len(x)], device=x.device))
    padded = x.new_zeros(int(torch.cat(counts).max()), *x.shape[1:])
    padded[: len(x)] = x
    everyone = [torch.empty_like(padded) for _ in counts]
    dist.all_gather(everyone, padded)
    return torch.cat([rows[:count] for rows, count in zip(everyone, torch.cat(counts).tolist(), strict=True)])


def mean_over_ranks(scalars: dict[str, Tensor]) -> dict[str, Tensor]:
    """The means over ranks, in one go; every rank has the same names, and the dtype is that of the first scalar."""
    if not (dist.is_available() and dist.is_initialized()):
        return scalars
    first = next(iter(scalars.values()))
    values = torch.stack([x.detach().to(first.dtype) for x in scalars.values()])
    dist.all_reduce(values)
    return dict(zip(scalars, values / dist.get_world_size(), strict=True))


def synchronize_buffers(module: nn.Module) -> None:
    """Gives every rank the buffers of rank 0.

    Batch normalisation's running statistics differ from rank to rank, and ranks that predict with different ones
    would disagree about the same image.
    """
    if dist.is_available() and dist.is_initialized():
        for buffer in module.buffers():
            dist.broadcast(buffer, src=0)
