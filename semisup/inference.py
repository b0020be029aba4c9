"""Predictions over a whole pool, streamed in batches."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

import torch
import torch.distributed as dist
from torch import Tensor, nn

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


def synchronize_buffers(module: nn.Module) -> None:
    """Gives every rank the buffers of rank 0.

    Batch normalisation's running statistics differ from rank to rank, and ranks that predict with different ones
    would disagree about the same image.
    """
    if dist.is_available() and dist.is_initialized():
        for buffer in module.buffers():
            dist.broadcast(buffer, src=0)


def predict(
    module: Classifier, pool: Pool, batch_size: int, rank: int = 0, world: int = 1
) -> Iterator[tuple[Tensor, Tensor]]:
    """Class probabilities of a pool's images, in order: rows (B,) int64 and probabilities (B, classes) float32.

    Args:
        module: the classifier; the weights that evaluate are used, in the precision that it trains in.
        pool: the images.
        batch_size: images in a batch.
        rank: whose share of the pool to predict.
        world: number of ranks that share the work.
    """
    trainer = module._trainer
    precision = trainer.precision_plugin.forward_context() if trainer else nullcontext()
    with evaluation_mode(module), precision:
        for index, images in pool.chunks(batch_size, rank, world):
            yield index, module.evaluate(images.to(module.device).contiguous().float() / 255).float().softmax(1)
