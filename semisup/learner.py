"""What the parts of a fit work with: the network that trains, its optimiser, the data, and the loss of labels."""

from __future__ import annotations

from pytorch_lightning.callbacks import GradientAccumulationScheduler
from torch import Tensor

from semisup.batch import Batch, Samples
from semisup.composition import Composition
from semisup.data.datamodule import DataModule
from semisup.data.fingerprint import Fingerprint
from semisup.data.picture import How
from semisup.data.pools import DataSpec
from semisup.data.preprocessing import Preprocessing
from semisup.errors import InputError
from semisup.losses import LABELED, weighted
from semisup.models.optim import Schedule
from semisup.models.options import ModelOptions, OptimizerOptions
from semisup.phase import Outputs
from semisup.predictor import Predictor
from semisup.randomness import Draw
from semisup.runtime.finite import StopOnNonFinite


class Learner(Predictor):
    """A predictor with what it is trained by.

    Args:
        spec: the dataset's classes and image size.
        strategy: what the unlabeled images teach.
        options: the network.
        optimizer: an optimiser of torch.optim.
        schedule: factor of the learning rate at every step.
        seed: chooses the initial weights and the dropout.
        restored: its weights are about to be restored from a checkpoint, so those of `--model.weights` are not read.
    """

    def __init__(
        self,
        spec: DataSpec,
        strategy: Composition,
        options: ModelOptions,
        optimizer: OptimizerOptions,
        schedule: Schedule,
        seed: int,
        restored: bool,
    ) -> None:
        super().__init__(spec, strategy, options, seed, restored)
        self.optimizer, self.schedule = optimizer, schedule
        self.beside = dict(self.network.extra.items())  # every module that a phase has trained beside the network
        self.labeled_offset: Tensor | None
        self.register_buffer("labeled_offset", None, persistent=False)  # (classes,), where a strategy sets one
        self.class_weights: Tensor | None
        self.register_buffer("class_weights", None, persistent=False)  # (classes,), where `--model.class_weights` asks
        self.finite = StopOnNonFinite()
        # Of a model that was restored:
        self.trained_on: Fingerprint | None = None
        self.preprocessing = Preprocessing(How(spec.image_size, spec.channels))

    def draw(self, samples: Samples, batch: Batch, name: str) -> Draw:
        """Where a strategy draws random numbers for a stream's samples, a function of seed, step, name and position."""
        return Draw(self.seed, batch.step, name, samples.position, len(samples) * self.trainer.world_size)

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
        if self.class_weights is not None:
            return weighted(self.options.loss, logits, target, self.class_weights)
        return LABELED[self.options.loss](logits, target)

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

    def optimizer_steps(self, first: int, epochs: int) -> int:
        """Optimiser steps of some epochs, by how many of their batches are trained on and how many make a step.

        Args:
            first: epoch of the trainer.
            epochs: number of epochs from there.
        """
        trainer, batches, limit = self.trainer, self.datamodule.steps, self.trainer.limit_train_batches
        batches = min(batches, limit) if isinstance(limit, int) else int(batches * limit)
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, GradientAccumulationScheduler):  # the trainer's own number is that of this epoch
                parts = map(callback.get_accumulate_grad_batches, range(first, first + epochs))
                return sum(-(-batches // part) for part in parts)
        return epochs * -(-batches // trainer.accumulate_grad_batches)
