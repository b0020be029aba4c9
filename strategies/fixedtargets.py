"""Targets that every unlabeled image gets once, before the training, which is on them and on the labels."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import pytorch_lightning as pl
import torch
from torch import Tensor

from semisup.batch import Batch, Needs
from semisup.classifier import Classifier
from semisup.losses import cross_entropy
from semisup.ranges import NonNegative, Ratio, check_ranges
from semisup.runtime.console import say
from semisup.runtime.ranks import of_the_first
from semisup.strategy import Loss, LossStrategy


class FixedTargets(LossStrategy):
    """Targets for all unlabeled images, made once as the training begins and kept, and a training towards them.

    Args:
        ratio: unlabeled images for every labeled one in a batch.
        weight: of their loss.

    Attributes:
        name: of the strategy.
        views: of the unlabeled images.
    """

    name: ClassVar[str]
    views: ClassVar[tuple[str, ...]] = ("weak",)
    gives: ClassVar[tuple[str, ...]] = ("labeled", "weak", "target", "mask")

    def __init__(self, ratio: Ratio = 7, weight: NonNegative = 1.0) -> None:
        check_ranges(self.name, FixedTargets, locals())
        self.weight = weight
        self.needs = Needs(unlabeled_views=self.views, unlabeled_ratio=ratio, unlabeled="relabeled")
        self.targets_ = torch.empty(0)  # (N, classes) float32, of the images without a label

    @abstractmethod
    def make(self, module: Classifier) -> Tensor:
        """The targets; of several ranks those of the first are taken.

        Args:
            module: the classifier, whose training begins.

        Returns:
            Distributions (N, classes) float32 on the CPU, of the images of `Pools.without_label` in their order.
        """

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Makes the targets, or serves those that a resumed run had."""
        assert isinstance(pl_module, Classifier)
        pool = pl_module.datamodule.pools.without_label
        assert pool is not None  # else the data would have refused
        if not len(self.targets_):
            self.targets_ = of_the_first(self.make(pl_module), pl_module.device)
            line = f"{self.name}: targets for {len(pool):,} images, mean confidence {self.targets_.amax(1).mean():.2f}"
            if hidden := pl_module.datamodule.hidden_labels:
                line += f", {100 * hidden.precision(torch.arange(len(pool)), self.targets_)[0]:.1f} % right"
            say(line)
        pl_module.datamodule.relabeled.assign(torch.arange(len(pool)), self.targets_)

    def remap(self, module: Classifier, places: Tensor) -> None:
        """Targets of other data are made anew."""
        self.targets_ = torch.empty(0)

    def loss(self, module: Classifier, batch: Batch) -> Loss:
        """Cross-entropy of the labeled images, and of every view of the others towards their targets."""
        assert batch.unlabeled is not None
        views = (batch.unlabeled.views[name] for name in self.views)
        (labeled, *unlabeled), _ = module.joint(batch.labeled.views["weak"], *views)
        target, supervised = batch.unlabeled.target, module.labeled_loss(labeled, batch.labeled.target)
        towards = torch.stack([cross_entropy(logits, target) for logits in unlabeled]).sum()
        outputs = dict(zip(("labeled", *self.views), (labeled, *unlabeled), strict=True))
        outputs |= {"target": target, "mask": torch.ones_like(target[:, 0])}
        return supervised + self.weight * towards, {"loss_labeled": supervised, "loss_unlabeled": towards}, outputs
