"""Pi model (Laine & Aila 2017, arXiv 1610.02242): two random passes over an image must agree.

    semisup fit --strategy pimodel --data cifar10 --data.labels_per_class 25

The loss is CE(labeled) + w(t) times the mean squared distance of the probabilities for two weak views of an image
(algorithm 1), with gradient through both. w(t) rises as exp(-5 (1 - t)^2). The paper ramps over 80 of 300 epochs; the
share of .4 and the final weight of 10 are those of the field's benchmarks, which make the second pass a target without
gradient.
"""

from __future__ import annotations

import math

from torch import Tensor

from semisup.batch import Batch, Needs
from semisup.classifier import Classifier
from semisup.losses import gaussian_ramp, precise
from semisup.ranges import Decay, NonNegative, Ratio, Share, check_ranges
from semisup.strategy import Loss, LossStrategy


def disagreement(one: Tensor, other: Tensor) -> Tensor:
    """Mean over images and classes of the squared distance of two softmaxes of logits (B, classes), a scalar."""
    return (precise(one).softmax(1) - precise(other).softmax(1)).square().mean()


class PiModel(LossStrategy):
    """Two random passes over an unlabeled image must agree (Laine & Aila 2017).

    Args:
        ratio: unlabeled images for every labeled one in a batch.
        weight: final weight of the disagreement in the loss.
        ramp: share of the training over which the weight rises from 0.
        ema_decay: decay of the moving average that evaluates; 0 evaluates the weights that train.
    """

    def __init__(
        self, ratio: Ratio = 1, weight: NonNegative = 10.0, ramp: Share = 0.4, ema_decay: Decay = 0.999
    ) -> None:
        check_ranges("pimodel", PiModel, locals())
        self.weight, self.ramp, self.ema_decay = weight, ramp, ema_decay
        self.needs = Needs(unlabeled_views={"weak": "weak", "weak_2": "weak"}, unlabeled_ratio=ratio)

    def loss(self, module: Classifier, batch: Batch) -> Loss:
        """Cross-entropy of the labeled images, and disagreement over the unlabeled ones."""
        labeled, unlabeled = batch.labeled, batch.unlabeled
        assert unlabeled is not None
        views = (labeled.views["weak"], unlabeled.views["weak"], unlabeled.views["weak_2"])
        (logits, one, other), _ = module.joint(*views)
        supervised, unsupervised = module.labeled_loss(logits, labeled.target), disagreement(one, other)
        weight = self.weight * gaussian_ramp(batch.step, math.ceil(self.ramp * module.total_steps))
        return supervised + weight * unsupervised, {"loss_labeled": supervised, "loss_unlabeled": unsupervised}
