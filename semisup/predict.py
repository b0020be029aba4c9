"""Predictions over a whole pool, streamed in batches."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from semisup.data.loader import EvaluationLoader
from semisup.models.modes import evaluation_mode
from semisup.runtime.console import watched
from semisup.runtime.ranks import gather_rows, synchronize_buffers
from semisup.selection import Candidates, Rule, Selection

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
    for rows, x in _passed(module, pool, batch_size, rank, world, title):
        yield rows, module(x).float().softmax(1)


def features(module: Classifier, pool: Pool, batch_size: int, title: str = "features") -> Tensor:
    """Features (N, F) float32 of a pool's images, on the CPU, by the weights that evaluate; each rank makes all."""
    return torch.cat([module.features(x).float().cpu() for _, x in _passed(module, pool, batch_size, 0, 1, title)])


def _passed(
    module: Classifier, pool: Pool, batch_size: int, rank: int, world: int, title: str
) -> Iterator[tuple[Tensor, Tensor]]:
    """Rows (B,) and what the network is given of them, while it evaluates: images, or features computed before."""
    trainer = module._trainer
    precision = trainer.precision_plugin.forward_context() if trainer else nullcontext()
    cached = trainer.datamodule.features if trainer else None  # type: ignore[attr-defined]
    if cached is not None:
        cached.prepare(pool, "none")
    with evaluation_mode(module), precision:
        batches = EvaluationLoader(pool, batch_size, rank, world, module.device)
        for batch in watched(batches, title, len(batches), disable=rank > 0):
            yield batch.index, batch.image.float() / 255 if cached is None else cached.gather(pool, batch.index, "none")


def select(
    module: Classifier, pool: Pool, rule: Rule, soft: bool = False, title: str = "predicting", bins: int = 10
) -> tuple[Candidates, Tensor]:
    """The images of a pool that a rule selects by what is predicted of them, the same on every rank.

    Args:
        module: the classifier, in a fit.
        pool: the images; nothing is kept of those that are not selected.
        rule: what selects (semisup/selection.py).
        soft: their targets are the predicted probabilities, and not the most probable classes.
        title: of the progress bar.
        bins: of the histogram.

    Returns:
        Those that are selected, on the CPU, and the share of the pool in each bin of confidence from 0 to 1, (bins,).
    """
    data, best, histogram = module.datamodule, Selection(rule), torch.zeros(bins, device=module.device)
    synchronize_buffers(module)
    for rows, p in predict(module, pool, data.eval_batch_size, *data.rank, title=title):
        confidence, predicted = p.max(1)
        histogram += torch.histc(confidence, bins, 0, 1)
        best.add(Candidates(rows, confidence, predicted, p if soft else predicted))
    chosen = best.selected().map(gather_rows)  # the best of every rank, and so the best of all among them
    total = module.trainer.strategy.reduce(histogram, reduce_op="sum")
    assert isinstance(total, Tensor)
    return chosen.at(rule(chosen)).map(Tensor.cpu), total.cpu() / len(pool)
