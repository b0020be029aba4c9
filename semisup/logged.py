"""What is kept and logged of a step: its loss, what the strategy says of it, and what its targets are worth."""

from __future__ import annotations

from torch import Tensor

from semisup.batch import Batch
from semisup.data.hidden_labels import target_quality
from semisup.learner import Learner
from semisup.phase import Outputs, Phase
from semisup.runtime.ranks import mean_over_ranks


def log_step(
    module: Learner, phase: Phase, batch: Batch, loss: Tensor, metrics: dict[str, Tensor], outputs: Outputs
) -> None:
    """Keeps the scalars of a step for `StopOnNonFinite`, and logs them where they are looked at."""
    scalars = _kept(module, batch, loss, metrics)
    if is_looked_at(module):
        _log(module, phase, batch, scalars | _target_quality(module, batch, outputs))


def log_second_step(module: Learner, phase: Phase, batch: Batch, loss: Tensor, metrics: dict[str, Tensor]) -> None:
    """As `log_step`, of a second step on the batch: `loss` is that of the first."""
    scalars = _kept(module, batch, loss, metrics)
    if is_looked_at(module):
        _log(module, phase, batch, {name: scalars[name] for name in metrics})


def is_looked_at(module: Learner) -> bool:
    """Whether this step's scalars are looked at; it takes Lightning half a millisecond to keep one of them."""
    trainer = module.trainer
    every: int = trainer.log_every_n_steps or 1  # type: ignore[attr-defined]
    return (trainer.global_step + 1) % every == 0 or trainer.is_last_batch


def _kept(module: Learner, batch: Batch, loss: Tensor, metrics: dict[str, Tensor]) -> dict[str, Tensor]:
    scalars = mean_over_ranks({"loss": loss, **metrics})
    module.finite.keep(module.trainer, batch, scalars)
    return scalars


def _log(module: Learner, phase: Phase, batch: Batch, scalars: dict[str, Tensor]) -> None:
    for name, value in scalars.items():
        bar = name in ("loss", "utilisation")
        module.log(f"{phase.metrics}/{name}", value, prog_bar=bar, batch_size=len(batch.labeled))


def _target_quality(module: Learner, batch: Batch, outputs: Outputs) -> dict[str, Tensor]:
    """What the step's targets are worth, to be looked at; empty where the strategy hands none over."""
    if batch.unlabeled is None or not {"target", "mask"} <= outputs.keys():
        return {}
    hidden, rows, classes = module.datamodule.hidden_labels, batch.unlabeled.index, len(module.spec.class_names)
    return target_quality(hidden, rows, outputs["target"], outputs["mask"], classes)
