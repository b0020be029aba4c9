"""The Strategy contract: what a semi-supervised method is to the rest of the framework.

A strategy is a Lightning callback. It says once what it needs from the data (`needs`), and either owns the loss
(`LossStrategy`) or only acts on the lifecycle: initialises weights, pretrains, relabels. A whole strategy:

    class Entropy(LossStrategy):
        \"\"\"Cross-entropy, and confident predictions on unlabeled images (Grandvalet & Bengio 2005).

        Args:
            weight: weight of the unlabeled images' entropy in the loss.
        \"\"\"

        def __init__(self, weight: float = 0.1) -> None:
            self.weight = weight
            self.needs = Needs(unlabeled_views=("weak",), unlabeled_ratio=1)

        def loss(self, module, batch):
            supervised = F.cross_entropy(module(batch.labeled.views["weak"]), batch.labeled.target)
            logits = module(batch.unlabeled.views["weak"])
            entropy = -(logits.softmax(1) * logits.log_softmax(1)).sum(1).mean()
            return supervised + self.weight * entropy, {"entropy": entropy}

Learned state belongs into the checkpoint: modules and buffers are attached to the classifier in `setup`, so that
restoring and moving to a device cover them; tensors and plain numbers go through `state_dict`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Literal

import pytorch_lightning as pl
from torch import Tensor

from semisup.batch import Batch, Needs
from semisup.errors import InputError

Loss = tuple[Tensor, dict[str, Tensor]]


class Strategy(pl.Callback, ABC):
    """What the unlabeled images teach. Every hook of a Lightning callback can be overridden.

    Attributes:
        needs: what the strategy asks of the data.
    """

    needs: Needs = Needs()

    @property
    def state_key(self) -> str:
        """Names this strategy's state in the checkpoint."""
        return type(self).__qualname__

    def summary(self) -> str:
        """A line on what the strategy did, for the table at the end of a run; empty for none."""
        return ""


class LossStrategy(Strategy, ABC):
    """A strategy that owns the loss.

    Attributes:
        ema_decay: decay of a moving average of the network that evaluates in its place; 0 for none.
        targets_from: which weights make targets for unlabeled images, those that are training (`module(images)`) or
            those that are evaluating (`module.evaluate(images)`); empty where there are no targets. It changes nothing
            by itself: it is said when training begins, and written into the checkpoint.
    """

    ema_decay: float = 0.0
    targets_from: Literal["", "training", "evaluating"] = ""

    @abstractmethod
    def loss(self, module: Any, batch: Batch) -> Loss:
        """The loss of one step, called from `Classifier.training_step`, so that precision, compilation and DDP wrap it.

        Args:
            module: the `Classifier`; `module(images)` gives logits (B, classes) float32 of images (B, C, H, W).
            batch: the step's data.

        Returns:
            The loss, a scalar with gradient, and what to log beside it: name -> scalar tensor on the device, with the
            same names on every rank, whose mean is logged.
        """


class Composition:
    """Strategies that train together, in the order given: `kmeans+pseudolabel`.

    Their hooks run in this order. At most one of them owns the loss.

    Attributes:
        parts: the strategies.
        owner: the one that owns the loss, or None where all act only on the lifecycle.
        needs: what they need from the data together.

    Raises:
        InputError: two strategies own the loss; the message names both.
    """

    def __init__(self, parts: dict[str, Strategy]) -> None:
        self.parts = parts
        owners = {name: part for name, part in parts.items() if isinstance(part, LossStrategy)}
        if len(owners) > 1:
            raise InputError(
                f"{' and '.join(owners)} each own the loss, and only one strategy of a composition can; "
                f"type --strategy {next(iter(owners))} alone, or compare the two in separate runs"
            )
        self.owner = next(iter(owners.values()), None)

    @property
    def name(self) -> str:
        """The composition as typed on the command line."""
        return "+".join(self.parts)

    @property
    def needs(self) -> Needs:
        """The needs of the strategy that owns the loss; the others act between steps and take no part in a batch."""
        return self.owner.needs if self.owner else Needs()
