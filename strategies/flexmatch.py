"""FlexMatch (Zhang et al. 2021, arXiv 2110.08263): FixMatch with a threshold for every class, by what is learned of it.

    semisup fit --strategy flexmatch --data stl10 --data.labels_per_class 4

The learning status of a class is how many unlabeled images were last predicted as it with more than the fixed threshold
(equation 5); its own threshold is the fixed one times x / (2 - x), with x its status over that of the class learned
best or, while more images than that are unused, over their number (equations 6, 10 and 11). The status of every image
is kept over all ranks and in the checkpoint; in TorchSSL and USB each rank has its own, which a resumed run forgets.
"""

from __future__ import annotations

import torch
from torch import Tensor

from semisup.batch import Batch, Needs, Samples
from semisup.classifier import Classifier
from semisup.losses import consistency
from semisup.ranges import Decay, NonNegative, Ratio, Share, check_ranges
from semisup.runtime.console import say
from semisup.runtime.ranks import gather
from semisup.strategy import WEAK_AND_STRONG, Loss, LossStrategy, weak_and_strong
from semisup.targets import flexible_thresholds, moved, probabilities, updated


class FlexMatch(LossStrategy):
    """FixMatch with a threshold for every class, by how much of it is learned (Zhang et al. 2021).

    Args:
        ratio: unlabeled images for every labeled one in a batch (mu).
        threshold: of a class that is learned completely (tau).
        weight: weight of the unlabeled images in the loss (lambda).
        ema_decay: decay of the moving average that evaluates; 0 evaluates the weights that train.
    """

    gives = WEAK_AND_STRONG
    refinable = True

    def __init__(
        self, ratio: Ratio = 7, threshold: Share = 0.95, weight: NonNegative = 1.0, ema_decay: Decay = 0.999
    ) -> None:
        check_ranges("flexmatch", FlexMatch, locals())
        self.threshold, self.weight, self.ema_decay, self.targets_from = threshold, weight, ema_decay, "training"
        self.needs = Needs(unlabeled_views=("weak", "strong"), unlabeled_ratio=ratio)
        self.status_ = torch.empty(0, dtype=torch.int64)

    def begin_fit(self, module: Classifier) -> None:
        """Every image of the pool begins unused."""
        self.status_ = torch.full((len(module.datamodule.pools.unlabeled or ()),), -1)

    def remap(self, module: Classifier, places: Tensor) -> None:
        """Keeps the status of the images that are still served; the others are unused."""
        pool, then = module.datamodule.pools.unlabeled, len(self.status_)
        self.status_, there = moved(self.status_, places, len(pool) if pool else 0)
        name = type(self).__name__.lower()  # of what is made of it as well
        say(f"{name}: goes on with the status of {there:,} of {then:,} images, which are still there")

    def pseudo_labels(self, weak: Tensor, unlabeled: Samples) -> tuple[Tensor, Tensor, Tensor]:
        """What is made of weak views' logits (B, classes), by the images' status, which follows them.

        Returns:
            The most probable classes (B,), which of them pass their class's threshold, (B,) bool, and the thresholds
            (classes,).
        """
        confidence, target = probabilities(weak).max(1)
        thresholds = flexible_thresholds(self.status_, weak.shape[1], self.threshold)
        sure = gather(confidence >= self.threshold)
        self.status_ = updated(self.status_, gather(unlabeled.index), gather(target), sure)
        return target, confidence >= thresholds[target], thresholds

    def loss(self, module: Classifier, batch: Batch) -> Loss:
        """Cross-entropy of the labeled images, and of strong views whose weak ones pass their class's threshold."""
        assert batch.unlabeled is not None
        outputs, refined = weak_and_strong(module, batch)
        target, mask, thresholds = self.pseudo_labels(refined["weak"], batch.unlabeled)
        supervised = module.labeled_loss(outputs["labeled"], batch.labeled.target)
        unsupervised = consistency(refined["strong"], target, mask)
        metrics = {"loss_labeled": supervised, "loss_unlabeled": unsupervised, "threshold": thresholds.mean()}
        return supervised + self.weight * unsupervised, metrics, {**outputs, "target": target, "mask": mask}
