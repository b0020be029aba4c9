"""FreeMatch (Wang et al. 2023, arXiv 2205.07246): thresholds that follow the network's own confidence, and fairness.

    semisup fit --strategy freematch --data stl10 --data.labels_per_class 4

The global threshold is the running mean of the confidence on unlabeled images (equation 5); that of a class is scaled
by the running mean of its probability over that of the most probable class (equations 6 to 8). Fairness pushes the mean
strong prediction, both divided by their histograms, away from the running mean (equations 10 to 12). The loss is
CE(labeled) + weight * consistency (equation 9) + fairness * L_f (equation 13), over the global batch.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from semisup.batch import Batch, Needs
from semisup.classifier import Classifier
from semisup.losses import consistency, precise
from semisup.ranges import Decay, NonNegative, Ratio, check_ranges
from semisup.runtime.ranks import gather_with_gradient, mean
from semisup.strategy import WEAK_AND_STRONG, Loss, LossStrategy, weak_and_strong
from semisup.targets import probabilities, running


def fairness(marginal: Tensor, histogram: Tensor, strong: Tensor, counts: Tensor) -> Tensor:
    """-H(SumNorm(p / h), SumNorm(q / g)), a scalar in nats, at most 0 (equations 11 and 12).

    A class of an empty histogram has no share; without any image the term is 0.

    Args:
        marginal: (classes,) running mean p of the weak predictions.
        histogram: (classes,) running histogram h of the classes that they predict.
        strong: (classes,) sum of the strong predictions q of the images that count, with gradient.
        counts: (classes,) how often the strong views predict each class, of the same images.
    """
    one, other = (_normalised(a, b) for a, b in ((marginal, histogram), (strong, counts)))
    return (one * (other + 1e-12).log()).sum() * (counts.sum() > 0)


def _normalised(a: Tensor, b: Tensor) -> Tensor:
    scaled = torch.where(b > 0, a / b.clamp_min(1e-12), 0.0)
    return scaled / scaled.sum().clamp_min(1e-12)


class FreeMatch(LossStrategy):
    """Thresholds that follow the network's own confidence, and a fairness term (Wang et al. 2023).

    Args:
        ratio: unlabeled images for every labeled one in a batch (mu).
        decay: of the running means (lambda).
        weight: weight of the unlabeled images in the loss (w_u).
        fairness: weight of the fairness term (w_f); the paper has .01 for few labels, and .05 at the most.
        ema_decay: decay of the moving average that evaluates; 0 evaluates the weights that train.
    """

    gives = WEAK_AND_STRONG
    refinable = True

    def __init__(
        self,
        ratio: Ratio = 7,
        decay: Decay = 0.999,
        weight: NonNegative = 1.0,
        fairness: NonNegative = 0.001,
        ema_decay: Decay = 0.999,
    ) -> None:
        check_ranges("freematch", FreeMatch, locals())
        self.decay, self.weight, self.fairness = decay, weight, fairness
        self.ema_decay, self.targets_from = ema_decay, "training"
        self.needs = Needs(unlabeled_views=("weak", "strong"), unlabeled_ratio=ratio)
        self.confidence_, self.marginal_, self.histogram_ = torch.empty(()), torch.empty(0), torch.empty(0)

    def begin_fit(self, module: Classifier) -> None:
        """All running means begin uniform."""
        classes = len(module.spec.class_names)
        self.confidence_ = torch.tensor(1 / classes)
        self.marginal_, self.histogram_ = torch.full((2, classes), 1 / classes)

    def loss(self, module: Classifier, batch: Batch) -> Loss:
        """Cross-entropy of labeled images and of strong views over their class's threshold, and fairness."""
        outputs, refined = weak_and_strong(module, batch)
        p, classes = probabilities(refined["weak"]), outputs["labeled"].shape[1]
        confidence, target = p.max(1)
        self.confidence_ = running(self.confidence_, mean(confidence.mean()), self.decay)
        self.marginal_ = running(self.marginal_, mean(p.mean(0)), self.decay)
        self.histogram_ = running(self.histogram_, mean(F.one_hot(target, classes).to(p).mean(0)), self.decay)
        thresholds = self.confidence_ * self.marginal_ / self.marginal_.max()
        mask = confidence >= thresholds[target]

        q = precise(outputs["strong"]).softmax(1)
        chosen = torch.stack([q, F.one_hot(q.argmax(1), classes).to(q)]) * mask[:, None]  # (2, B, classes)
        sums = gather_with_gradient(chosen.sum(1)[None]).sum(0)  # over the global batch
        fair = fairness(self.marginal_, self.histogram_, sums[0], sums[1])
        supervised = module.labeled_loss(outputs["labeled"], batch.labeled.target)
        unsupervised = consistency(refined["strong"], target, mask)
        metrics = {"loss_labeled": supervised, "loss_unlabeled": unsupervised, "loss_fairness": fair}
        metrics["threshold"] = thresholds.mean()
        outputs |= {"target": target, "mask": mask}
        return supervised + self.weight * unsupervised + self.fairness * fair, metrics, outputs
