"""A second step of the optimiser on the same batch, after which two networks have each had one (`steps_twice`)."""

from __future__ import annotations

from functools import partial
from typing import Any

from pytorch_lightning.callbacks import GradientAccumulationScheduler
from pytorch_lightning.strategies import DDPStrategy, SingleDeviceStrategy
from torch import Tensor

from semisup.batch import Batch
from semisup.errors import require
from semisup.learner import Learner
from semisup.logged import log_second_step
from semisup.models.modes import enough_images
from semisup.phase import Outputs, Phase
from semisup.runtime.ranks import average_gradients


class SecondStep:
    """Remembers a first step that a second one follows, and takes that: `LossStrategy.second_loss` is its loss."""

    def __init__(self) -> None:
        self._first: tuple[Phase, Batch, Outputs] | None = None

    def follow(self, module: Learner, phase: Phase, batch: Batch, outputs: Outputs) -> None:
        """Keeps what a first step worked with and has computed, where the owner of the loss takes two."""
        owner = module.strategy.owner
        twice = phase.loss is None and owner is not None and owner.steps_twice
        self._first = (phase, batch, outputs) if twice else None

    def take(self, module: Learner, optimizer: Any) -> None:
        """Takes the second step, where one is to follow."""
        if self._first is not None:
            optimizer.step(closure=partial(_loss, module, *self._first, optimizer))
            self._first = None


def _loss(module: Learner, phase: Phase, batch: Batch, outputs: Outputs, optimizer: Any) -> Tensor:
    """The loss of the second step on a batch, after its gradients are made."""
    assert module.strategy.owner is not None
    with module.trainer.precision_plugin.train_step_context(), enough_images():
        loss, metrics, *_ = module.strategy.owner.second_loss(module, batch, outputs)
    log_second_step(module, phase, batch, loss, metrics)
    optimizer.zero_grad()
    module.trainer.strategy.backward(loss, optimizer)
    average_gradients(module.parameters())
    return loss


def check_steps(module: Learner) -> None:
    """Sees to it that a batch can have two steps, the second of which trains the networks beside the first's.

    Raises:
        InputError: the optimiser or the trainer can't take them.
    """
    trainer, name, optimizer = module.trainer, module.strategy.name, module.optimizer.name
    require(
        trainer.accumulate_grad_batches == 1,
        f"{name} takes two steps of the optimizer on a batch, and trainer.accumulate_grad_batches is "
        f"{trainer.accumulate_grad_batches}; type 1, and a larger --data.batch_size",
    )
    require(
        not any(isinstance(x, GradientAccumulationScheduler) for x in trainer.callbacks),  # type: ignore[attr-defined]
        f"{name} takes two steps of the optimizer on a batch, and GradientAccumulationScheduler makes one of several "
        f"batches; leave it out, and type a larger --data.batch_size",
    )
    require(
        optimizer.lower() != "lbfgs",
        f"{name} takes two steps of the optimizer on a batch, each of other weights, and {optimizer} takes all "
        f"weights as one; type another --optimizer",
    )
    require(
        isinstance(trainer.strategy, DDPStrategy | SingleDeviceStrategy),
        f"{name} takes two steps of the optimizer on a batch, and {type(trainer.strategy).__name__} can't; type "
        f"--trainer.strategy ddp, or --trainer.devices 1",
    )
    # DDP would wait for their gradients in the first step; after the second one they are averaged here.
    beside = [x for x in module.network.networks if x is not module.network]
    theirs = {p for network in beside for p in network.parameters()}
    module._ddp_params_and_buffers_to_ignore = [n for n, p in module.named_parameters() if p in theirs]  # type: ignore[assignment]
