"""Predictions over a whole pool, streamed in batches."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

import torch
import torch.distributed as dist
from torch import Tensor, nn
from tqdm import tqdm

from semisup.data.loader import EvaluationLoader

if TYPE_CHECKING:
    from semisup.classifier import Classifier
    from semisup.data.pool import Pool


@contextmanager
def evaluation_mode(module: nn.Module) -> Iterator[None]:
    """Switches a module to evaluation without gradients, and each of its parts back to what it was."""
    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for part, training in modes.items():
            part.training = training


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


def predict(
    module: Classifier, pool: Pool, batch_size: int, rank: int = 0, world: int = 1, title: str = "predicting"
) -> Iterator[tuple[Tensor, Tensor]]:
    """Class probabilities of a pool's images, in order: rows (B,) int64 and probabilities (B, classes) float32.

    Both are on the module's device. Images are read in batches, and nothing is kept.

    Args:
        module: the classifier; the weights that evaluate are used, in the precision that it trains in.
        pool: the images.
        batch_size: images in a batch.
        rank: whose share of the pool to predict.
        world: number of ranks that share the work.
        title: of the progress bar, which there is where a person watches.
    """
    trainer = module._trainer
    precision = trainer.precision_plugin.forward_context() if trainer else nullcontext()
    with evaluation_mode(module), precision:
        batches = EvaluationLoader(pool, batch_size, rank, world, module.device)
        for batch in tqdm(batches, title, leave=False, unit="batch", disable=rank > 0 or None):  # None: by terminal
            yield batch.index, module.evaluate(batch.image.float() / 255).float().softmax(1)
