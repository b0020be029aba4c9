"""SAW (Lai et al. 2022, ICML, proceedings.mlr.press/v162/lai22b.html): images weigh by how rare their class is.

    semisup fit --strategy fixmatch+saw --data cifar10 --data.labels_per_class 1500 --data.imbalance 100

The weight of a class of n images is (1 - beta) / (1 - beta^n), one over its effective number of images, scaled so that
the weights are 1 on average; beta is (N - 1) / N with N the mean of all n, which smooths the weights. Labeled images
weigh by how often their class is a label. Strong views weigh by how often the class of their pseudo-label is predicted
of the unlabeled images, counted anew at the end of every epoch from the last weak view of each of them; in the first
epoch they weigh alike.

The paper's text beyond its abstract was not at hand. Weights, both losses and their settings were held against the
authors' code (ZJUJeffLai/SAW_SSL at its `getClassWeights` and `SemiLoss`) and the benchmark USB on the same tensors,
and are theirs; of a soft target every class has its weight, as in the authors' code, where USB takes the most probable
one. The authors' command for CIFAR-10 fixes beta at .99 (`beta`); those for STL-10 and USB have (N - 1) / N, as here.
There an unlabeled image that was not seen yet counts as one of the first class; here it does not count, as in USB,
which predicts all unlabeled images anew after every epoch. A class that is never predicted counts as one image, as in
both, here and in USB in N too.
"""

from __future__ import annotations

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch import Tensor

from semisup.batch import Batch
from semisup.classifier import Classifier
from semisup.errors import require
from semisup.losses import precise
from semisup.ranges import Decay, check_ranges
from semisup.runtime.console import say
from semisup.runtime.ranks import gather
from semisup.strategy import Loss, Outputs, TermStrategy
from semisup.targets import moved, updated


def effective_weights(counts: Tensor, beta: float = 0.0) -> Tensor:
    """Weights (classes,) float32 of classes with so many images (classes,), 1 on average; beta 0 is (N - 1) / N."""
    n = counts.double().clamp_min(1)
    base = beta or 1 - 1 / n.mean()
    weights = 1 / (1 - base**n)
    return (weights / weights.mean()).float()


class SmoothedAdaptiveWeighting(TermStrategy):
    """Images weigh by how rare their class or pseudo-label is, smoothed by effective numbers (Lai et al. 2022).

    Args:
        beta: of the effective numbers; 0 for (N - 1) / N, with N the images of a class on average.
    """

    reads = ("labeled", "weak", "strong", "target", "mask")
    refines = True  # what it weighs is the loss of owners that let others have a say in it, of a form that it knows

    def __init__(self, beta: Decay = 0.0) -> None:
        check_ranges("saw", SmoothedAdaptiveWeighting, locals())
        self.beta = beta
        self.labeled_, self.unlabeled_ = torch.empty(0), torch.empty(0)
        self.status_ = torch.empty(0, dtype=torch.int64)

    def begin_fit(self, module: Classifier) -> None:
        """Counts the labels; of the unlabeled images nothing is predicted yet."""
        loss, pools, classes = module.options.loss, module.datamodule.pools, len(module.spec.class_names)
        require(loss == "nll", f"saw weighs cross-entropy, and model.loss is {loss}; type --model.loss nll")
        self.labeled_ = effective_weights(pools.labeled.labels.bincount(minlength=classes), self.beta)
        self.unlabeled_ = torch.ones(classes)
        self.status_ = torch.full((len(pools.unlabeled or ()),), -1)

    def remap(self, module: Classifier, places: Tensor) -> None:
        """Keeps the predictions of the images that are still there."""
        pool, then = module.datamodule.pools.unlabeled, len(self.status_)
        self.status_, there = moved(self.status_, places, len(pool) if pool else 0)
        say(f"saw: goes on with the predictions of {there:,} of {then:,} images, which are still there")

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Weighs the classes by what is predicted now."""
        counts = (self.status_ + 1).bincount(minlength=len(self.unlabeled_) + 1)[1:]
        self.unlabeled_ = effective_weights(counts, self.beta)

    def term(self, module: Classifier, batch: Batch, outputs: Outputs) -> Loss:
        """What the weights add to the owner's loss, in which every image weighs 1."""
        unlabeled, owner, offset = batch.unlabeled, module.strategy.owner, module.labeled_offset
        assert unlabeled is not None
        predicted = gather(outputs["weak"].detach().argmax(1))
        seen = torch.ones_like(predicted, dtype=torch.bool)
        self.status_ = updated(self.status_, gather(unlabeled.index), predicted, seen)
        logits, labels = precise(outputs["labeled"]), batch.labeled.target
        logits = logits if offset is None else logits + offset
        strong, target, mask = precise(outputs["strong"]), outputs["target"], outputs["mask"]
        plain, weighed = (
            (
                F.cross_entropy(logits, labels, ours, reduction="none").mean(),
                (F.cross_entropy(strong, target, theirs, reduction="none") * mask).mean(),
            )
            for ours, theirs in ((None, None), (self.labeled_.to(logits), self.unlabeled_.to(strong)))
        )
        metrics = {"loss_labeled": weighed[0], "loss_unlabeled": weighed[1]}
        weight: float = getattr(owner, "weight", 1.0)
        return weighed[0] - plain[0] + weight * (weighed[1] - plain[1]), metrics
