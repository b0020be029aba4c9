"""UDA (Xie et al. 2020, arXiv 1904.12848): a sharpened weak view is the soft target of a strong view.

    semisup fit --strategy uda --data cifar10 --data.labels_per_class 4

The loss is CE(labeled) + weight * the sum over confident images of KL(softmax(weak / T) || softmax(strong)), divided by
the number of all unlabeled ones (equation 1, with the techniques of section 3.2). The gradient is that of the
cross-entropy, which some versions of the paper and the benchmarks have instead. Training signal annealing leaves out
the labeled images that the network knows already: those whose class has more than a threshold that rises from
1 / classes to 1. Without it, which suits larger pools, all count.
"""

from __future__ import annotations

import math
from typing import Literal

import torch.nn.functional as F
from torch import Tensor

from semisup.batch import Batch, Needs
from semisup.classifier import Classifier
from semisup.losses import divergence, precise
from semisup.ranges import Decay, NonNegative, Ratio, Share, Temperature, check_ranges
from semisup.runtime.ranks import mean
from semisup.strategy import WEAK_AND_STRONG, Loss, LossStrategy, weak_and_strong
from semisup.targets import probabilities

Annealing = Literal["none", "linear", "log", "exp"]


def annealed(schedule: Annealing, done: float, classes: int) -> float:
    """The threshold of training signal annealing, from 1 / classes to 1, when a share `done` of the steps is taken.

    Section 3.2: alpha * (1 - 1 / classes) + 1 / classes, with alpha = t, 1 - exp(-5 t), which ends at .993, or
    exp(5 (t - 1)), which begins at .007. Without annealing it is 1 all the time.
    """
    alpha = {"none": 1.0, "linear": done, "log": 1 - math.exp(-5 * done), "exp": math.exp(5 * (done - 1))}[schedule]
    return alpha * (1 - 1 / classes) + 1 / classes


def annealed_cross_entropy(logits: Tensor, target: Tensor, threshold: float) -> tuple[Tensor, Tensor]:
    """Cross-entropy of each image (B,) that is not yet known, 0 of the others; and which of them count (B,) bool.

    Args:
        logits: (B, classes) float.
        target: (B,) int64 classes, or (B, classes) float probabilities.
        threshold: greatest probability of its class at which an image still counts; of a soft target, the exponential
            of minus its cross-entropy.
    """
    each = F.cross_entropy(precise(logits), target, reduction="none")  # (B,)
    counts = each.detach() >= -math.log(threshold) - 1e-7
    return each * counts, counts


class UDA(LossStrategy):
    """A sharpened weak view is the soft target of a strong view (Xie et al. 2020).

    Args:
        ratio: unlabeled images for every labeled one in a batch.
        threshold: least confidence of a target (beta).
        temperature: of the sharpening (tau).
        weight: weight of the unlabeled images in the loss (lambda).
        annealing: how the threshold of training signal annealing rises: none, linear, log or exp (with few labels);
            where it does, the labeled images' loss is cross-entropy, whatever --model.loss says.
        ema_decay: decay of the moving average that evaluates; 0 evaluates the weights that train.
    """

    gives = WEAK_AND_STRONG

    def __init__(
        self,
        ratio: Ratio = 7,
        threshold: Share = 0.8,
        temperature: Temperature = 0.4,
        weight: NonNegative = 1.0,
        annealing: Annealing = "none",
        ema_decay: Decay = 0.999,
    ) -> None:
        check_ranges("uda", UDA, locals())
        self.threshold, self.temperature, self.weight = threshold, temperature, weight
        self.annealing, self.ema_decay, self.targets_from = annealing, ema_decay, "training"
        self.needs = Needs(unlabeled_views=("weak", "strong"), unlabeled_ratio=ratio)

    def loss(self, module: Classifier, batch: Batch) -> Loss:
        """Cross-entropy of the labeled images, and divergence of strong views from sharpened confident weak ones."""
        outputs, _ = weak_and_strong(module, batch)
        logits, weak, strong = (outputs[view] for view in ("labeled", "weak", "strong"))
        mask = probabilities(weak).max(1).values >= self.threshold
        target = probabilities(weak, self.temperature)
        if self.annealing == "none":
            supervised = module.labeled_loss(logits, batch.labeled.target)
        else:
            limit = annealed(self.annealing, batch.step / module.total_steps, logits.shape[1])
            each, counts = annealed_cross_entropy(logits, batch.labeled.target, limit)
            supervised = each.mean() / mean(counts.float().mean()).clamp_min(1e-6)
        unsupervised = divergence(strong, target, mask)
        metrics = {"loss_labeled": supervised, "loss_unlabeled": unsupervised}
        outputs |= {"target": target, "mask": mask}
        return supervised + self.weight * unsupervised, metrics, outputs
