"""AdaMatch (Berthelot et al. 2022, arXiv 2106.04732): the threshold follows the confidence on labeled images.

    semisup fit --strategy adamatch --data stl10 --data.labels_per_class 4

Semi-supervised learning as the authors' code has it. Labeled images, weak and strong, go through the network alone and
beside the unlabeled ones, and their logits are drawn at random between the two (random logit interpolation); only the
pass of all moves batch normalisation's statistics. Weak predictions are aligned by the running means of those on
labeled and on unlabeled images (distribution alignment), and count over `threshold` times the mean confidence on weak
labeled images of the step (relative confidence threshold). The loss is CE(labeled) over both views + weight * mu(t) *
consistency, with mu(t) = 1/2 - cos(min(pi, 2 pi t / T)) / 2, which is 1 from half of the training on.

The mean on unlabeled images is a running one here, as in the field's benchmarks, with the decay of the other; in the
authors' code it is that of the last 128 batches. The benchmarks leave out the interpolation, the strong labeled view
and mu, and have a ratio of 7 and a threshold of .95. The paper's weight decay is .001.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from semisup.batch import Batch, Needs
from semisup.classifier import Classifier
from semisup.losses import consistency
from semisup.ranges import Decay, NonNegative, Ratio, Share, check_ranges
from semisup.runtime.ranks import mean
from semisup.strategy import WEAK_AND_STRONG, Loss, LossStrategy
from semisup.targets import align, probabilities, running


def between(one: Tensor, other: Tensor, share: Tensor) -> Tensor:
    """Logits (B, classes) between two, by a share (B, classes) of the first one of each number."""
    return other + (one - other) * share.to(one.dtype)


def warm_up(step: int, total: int) -> float:
    """mu(t), from 0 at step 0 to 1 at half of all steps, along a cosine."""
    return 0.5 - math.cos(min(math.pi, 2 * math.pi * step / total)) / 2


class AdaMatch(LossStrategy):
    """The threshold follows the confidence on labeled images, and so do the targets' classes (Berthelot et al. 2022).

    Args:
        ratio: unlabeled images for every labeled one in a batch.
        threshold: least confidence of a target, over the mean one of weak labeled images (tau).
        decay: of the running means.
        weight: weight of the unlabeled images in the loss, in the end.
        ema_decay: decay of the moving average that evaluates; 0 evaluates the weights that train.
    """

    gives = WEAK_AND_STRONG

    def __init__(
        self,
        ratio: Ratio = 3,
        threshold: Share = 0.9,
        decay: Decay = 0.999,
        weight: NonNegative = 1.0,
        ema_decay: Decay = 0.999,
    ) -> None:
        check_ranges("adamatch", AdaMatch, locals())
        self.threshold, self.decay, self.weight = threshold, decay, weight
        self.ema_decay, self.targets_from = ema_decay, "training"
        views = ("weak", "strong")
        self.needs = Needs(labeled_views=views, unlabeled_views=views, unlabeled_ratio=ratio)
        self.labeled_, self.unlabeled_ = torch.empty(0), torch.empty(0)

    def begin_fit(self, module: Classifier) -> None:
        """Both running means begin uniform."""
        classes = len(module.spec.class_names)
        self.labeled_, self.unlabeled_ = torch.full((2, classes), 1 / classes)

    def loss(self, module: Classifier, batch: Batch) -> Loss:
        """Cross-entropy of both labeled views, and of strong views over the threshold of the step."""
        labeled, unlabeled = batch.labeled, batch.unlabeled
        assert unlabeled is not None
        known = (labeled.views["weak"], labeled.views["strong"])
        with module.frozen_batchnorm():
            alone, _ = module.joint(*known)
        (*beside, weak, strong), features = module.joint(*known, unlabeled.views["weak"], unlabeled.views["strong"])
        draw, classes = module.draw(labeled, batch, "adamatch"), weak.shape[1]
        shares = [draw.uniform(name, classes) for name in ("weak", "strong")]
        both = [between(a, b, share) for a, b, share in zip(alone, beside, shares, strict=True)]

        sure, p = probabilities(both[0]), probabilities(weak)
        threshold = self.threshold * mean(sure.max(1).values.mean())
        self.labeled_ = running(self.labeled_, mean(sure.mean(0)), self.decay)
        self.unlabeled_ = running(self.unlabeled_, mean(p.mean(0)), self.decay)
        confidence, target = align(p, self.unlabeled_, self.labeled_).max(1)
        mask = confidence >= threshold
        supervised = (module.labeled_loss(both[0], labeled.target) + module.labeled_loss(both[1], labeled.target)) / 2
        unsupervised = consistency(strong, target, mask)
        metrics = {"loss_labeled": supervised, "loss_unlabeled": unsupervised, "threshold": threshold}
        given = (both[0], weak, strong, features[0], *features[2:], target, mask)
        weight = self.weight * warm_up(batch.step, module.total_steps)
        return supervised + weight * unsupervised, metrics, dict(zip(self.gives, given, strict=True))
