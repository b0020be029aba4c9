"""The Strategy contract: what a semi-supervised method is to the rest of the framework.

A strategy is a Lightning callback. It says once what it needs from the data (`needs`), and owns the loss
(`LossStrategy`), adds a term to the loss of another (`TermStrategy`), or only acts on the lifecycle: initialises
weights, pretrains, relabels. A whole strategy:

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

What a loss works with:

    module(images)  module.features(images)  module.head(features)   the network that trains
    module.joint(labeled, weak, strong)                               logits and features of all in one pass
    module.teacher  with the same three                               its moving average, in evaluation mode
    module.extra["projection"]  module.teacher.extra["projection"]    a module of `Needs.modules`, or of `networks`
    module.frozen_batchnorm()                                         passes that leave the running statistics alone
    module.labeled_loss(logits, target)                               the loss that --model.loss names
    module.labeled_offset                                             what that adds to the logits, None for nothing
    semisup.losses: distribution, most_probable                       of labels, which may be classes or probabilities
    module.refined(batch, outputs)                                    what others in the composition make of targets
    module.draw(batch.unlabeled, batch, "mixup")                      random numbers of this step, equal on all ranks
    module.total_steps                                                for ramps
    semisup.runtime.ranks: mean, gather, gather_with_gradient         the global batch, where a state follows it

Learned state needs no code: an attribute whose name ends in `_` and that holds a tensor, a number, or a dict or list of
them is moved to the device, saved in the checkpoint and restored. It must be the same on every rank; make it from what
`mean` or `gather` return.

How methods say themselves:

    Mean Teacher   `{"weak": "weak", "weak_2": "weak"}`, ema_decay; targets from module.teacher(weak_2)
    MixMatch       the same two draws; one draw of Beta and one permutation mix both streams with the gathered batch
    FlexMatch      `status_ = full((len(pool),), -1)` made in `begin_fit`; written at the gathered batch.unlabeled.index
    CoMatch        modules={"projection": ...}, two strong views, memory banks `bank_p_`, `bank_z_` of gathered rows
    SimMatch       modules={"projection": ...}; `bank_` has a row for every labeled image, by batch.labeled.index
    ABC            a `TermStrategy` with modules={"balanced_head": ...}, which evaluates, on the owner's features
    DebiasPL       `refines` the owner's logits before targets are made of them
    Exemplar       a first phase: `Phase(loss=..., labeled=..., optimizer=..., validated=False, end=...)`
    curriculum     six phases, all but the first with `restart=True`; each one's `end` relabels, the next serves that

A fit is a list of phases in one loop (`Strategy.phases`), and one phase alone where a strategy says nothing. Whatever
is counted in a phase begins with it: `batch.step`, `module.total_steps` and `module.epoch`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Literal

import pytorch_lightning as pl
from torch import Tensor

from semisup.batch import Batch, Needs
from semisup.learned_state import LearnedState
from semisup.phase import Loss, Outputs, Phase

__all__ = ["Loss", "LossStrategy", "Outputs", "Phase", "Strategy", "TermStrategy"]

# What strategies give that see labeled images weakly, unlabeled ones weakly and strongly (`LossStrategy.gives`).
WEAK_AND_STRONG = (
    "labeled",
    "weak",
    "strong",
    "labeled_features",
    "weak_features",
    "strong_features",
    "target",
    "mask",
)


def weak_and_strong(module: Any, batch: Batch) -> tuple[Outputs, Outputs]:
    """What a network says of both streams weakly and of the unlabeled one strongly, in one pass of all three views.

    Args:
        module: the classifier.
        batch: with unlabeled images.

    Returns:
        Logits (B, classes) and features (B, F) by the names of `WEAK_AND_STRONG` before `target`, and the same as other
        strategies refine them.
    """
    assert batch.unlabeled is not None
    views = (batch.labeled.views["weak"], batch.unlabeled.views["weak"], batch.unlabeled.views["strong"])
    logits, features = module.joint(*views)
    outputs = dict(zip(WEAK_AND_STRONG, (*logits, *features), strict=False))
    return outputs, module.refined(batch, outputs)


class Strategy(LearnedState, ABC):
    """What the unlabeled images teach. Every hook of a Lightning callback can be overridden.

    Attributes:
        needs: what the strategy asks of the data.
        presentation: `module:NAME` of its figures, panels and part of the report (semisup/presentation.py).
        retired: options that it had once, with blanks between them; runs that saved them are read all the same.
        refines: whether it refines targets (`refine`).
        sees_pixels: whether it does with views what only images let be done with them, such as turning them, so that
            features that were computed before can't stand in for them (`--model.adapt head`).
    """

    needs: Needs = Needs()
    presentation: ClassVar[str] = ""
    retired: ClassVar[str] = ""
    refines: ClassVar[bool] = False
    sees_pixels: ClassVar[bool] = False

    @property
    def state_key(self) -> str:
        """Names this strategy's state in the checkpoint."""
        return type(self).__qualname__

    def remap(self, module: Any, places: Tensor) -> None:
        """Called where a run goes on with other data than before, which it was allowed to (`--resume_data remap`).

        What a strategy keeps by row of the unlabeled pool must be moved to the rows of now. It has been restored, and
        the training has not begun.

        Args:
            module: the `Classifier`.
            places: (n,) int64, for each row of the unlabeled pool as it was, its row now; -1 where the image is gone.
        """

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Lightning's hook; begins a fit."""
        if stage == "fit":
            self.begin_fit(pl_module)

    def begin_fit(self, module: Any) -> None:
        """Called once when a fit is set up, when the images are known: the place to begin what is learned.

        What a resumed run had learned is restored after it.

        Args:
            module: the `Classifier`.
        """

    def phases(self, module: Any) -> list[Phase]:
        """The phases that it brings, in their order: before the training or, where it owns the loss, the training.

        Called when a fit is set up, once the images are known.

        Args:
            module: the `Classifier`.
        """
        return []

    def begin_phase(self, module: Any, phase: Phase) -> None:
        """Called before every phase, whoever brings it, and where a run is resumed in one: its optimiser comes next.

        The place to say what is trained in it (`requires_grad_`). What was learned may not have been restored yet.

        Args:
            module: the `Classifier`.
            phase: what begins.
        """

    def initialize(self, module: Any) -> None:
        """Puts in place what it begins the weights with; called where a phase restarts them.

        Args:
            module: the `Classifier`, whose weights have just been drawn anew.
        """

    def refine(self, module: Any, batch: Batch, outputs: Outputs) -> Outputs:
        """Changes what the owner of the loss makes targets from, and what it trains towards them: `fixmatch+debiaspl`.

        Called by an owner that is `refinable`, once in a step, before it makes targets.

        Args:
            module: the `Classifier`.
            batch: the step's data.
            outputs: `weak` and `strong` logits (B, classes) of the unlabeled images, and whatever else the owner has
                computed, as `LossStrategy.loss` says.

        Returns:
            The same, with other `weak` logits, which make the targets, or other `strong` ones.
        """
        return outputs

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
        gives: names of the outputs that `loss` hands over to the strategies that add a term.
        refinable: whether `loss` lets others refine its targets, by `module.refined(batch, outputs)`.
        steps_twice: whether a second step of the optimiser, by `second_loss`, follows that of `loss` on every batch.
    """

    ema_decay: float = 0.0
    targets_from: Literal["", "training", "evaluating"] = ""
    gives: ClassVar[tuple[str, ...]] = ()
    refinable: ClassVar[bool] = False
    steps_twice: ClassVar[bool] = False

    def phases(self, module: Any) -> list[Phase]:
        """The training alone."""
        return [Phase()]

    def second_loss(self, module: Any, batch: Batch, outputs: Outputs) -> Loss:
        """The loss of a second step on the same batch, by what the first one has made of the weights.

        An optimiser leaves alone what has no gradient, so that two networks (`Needs.networks`) take turns with one: the
        first loss must not reach those beside the one that trains. Both steps have the learning rate of the batch. A
        forecast of memory takes no step and does not call it.

        Args:
            module: the `Classifier`, after the first step; it is in the same mode and precision.
            batch: the step's data.
            outputs: what `loss` computed of it, by name, with gradient.

        Returns:
            The loss, and what to log beside it.
        """
        raise NotImplementedError

    @abstractmethod
    def loss(self, module: Any, batch: Batch) -> Loss:
        """The loss of one step, called from `Classifier.training_step`, so that precision, compilation and DDP wrap it.

        Args:
            module: the `Classifier`; `module(images)` gives logits (B, classes) float32 of images (B, C, H, W).
            batch: the step's data.

        Returns:
            The loss, a scalar with gradient, and what to log beside it: name -> scalar tensor on the device, with the
            same names on every rank, whose mean is logged. As a third part, where other strategies may add a term, what
            was computed: logits (B, classes) by the view's label (`labeled`, `weak`, `strong`), features (B, F) as
            `labeled_features`, `weak_features` and so on, `target` (B,) classes or (B, classes) probabilities of the
            unlabeled images, and `mask` (B,), which of them count or by what weight. Where there are the last two, how
            many count, how even their classes are and how right, is logged.
        """


class TermStrategy(Strategy, ABC):
    """A strategy that adds a term to the loss of whichever strategy owns it: `fixmatch+abc`.

    Attributes:
        reads: names of the owner's outputs that the term needs; refused before the first step where it gives none.
        evaluating_head: a module of `Needs.modules`, linear and from features to logits as the network's head, that
            evaluates and predicts in place of it; empty for none.
    """

    reads: ClassVar[tuple[str, ...]] = ()
    evaluating_head: ClassVar[str] = ""

    @abstractmethod
    def term(self, module: Any, batch: Batch, outputs: Outputs) -> Loss:
        """What to add to the loss, weighted already, and what to log beside it.

        Args:
            module: the `Classifier`.
            batch: the step's data.
            outputs: what the owner of the loss computed, by name (`LossStrategy.loss`), with gradient.
        """
