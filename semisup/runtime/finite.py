"""Stops a training on a non-finite loss, and says at which step, in which part of it, and on which images.

The loss lies on the device, and whoever reads it waits for the device. So a step only keeps its own, and all that were
kept are read where somebody waits anyway: as often as the loggers do, at the end of an epoch, and before a checkpoint
is written (semisup/training/checkpoints.py), so that none ever holds weights that are not finite.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from semisup.batch import Batch
from semisup.errors import InputError
from semisup.runtime.ranks import gather_rows

_MAX_UNREAD_STEPS = 50  # whose losses are kept, however rarely loggers look
_ADVICE = (
    "no checkpoint holds it; begin another run with a smaller learning rate ({}), or with --trainer.gradient_clip_val 1"
)


class Diverged(InputError):
    """The loss or the weights of a training are not finite; going on can't mend them."""


@dataclass(frozen=True)
class _Step:
    number: int  # optimiser steps before it, as in metrics.csv
    epoch: int  # counted from 0
    scalars: dict[str, Tensor]  # loss and parts of it, the means over all ranks, on the device
    rows: dict[str, Tensor]  # stream -> this rank's rows of the pool
    lr_option: str  # what sets its learning rate


class StopOnNonFinite(pl.Callback):
    """Stops on a non-finite loss or weight; all ranks come to the same, since they see the same means."""

    def __init__(self) -> None:
        self._steps: list[_Step] = []

    def keep(self, trainer: pl.Trainer, batch: Batch, scalars: dict[str, Tensor]) -> None:
        """Keeps a step's loss and parts of it, scalars by name and the means over all ranks, until they are read."""
        streams = {"labeled": batch.labeled, "unlabeled": batch.unlabeled}
        rows = {stream: samples.index for stream, samples in streams.items() if samples is not None}
        kept = {name: x.detach() for name, x in scalars.items()}  # without what gradients would need
        lr_option = _lr_option(trainer.lightning_module)
        self._steps.append(_Step(trainer.global_step, trainer.current_epoch, kept, rows, lr_option))

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        """Reads the losses where the loggers are about to, and checks the weights too before what follows an epoch."""
        every = min(trainer.log_every_n_steps or _MAX_UNREAD_STEPS, _MAX_UNREAD_STEPS)  # type: ignore[attr-defined]
        if batch_idx + 1 >= trainer.num_training_batches:
            self.check(pl_module)
        elif trainer.global_step % every == 0:
            self._read()

    def check(self, module: nn.Module) -> None:
        """Reads the losses of the steps since it was last done, and checks the weights of a module.

        Raises:
            Diverged: some are infinite or not a number.
        """
        self._read()
        weights = dict(module.named_parameters())
        if bad := [name for name, good in zip(weights, _finite(weights.values()), strict=True) if not good]:
            more = f" and {len(bad) - 1} more tensors" if len(bad) > 1 else ""
            raise Diverged(
                f"after the last step weights are not finite ({bad[0]}{more}); {_ADVICE.format(_lr_option(module))}"
            )

    def _read(self) -> None:
        steps, self._steps = self._steps, []
        finite = _finite(step.scalars["loss"] for step in steps)
        if not all(finite):
            raise Diverged(_words(steps[finite.index(False)]))


def _lr_option(module: Any) -> str:
    phase = getattr(module, "phase", None)  # there is none outside of a fit
    return phase.lr_option if phase else "--optimizer.lr"


def _finite(tensors: Iterable[Tensor]) -> list[bool]:
    """Whether each of some tensors is finite throughout; waits for the device once."""
    finite = [x.detach().isfinite().all() for x in tensors]
    return torch.stack(finite).tolist() if finite else []


def _words(step: _Step) -> str:
    """What there is to know of a step whose loss is not finite."""
    values = {name: float(x) for name, x in step.scalars.items()}
    parts = ", ".join(f"{name} {x:.4g}" for name, x in values.items() if name != "loss")
    images = "; ".join(
        f"{stream} images {', '.join(map(str, gather_rows(rows).tolist()))}" for stream, rows in step.rows.items()
    )
    return (
        f"the loss is {values['loss']} at step {step.number} of epoch {step.epoch}, both counted from 0 as in "
        f"metrics.csv{f' ({parts})' if parts else ''}; {_ADVICE.format(step.lr_option)}. Its batch, by rows of the "
        f"pools: {images}"
    )
