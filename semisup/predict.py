"""Predictions over a whole pool, streamed in batches."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from typing import TYPE_CHECKING

from torch import Tensor
from tqdm import tqdm

from semisup.data.loader import EvaluationLoader
from semisup.models.modes import evaluation_mode

if TYPE_CHECKING:
    from semisup.classifier import Classifier
    from semisup.data.pool import Pool


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
