"""The classifier: a backbone with a linear head, trained by whatever loss its strategy owns. Read this file first.

A step: the datamodule hands over a `Batch` of augmented images (semisup/data/datamodule.py), `training_step` asks the
strategy for the loss (strategies/<name>.py), Lightning does the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.trainer.states import TrainerFn
from torch import Tensor, nn

from semisup import saved_classifier
from semisup.batch import Batch, Samples
from semisup.data.datamodule import DataModule
from semisup.data.fingerprint import Fingerprint
from semisup.data.hidden_labels import target_quality
from semisup.data.picture import How
from semisup.data.pools import DataSpec
from semisup.data.preprocessing import Preprocessing
from semisup.errors import InputError
from semisup.losses import LABELED
from semisup.metrics import Evaluation, Scores
from semisup.models import backbones, optim
from semisup.models.ema import EMA
from semisup.models.modes import enough_images, evaluation_mode, frozen_batchnorm
from semisup.models.network import Network
from semisup.models.normalization import Normalization
from semisup.models.options import SGD, ModelOptions, OptimizerOptions
from semisup.phases import Phases
from semisup.randomness import Draw, key, seed_layers
from semisup.runs import checkpoint_file
from semisup.runtime.console import say
from semisup.runtime.finite import StopOnNonFinite
from semisup.runtime.memory import keep_freed_memory
from semisup.runtime.ranks import mean_over_ranks
from semisup.runtime.scale import scale
from semisup.runtime.seeding import Seeding
from semisup.strategy import Composition, Outputs, Phase, Strategy

__all__ = ["SGD", "Classifier", "ModelOptions", "OptimizerOptions"]


class Classifier(pl.LightningModule):
    """Backbone and linear head, trained by a strategy.

    Args:
        spec: the dataset's classes and image size.
        strategy: what the unlabeled images teach; supervised training where no part of it owns the loss. A single one
            goes by the name of its class, in small letters.
        model: the network.
        optimizer: an optimiser of torch.optim.
        lr_scheduler: factor of the learning rate at every step.
        seed: chooses the initial weights and the dropout.
    """

    def __init__(
        self,
        spec: DataSpec,
        strategy: Composition | Strategy | None = None,
        model: ModelOptions | None = None,
        optimizer: OptimizerOptions = SGD,
        lr_scheduler: optim.Schedule | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if not isinstance(strategy, Composition):
            strategy = Composition({type(strategy).__name__.lower(): strategy} if strategy else {})
        self.spec, self.strategy, self.seed = spec, strategy, seed
        self.options, self.optimizer = model or ModelOptions(), optimizer
        self.schedule = lr_scheduler or optim.Cosine()
        name = self.options.backbone
        self.backbone_name = backbones.choose(spec.image_size) if name == "auto" else name
        self.network = self._initial()
        self.beside = dict(self.network.extra.items())  # every module that a phase has trained beside the network
        self.phases = Phases()
        self.labeled_offset: Tensor | None
        self.register_buffer("labeled_offset", None, persistent=False)  # (classes,), where a strategy sets one
        self._compiled: Callable[[Tensor], Tensor] | None = None
        self.ema: EMA | None = None
        loss = None if self.options.loss == "nll" else LABELED[self.options.loss]
        self.evaluations = nn.ModuleDict(
            {stage: Evaluation(spec.class_names, areas=stage == "test", loss=loss) for stage in ("val", "test")}
        )
        self.scores: dict[str, Scores] = {}
        self.finite = StopOnNonFinite()
        # Of a model that was restored:
        self.trained_on: Fingerprint | None = None
        self.preprocessing = Preprocessing(How(spec.image_size, spec.channels))

    def _initial(self) -> Network:
        """The network with the weights that the seed draws."""
        spec = self.spec
        with torch.random.fork_rng():
            torch.manual_seed(key(self.seed, "initial weights"))
            normalization = Normalization(self.options.normalization, spec.channels)
            backbone = backbones.build(self.backbone_name, spec.channels, spec.image_size)
            width, classes = int(backbone.num_features), len(spec.class_names)  # type: ignore[arg-type]
            # As PyTorch begins: Glorot's weights and zero biases, of the papers' code, measured alike (RESULTS.md).
            head = nn.Linear(width, classes)
            extra = {name: make(width, classes) for name, make in self.strategy.needs.modules.items()}
            # Channels last is the order that convolutions are fastest in (experiments/RESULTS.md).
            return Network(normalization, backbone, head, extra).to(memory_format=torch.channels_last)

    def restart(self) -> None:
        """Begins with fresh weights again: those that the seed draws, and then what strategies put in their place.

        Those that train in phases come last, since what they put there was trained from what the others did.
        """
        ours, fresh = self.network, self._initial()
        ours.backbone.load_state_dict(fresh.backbone.state_dict())
        ours.head.load_state_dict(fresh.head.state_dict())
        for name in ours.extra.keys() & fresh.extra.keys():
            ours.extra[name].load_state_dict(fresh.extra[name].state_dict())
        for part in sorted(self.strategy.parts.values(), key=lambda part: bool(part.phases(self))):
            part.initialize(self)

    # ---- the step

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, classes) of images (B, C, H, W) float32 in [0, 1].

        By the weights that train; in evaluation mode, as `features` and `head`, by those that are scored: the moving
        average's where there is one.
        """
        return self.head(self.features(images))

    def features(self, images: Tensor) -> Tensor:
        """Features (B, F) of images (B, C, H, W) float32 in [0, 1]."""
        if self._compiled is None or not self.training:
            return (self.network if self.training else self.scored).features(images)
        torch._dynamo.maybe_mark_dynamic(images, 0)  # else every new batch size would be compiled for
        return self._compiled(images)

    def joint(self, *views: Tensor) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Logits and features of several batches of images in one pass, so that batch norm sees one population.

        Returns:
            The logits (B, classes) of each batch (B, C, H, W), and its features (B, F).
        """
        features, sizes = self.features(torch.cat(views)), [len(images) for images in views]
        return self.head(features).split(sizes), features.split(sizes)

    def head(self, features: Tensor) -> Tensor:
        """Logits (B, classes) of features (B, F)."""
        logits: Tensor = self.network.head(features) if self.training else self._scored_head(features)
        return logits

    @property
    def scored(self) -> Network:
        """The network that evaluates: the moving average where there is one, else the one that trains."""
        scored: Network = self.ema.average if self.ema else self.network
        return scored

    def _scored_head(self, features: Tensor) -> Tensor:
        name = self.evaluating_head
        logits: Tensor = (self.scored.extra[name] if name else self.scored.head)(features)
        return logits

    @property
    def extra(self) -> nn.ModuleDict:
        """The modules that the strategy trains beside the network (`Needs.modules`), by name."""
        return self.network.extra

    @property
    def teacher(self) -> EMA:
        """The moving average of the network, which follows it in evaluation mode and has no gradient.

        Raises:
            InputError: there is none.
        """
        if self.ema is None:
            raise InputError(f"{self.strategy.name} asks for a teacher and there is none; type a decay for its average")
        return self.ema

    def frozen_batchnorm(self) -> AbstractContextManager[None]:
        """A context in which passes through the network leave batch normalisation's running statistics as they are."""
        return frozen_batchnorm(self.network)

    def draw(self, samples: Samples, batch: Batch, name: str) -> Draw:
        """Where a strategy draws random numbers for a stream's samples, a function of seed, step, name and position."""
        return Draw(self.seed, batch.step, name, samples.position, len(samples) * self.trainer.world_size)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The strategy's loss of one batch."""
        seed_layers(self.device, self.seed, "dropout", batch.step, self.global_rank)
        with enough_images():
            loss, metrics, *rest = (self.phase.loss or self.strategy.loss)(self, batch)
        outputs = rest[0] if rest else {}
        scalars = mean_over_ranks({"loss": loss, **metrics})
        self.finite.keep(self.trainer, batch, scalars)
        if self._is_logged():
            scalars |= self._target_quality(batch, outputs)
            for name, value in scalars.items():
                self.log(f"{self.phase.metrics}/{name}", value, prog_bar=name == "loss", batch_size=len(batch.labeled))
        return loss

    def _target_quality(self, batch: Batch, outputs: Outputs) -> dict[str, Tensor]:
        """What the step's targets are worth, to be looked at; empty where the strategy hands none over."""
        if batch.unlabeled is None or not {"target", "mask"} <= outputs.keys():
            return {}
        hidden, rows, classes = self.datamodule.hidden_labels, batch.unlabeled.index, len(self.spec.class_names)
        return target_quality(hidden, rows, outputs["target"], outputs["mask"], classes)

    def _is_logged(self) -> bool:
        """Whether this step's scalars are looked at; it takes Lightning half a millisecond to keep one of them."""
        trainer = self.trainer
        every: int = trainer.log_every_n_steps or 1  # type: ignore[attr-defined]
        told = (trainer.global_step + 1) % every == 0
        return told or trainer.is_last_batch or trainer.progress_bar_callback is not None

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """A step of the optimiser, and of the moving average: in one, so that no checkpoint falls between them."""
        super().optimizer_step(*args, **kwargs)
        if self.ema is not None:
            self.ema.update(self.network)

    def refined(self, batch: Batch, outputs: Outputs) -> Outputs:
        """What an owner of the loss has computed, as other strategies refine it (`Strategy.refine`)."""
        return self.strategy.refine(self, batch, outputs)

    def labeled_loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """The loss that `--model.loss` names, a scalar, of labeled images.

        Args:
            logits: (B, classes) float.
            target: (B,) int64 classes, or (B, classes) float probabilities, such as mixed ones.
        """
        if self.labeled_offset is not None:
            logits = logits + self.labeled_offset
        return LABELED[self.options.loss](logits, target)

    # ---- evaluation

    def evaluate(self, images: Tensor) -> Tensor:
        """Logits (B, classes) of images (B, C, H, W) float32 in [0, 1], by the weights that evaluate.

        Those of the moving average where the strategy asks for one (`LossStrategy.ema_decay`), else those that train;
        by another head than the network's where it brings one for that (`TermStrategy.evaluating_head`).
        Always in evaluation mode and without a gradient, in a loss as well: no statistics move, and no dropout acts.
        """
        with evaluation_mode(self.scored):
            return self._scored_head(self.scored.features(images))

    def validation_step(self, batch: Samples, batch_idx: int) -> None:
        """Scores a batch of the validation pool."""
        self._evaluation("val").update(self.evaluate(batch.views["none"]), batch.target)

    def test_step(self, batch: Samples, batch_idx: int) -> None:
        """Scores a batch of the test pool."""
        self._evaluation("test").update(self.evaluate(batch.views["none"]), batch.target)

    def on_validation_epoch_end(self) -> None:
        """Logs the scores of the validation pool."""
        self._finish("val")

    def on_test_epoch_end(self) -> None:
        """Logs the scores of the test pool."""
        self._finish("test")

    def _evaluation(self, stage: str) -> Evaluation:
        evaluation = self.evaluations[stage]
        assert isinstance(evaluation, Evaluation)
        return evaluation

    def group(self, labels: Tensor) -> None:
        """Lets classes be scored by how many labeled images they have, of these labels (N,) int64."""
        for stage in self.evaluations:
            self._evaluation(stage).group(labels)

    def _finish(self, stage: str) -> None:
        self.scores[stage] = scores = self._evaluation(stage).compute()
        scalars = {f"{stage}/{name}": value for name, value in scores.scalars.items()}
        # Already the same on every rank; sync_dist only tells Lightning so.
        for name, value in scalars.items():
            self.log(name, value, prog_bar=name.endswith("/accuracy"), sync_dist=True, batch_size=1)

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
            if self.options.compile:
                self._compiled = torch.compile(self.network.features)
            million = sum(p.numel() for p in self.network.parameters()) / 1e6
            self.phases.begin(self)
            why = " (by the size of the images)" if self.options.backbone == "auto" else ""
            by = f"; a moving average of decay {self.ema.decay} evaluates" if self.ema else ""
            if self.ema and self.targets_from:
                by += f", the {self.targets_from} weights make targets"
            say(f"model: {self.backbone_name}{why}, {million:.2f} million parameters{by}")
            unlabeled, rate = (
                data.batch_size * data.needs.unlabeled_ratio,
                self.optimizer.parameters.get("lr", "by default"),
            )
            say(f"training: {scale(self.trainer, data.batch_size, unlabeled, rate)}")

    def start_ema(self, decay: float) -> None:
        """Lets a moving average of the network evaluate from now on, or, with a decay of 0, the network itself."""
        self.ema = EMA(self.network, decay) if decay else None

    @property
    def targets_from(self) -> str:
        """Which weights make targets: training, evaluating, or, where there are no targets, empty."""
        return self.strategy.owner.targets_from if self.strategy.owner else ""

    @property
    def datamodule(self) -> DataModule:
        """The datamodule that the trainer was given.

        Raises:
            InputError: it was given something else.
        """
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        if not isinstance(data, DataModule):
            raise InputError(
                f"the trainer was given {type(data).__name__}, and a Classifier is served by a semisup DataModule; "
                f"type trainer.fit(classifier, datamodule=...)"
            )
        return data

    def configure_optimizers(self) -> Any:
        """The optimiser, and its learning rate as a function of the step."""
        name, parameters = self.optimizer.name, self.optimizer.parameters
        make, schedule = self.phase.optimizer, self.phase.schedule or self.schedule
        optimizer = (
            make(self) if make else optim.build_optimizer(name, self, parameters, self.options.decay_norm_and_bias)
        )
        total, steps = self.total_steps, self.datamodule.steps
        rates = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda k: schedule.factor(k, total, steps))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": rates, "interval": "step"}}

    @property
    def evaluating_head(self) -> str:
        """The module that evaluates in place of the head; empty for none, as in a phase that doesn't train it."""
        name = self.strategy.evaluating_head
        return name if name in self.network.extra else ""

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

    @property
    def steps_per_epoch(self) -> int:
        """Optimiser steps of an epoch, by how many of its batches are to be trained on and how many make a step."""
        batches, limit = self.datamodule.steps, self.trainer.limit_train_batches
        batches = min(batches, limit) if isinstance(limit, int) else int(batches * limit)
        return -(-batches // self.trainer.accumulate_grad_batches)

    # ---- checkpoints

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Goes on in the checkpoint's phase, and adds what checkpoints did not hold from the beginning.

        That is the moving average's count of updates, of which there was one in every step.
        """
        if self._trainer is not None and self._trainer.state.fn == TrainerFn.FITTING:
            self.phases.resume(self, checkpoint["semisup"].get("phase"))
        if self.ema is not None:
            checkpoint["state_dict"].setdefault("ema._extra_state", torch.tensor(checkpoint["global_step"]))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Writes down what `from_checkpoint` needs, in plain types that `weights_only` loading accepts."""
        checkpoint["semisup"] = saved_classifier.description(self)
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
    def from_checkpoint(cls, path: Path) -> Classifier:
        """The classifier that a checkpoint of a run holds, ready to predict.

        Raises:
            InputError: the file is not a checkpoint that semisup wrote, or is cut short.
        """
        return saved_classifier.restore(cls, path)

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
