"""The classifier: a backbone with a linear head, trained by whatever loss its strategy owns. Read this file first.

A step: the datamodule hands over a `Batch` of augmented images (semisup/data/datamodule.py), `training_step` asks the
strategy for the loss (strategies/<name>.py), Lightning does the rest. What the network says of images, while it trains
and when it is scored, is in semisup/predictor.py.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.trainer.states import TrainerFn
from torch import Tensor

from semisup import saved_classifier
from semisup.batch import Batch
from semisup.compiled import compile_step
from semisup.composition import Composition
from semisup.data.pools import DataSpec
from semisup.features.cached import CachedFeatures
from semisup.frozen import cached_features
from semisup.learner import Learner
from semisup.logged import log_step
from semisup.losses import class_weights
from semisup.models import adapt, optim
from semisup.models.modes import enough_images
from semisup.models.options import SGD, ModelOptions, OptimizerOptions
from semisup.phases import Phases
from semisup.randomness import seed_layers
from semisup.runs import checkpoint_file
from semisup.runtime.console import say
from semisup.runtime.memory import keep_freed_memory
from semisup.runtime.seeding import Seeding
from semisup.said import say_model
from semisup.second_step import SecondStep
from semisup.strategy import Phase, Strategy

__all__ = ["SGD", "Classifier", "ModelOptions", "OptimizerOptions"]


class Classifier(Learner):
    """Backbone and linear head, trained by a strategy.

    Args:
        spec: the dataset's classes and image size.
        strategy: what the unlabeled images teach; supervised training where no part of it owns the loss. A single one
            goes by the name of its class, in small letters.
        model: the network.
        optimizer: an optimiser of torch.optim.
        lr_scheduler: factor of the learning rate at every step.
        seed: chooses the initial weights and the dropout.
        restored: its weights are about to be restored from a checkpoint, so those of `--model.weights` are not read.

    Raises:
        InputError: there is no such network, or there are no such weights.
    """

    def __init__(
        self,
        spec: DataSpec,
        strategy: Composition | Strategy | None = None,
        model: ModelOptions | None = None,
        optimizer: OptimizerOptions = SGD,
        lr_scheduler: optim.Schedule | None = None,
        seed: int = 0,
        restored: bool = False,
    ) -> None:
        if not isinstance(strategy, Composition):
            strategy = Composition({type(strategy).__name__.lower(): strategy} if strategy else {})
        schedule = lr_scheduler or optim.Cosine()
        super().__init__(spec, strategy, model or ModelOptions(), optimizer, schedule, seed, restored)
        self.phases, self.second_step = Phases(), SecondStep()

    # ---- the step

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The strategy's loss of one batch."""
        seed_layers(self.device, self.seed, "dropout", batch.step, self.global_rank)
        if self.captures:
            torch.compiler.cudagraph_mark_step_begin()
        with enough_images():
            loss, metrics, *rest = (self.phase.loss or self.strategy.loss)(self, batch)
        outputs = rest[0] if rest else {}
        self.second_step.follow(self, self.phase, batch, outputs)
        log_step(self, self.phase, batch, loss, metrics, outputs)
        return loss

    def optimizer_step(self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any = None) -> None:
        """A step of the optimiser, or two of them, and of the moving average: no checkpoint falls between them."""
        super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
        self.second_step.take(self, optimizer)
        if self.ema is not None:
            self.ema.update(self.network)

    # ---- set-up

    def on_fit_start(self) -> None:
        """Moves to the device what the strategies have learned, now that a resumed run has restored it."""
        for part in self.strategy.parts.values():
            part.move_state(self.device)

    def configure_callbacks(self) -> list[pl.Callback]:
        """What stops on a non-finite loss, and the strategy's parts, in their order, each of them seeded."""
        parts = [x for name, part in self.strategy.parts.items() for x in (Seeding(self.seed, name), part)]
        return [self.finite, *parts, Seeding(self.seed, "training"), self.phases]

    def setup(self, stage: str) -> None:
        """Tells the datamodule what the strategy needs, and fits the input normalisation to the labeled images.

        A resumed run restores the normalisation over it afterwards.
        """
        if self.trainer.strategy.root_device.type == "cpu":
            keep_freed_memory()
        if stage == "fit":
            data = self.datamodule
            self.network.normalization.fit(data.pools.labeled.chunks(data.eval_batch_size))
            self.group(data.pools.labeled.labels)
            of = self.options.class_weights
            self.class_weights = class_weights(of, data.pools.labeled.labels, len(self.spec.class_names))
            if of == data.sampler == "balanced":
                say("model: warning: --model.class_weights and --data.sampler both balance; rare classes count twice")
            if self.options.compile:
                compile_step(self, data)
            self.phases.begin(self)
            data.features = cached_features(self, data)
            say_model(self, data)

    def configure_optimizers(self) -> Any:
        """The optimiser, and its learning rate as a function of the step."""
        name, parameters = self.optimizer.name, self.optimizer.parameters
        make, schedule = self.phase.optimizer, self.phase.schedule or self.schedule
        decay, layer_decay = self.options.decay_norm_and_bias, self.options.layer_decay
        scales = {p: x for each in self.network.networks for p, x in adapt.scales(each, layer_decay).items()}
        optimizer = make(self) if make else optim.build_optimizer(name, self, parameters, decay, scales)
        total, steps = self.total_steps, self.datamodule.steps
        rates = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda k: schedule.factor(k, total, steps))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": rates, "interval": "step"}}

    @property
    def phase(self) -> Phase:
        """The phase of the fit that runs."""
        return self.phases.current

    @property
    def epoch(self) -> int:
        """Epochs of this phase that are over; `Trainer.current_epoch` counts those of the phases before it too."""
        return int(self.trainer.current_epoch) - self.phases.first_epoch

    @property
    def total_steps(self) -> int:
        """Optimiser steps of this phase, and so of the whole training where it has no other one.

        `Trainer.estimated_stepping_batches` would build the training loader before a resumed run has restored its
        place in it, which would then be lost.
        """
        return self.phases.length(self)

    # ---- checkpoints

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Goes on in the checkpoint's phase, and adds what checkpoints did not hold from the beginning.

        That is the moving average's count of updates, of which there was one in every step.
        """
        self.origin, self._start = checkpoint["semisup"].get("origin"), checkpoint.get("start")
        if self._trainer is not None and self._trainer.state.fn == TrainerFn.FITTING:
            self.phases.resume(self, checkpoint["semisup"].get("phase"))
            if isinstance(self.datamodule.features, CachedFeatures):
                self.datamodule.features.count = checkpoint["semisup"]["model"]["draws"]
        if self.ema is not None:
            checkpoint["state_dict"].setdefault("ema._extra_state", torch.tensor(checkpoint["global_step"]))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Writes down what `from_checkpoint` needs, in plain types that `weights_only` loading accepts."""
        checkpoint["semisup"] = saved_classifier.description(self, self.phases.saved())
        if self._start is not None and self.phases.will_restart:
            checkpoint["start"] = self._start
        checkpoint_file.seal(checkpoint)  # Lightning calls this hook last

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """Takes on the precision of the weights that are restored first: copied into another one they would be rounded.

        Lightning restores before it brings a module to the precision of `--trainer.precision 64-true`.
        """
        saved = state_dict.get(f"{prefix}network.head.weight")
        if isinstance(saved, Tensor) and saved.is_floating_point():
            self.to(saved.dtype)
        super()._load_from_state_dict(state_dict, prefix, *args)

    @classmethod
    def from_checkpoint(cls, path: Path, finite: bool = True) -> Classifier:
        """The classifier that a checkpoint of a run holds, ready to predict.

        Args:
            path: the file.
            finite: its weights must be; a network that has diverged can be looked at, and not predict.

        Raises:
            InputError: the file is not a checkpoint that semisup wrote, or is cut short.
        """
        return saved_classifier.restore(cls, path, finite)

    @staticmethod
    def saved(path: Path, sealed: bool = False) -> dict[str, Any]:
        """What a checkpoint says of itself: `spec`, `model`, `strategy`, and `epochs` of its phase.

        Args:
            path: the file.
            sealed: it must be to the bit what was written, so that a training can be restored from it.

        Raises:
            InputError: as `from_checkpoint`, or it was changed.
        """
        return saved_classifier.described(path, sealed)
