"""A phase of a fit: what a strategy may say of its own part of the training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from semisup.batch import Batch, Needs

__all__ = ["Loss", "Outputs", "Phase"]

Outputs = dict[str, Tensor]
Loss = tuple[Tensor, dict[str, Tensor]] | tuple[Tensor, dict[str, Tensor], Outputs]


@dataclass(frozen=True)
class Phase:
    """A part of a fit that has its own loss, images, length or optimiser; what it does not say is the training's.

    All phases run in the one loop of the trainer, which sees to precision, ranks, metrics, checkpoints and going on. A
    phase ends at an epoch's end. With the next one the optimiser, its schedule and the moving average begin anew; the
    weights are carried over unless it restarts them.

    Attributes:
        name: for what is said of it.
        epochs: how long it is; None for `--trainer.max_epochs` (and `--trainer.max_steps`).
        needs: what it needs from the data and beside the network; None for what the strategies need together. The
            modules that it names are there as long as it lasts.
        loss: (module, batch) -> its loss, as `LossStrategy.loss`; None for that of the strategies together. Callbacks
            that own or add to that, or that watch a metric, rest while a phase has a loss of its own.
        labeled: (module) -> `Pool`, what it trains on in place of the labeled images; an epoch is then one pass over it
            in whole batches. Called when the phase begins, and again where a run is resumed in it.
        batch_size: images of that in a global batch; None for `--data.batch_size`.
        ema_decay: of a moving average that evaluates; None for that of the owner of the loss.
        optimizer: (module) -> its optimiser; None for `--optimizer`.
        schedule: of its learning rate (semisup/models/optim.py); None for `--lr_scheduler`.
        lr_option: the option that sets its learning rate, to advise on.
        restart: it begins with fresh weights, those that the fit began with: drawn anew by the seed, and then what the
            strategies put in their place (`Strategy.initialize`).
        validated: whether its epochs are scored on the validation images.
        metrics: what stands before the names of its metrics.
        end: (module) -> None, called once when it has ended and another phase is about to begin, on every rank.
    """

    name: str = "training"
    epochs: int | None = None
    needs: Needs | None = None
    loss: Callable[[Any, Batch], Loss] | None = None
    labeled: Callable[[Any], Any] | None = None
    batch_size: int | None = None
    ema_decay: float | None = None
    optimizer: Callable[[Any], torch.optim.Optimizer] | None = None
    schedule: Any = None
    lr_option: str = "--optimizer.lr"
    restart: bool = False
    validated: bool = True
    metrics: str = "train"
    end: Callable[[Any], None] | None = None
