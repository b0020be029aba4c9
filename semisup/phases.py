"""The phases of a fit (`semisup.strategy.Phase`), one after the other in the trainer's one loop.

A phase changes at the end of an epoch, before that epoch's checkpoint is written: the checkpoint holds the phase that
begins, its fresh optimiser and the weights that it begins with, so that a run which is killed at the border goes on
with the next phase. The trainer counts epochs and steps through all of them; a phase counts its own from its beginning.

`--trainer.max_epochs` and `--trainer.max_steps` are the length of every phase that has none of its own.
"""

from __future__ import annotations

import sys
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import StochasticWeightAveraging, WeightAveraging
from pytorch_lightning.strategies import DDPStrategy, SingleDeviceStrategy
from torch import nn

from semisup.batch import Needs
from semisup.errors import InputError, require
from semisup.learner import Learner
from semisup.randomness import key
from semisup.runtime.ranks import synchronize_buffers
from semisup.second_step import check_steps
from semisup.strategy import LossStrategy, Phase, Strategy, TermStrategy

_OF_THE_LOSS = (LossStrategy, TermStrategy)
_AVERAGING = (StochasticWeightAveraging, WeightAveraging)


class Phases(pl.Callback):
    """Where a fit is in its phases, and what has to change with them; the last of the classifier's callbacks.

    Attributes:
        index: of the phase that runs, from 0.
        first_epoch: epochs of the trainer before that phase.
        first_step: optimiser steps before it.
    """

    def __init__(self) -> None:
        self._all: list[tuple[Phase, Strategy | None]] = [(Phase(), None)]
        self.index = self.first_epoch = self.first_step = 0
        self._asked: dict[str, Any] | None = None  # of the trainer, which gets it back when the fit ends

    @property
    def current(self) -> Phase:
        """The phase that runs; what it is in a process that only evaluates is the training."""
        return self._all[self.index][0]

    @property
    def will_restart(self) -> bool:
        """Whether a later phase begins with fresh weights."""
        return any(phase.restart for phase, _ in self._all[self.index + 1 :])

    @property
    def max_epochs(self) -> int | None:
        """Epochs of this phase as asked for, as the trainer has them: it may end before."""
        assert self._asked is not None
        epochs: int | None = self.current.epochs or self._asked["max_epochs"]
        return epochs

    @property
    def title(self) -> str:
        """What a line about this phase begins with; nothing in the training."""
        return "" if self.current.name == Phase.name else f"{self.current.name}: "

    def done(self, trainer: pl.Trainer) -> int:
        """Optimiser steps of this phase that are over."""
        return trainer.global_step - self.first_step

    def length(self, module: Learner) -> int:
        """Optimiser steps of this phase.

        Raises:
            InputError: the training has no end.
        """
        trainer, phase = module.trainer, self.current
        asked = self._asked or {"max_epochs": trainer.max_epochs, "max_steps": trainer.max_steps}
        epochs, steps = phase.epochs or asked["max_epochs"], asked["max_steps"]
        if trainer.fast_dev_run:  # type: ignore[attr-defined]
            epochs = 1
        ends = [module.optimizer_steps(self.first_epoch, epochs)] if epochs and epochs > 0 else []
        ends += [steps] if steps > 0 and phase.epochs is None else []
        if not ends:
            raise InputError("the learning rate's schedule needs an end; type --trainer.max_epochs N")
        return max(1, min(ends))

    # ---- beginning and going on

    def begin(self, module: Learner) -> None:
        """Begins with the first phase, when a fit is set up.

        Raises:
            InputError: the data has not what one of them needs, or the trainer can't change the phase.
        """
        trainer = module.trainer
        names = ("limit_val_batches", "callbacks", "max_epochs", "max_steps", "reload_dataloaders_every_n_epochs")
        self._asked = {name: getattr(trainer, name) for name in names}
        self._all = module.strategy.phases(module)
        require(
            len(self._all) == 1 or isinstance(trainer.strategy, DDPStrategy | SingleDeviceStrategy),
            f"{module.strategy.name} trains in phases, and {type(trainer.strategy).__name__} can't change between them "
            f"what it trains; type --trainer.strategy ddp, or --trainer.devices 1",
        )
        averaging = [type(x).__name__ for x in trainer.callbacks if isinstance(x, _AVERAGING)]  # type: ignore[attr-defined]
        require(
            len(self._all) == 1 or not averaging,
            f"{module.strategy.name} trains in phases, and {''.join(averaging[:1])} would average the weights of all "
            f"of them together; leave the callback out",
        )
        for phase, _ in self._all:
            module.datamodule.needs = self._needs(module, phase)
        self._enter(module, 0, 0, 0)
        trainer.callbacks = self._active()  # type: ignore[attr-defined]

    def saved(self) -> dict[str, int]:
        """What a checkpoint says of the phase that it was written in."""
        return {"index": self.index, "first_epoch": self.first_epoch, "first_step": self.first_step}

    def resume(self, module: Learner, saved: dict[str, int] | None) -> None:
        """Goes on in the phase of a checkpoint; one of an earlier version knows the training alone."""
        if saved is None:
            saved = {"index": next(i for i, (_, part) in enumerate(self._all) if part is module.strategy.owner)}
            saved |= {"first_epoch": 0, "first_step": 0}
        require(
            saved["index"] < len(self._all),
            f"the checkpoint was written in phase {saved['index'] + 1}, and the training has {len(self._all)}; a "
            f"resumed run must go on as it began",
        )
        if saved != self.saved():
            self._enter(module, saved["index"], saved["first_epoch"], saved["first_step"])
            module.trainer.callbacks = self._active()  # type: ignore[attr-defined]

    def _enter(self, module: Learner, index: int, first_epoch: int, first_step: int, restart: bool = False) -> None:
        """Makes network, data and trainer what a phase asks for."""
        self.index, self.first_epoch, self.first_step = index, first_epoch, first_step
        phase, data, owner = self.current, module.datamodule, module.strategy.owner
        needs = self._needs(module, phase)
        data.needs = needs
        labeled = phase.labeled
        data.serve(None if labeled is None else lambda: labeled(module), phase.batch_size, first_epoch)
        module.network.extra = self._modules(module, needs)
        if restart:
            module.restart()
        average = (owner.ema_decay if owner else 0.0) if phase.ema_decay is None else phase.ema_decay
        module.start_ema(average)
        for each in module.strategy.parts.values():
            each.begin_phase(module, phase)
        for network in module.network.networks:
            network.freeze()
        if owner is not None and owner.steps_twice:
            check_steps(module)
        if len(self._all) > 1:
            self._limit(module.trainer)

    def _needs(self, module: Learner, phase: Phase) -> Needs:
        return module.strategy.needs if phase.needs is None else phase.needs

    def _modules(self, module: Learner, needs: Needs) -> nn.ModuleDict:
        """The modules beside the network that a phase needs; those that it shares with another one are the same."""
        network, extra = module.network, dict[str, nn.Module]()
        for name in needs.networks:
            if name not in module.beside:
                module.beside[name] = module.beside_network(name)
            extra[name] = module.beside[name]
        for name, make in needs.modules.items():
            if name not in module.beside:
                with torch.random.fork_rng():
                    torch.manual_seed(key(module.seed, "initial weights", name))
                    module.beside[name] = make(network.head.in_features, network.head.out_features)
            extra[name] = module.beside[name].to(network.head.weight.device, network.head.weight.dtype)
        return nn.ModuleDict(extra).to(memory_format=torch.channels_last)

    def _limit(self, trainer: pl.Trainer) -> None:
        """Tells the trainer when to stop, and whether to validate."""
        assert self._asked is not None
        loop, max_epochs, max_steps = trainer.fit_loop, self._asked["max_epochs"], self._asked["max_steps"]
        known = [phase.epochs or max_epochs or -1 for phase, _ in self._all[self.index :]]
        loop.max_epochs = -1 if min(known) < 0 else self.first_epoch + sum(known)
        if max_steps > 0:  # -1 would tell the loop to count epochs alone
            last = self.index + 1 == len(self._all) and self.current.epochs is None
            loop.epoch_loop.max_steps = self.first_step + max_steps if last else sys.maxsize
        trainer.limit_val_batches = self._asked["limit_val_batches"] if self.current.validated else 0

    def _active(self) -> list[pl.Callback]:
        """The trainer's callbacks without those that rest: before the training, who owns or adds to its loss or watches
        a metric."""
        assert self._asked is not None
        everyone: list[pl.Callback] = self._asked["callbacks"]
        part = self._all[self.index][1]
        if any(phase.loss is None for phase, _ in self._all[: self.index + 1]):
            return everyone
        return [x for x in everyone if x is part or not (isinstance(x, _OF_THE_LOSS) or getattr(x, "monitor", None))]

    # ---- from one to the next

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Begins the next phase where this one has ended, before the checkpoint of this epoch is written."""
        if self.index + 1 == len(self._all):
            return
        over = trainer.current_epoch + 1 - self.first_epoch
        if pl_module.optimizer_steps(self.first_epoch, over) < self.length(pl_module):
            return
        synchronize_buffers(pl_module)  # batch normalisation's differ from rank to rank
        if (end := self.current.end) is not None:
            end(pl_module)
        pl_module.zero_grad()
        following = self._all[self.index + 1][0]
        self._enter(pl_module, self.index + 1, trainer.current_epoch + 1, trainer.global_step, following.restart)
        strategy = trainer.strategy
        if isinstance(strategy, DDPStrategy):  # which averages the gradients of the parameters that it was made with
            if strategy._layer_sync is not None:
                pl_module.network.extra = strategy._layer_sync.apply(pl_module.network.extra)
            strategy.model = pl_module
            strategy.configure_ddp()
        strategy.setup_optimizers(trainer)
        trainer.reload_dataloaders_every_n_epochs = 1  # type: ignore[attr-defined]  # the next epoch has another loader

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Says and logs where a later phase begins, and lets go on who rested in the one before."""
        assert self._asked is not None
        reload = "reload_dataloaders_every_n_epochs"
        setattr(trainer, reload, self._asked[reload])
        if self.index and trainer.current_epoch == self.first_epoch:
            for logger in trainer.loggers:
                logger.log_metrics({"phase": self.index, "epoch": trainer.current_epoch}, step=trainer.global_step)
        rested = [x for x in self._active() if x not in trainer.callbacks]  # type: ignore[attr-defined]
        trainer.callbacks = self._active()  # type: ignore[attr-defined]
        for callback in rested:
            callback.on_train_start(trainer, pl_module)
            callback.on_train_epoch_start(trainer, pl_module)

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Gives the trainer back what it was asked."""
        if self._asked is not None and stage == "fit":
            for name in ("limit_val_batches", "callbacks", "reload_dataloaders_every_n_epochs"):
                setattr(trainer, name, self._asked[name])
            trainer.fit_loop.max_epochs = self._asked["max_epochs"]
            trainer.fit_loop.epoch_loop.max_steps = self._asked["max_steps"]
            self._asked = None
