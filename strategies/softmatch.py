"""SoftMatch (Chen et al. 2023, arXiv 2301.10921): every pseudo-label counts, by a truncated Gaussian of its confidence.

    semisup fit --strategy softmatch --data stl10 --data.labels_per_class 4

The weight of an image is 1 where its confidence is over the running mean, and exp(-(c - mean)^2 / (2 variance)) below
it (equation 6); mean and variance are running ones over the global batch (equations 7 and 8). Uniform alignment
(equation 10) decides the weights alone, the targets are those before it. The authors' code narrows the Gaussian to half
of its deviation, n_sigma = 2, and so do the benchmarks; that is the default here.
"""

from __future__ import annotations

import torch
from torch import Tensor

from semisup.batch import Batch, Needs
from semisup.classifier import Classifier
from semisup.losses import consistency
from semisup.ranges import Decay, NonNegative, Ratio, check_ranges
from semisup.runtime.ranks import gather, mean
from semisup.strategy import WEAK_AND_STRONG, Loss, LossStrategy, weak_and_strong
from semisup.targets import align, probabilities, running


def truncated_gaussian(confidence: Tensor, mean: Tensor, variance: Tensor, n_sigma: float) -> Tensor:
    """The weight (B,) in [0, 1] of pseudo-labels by their confidence (B,) (equation 6), given () mean and variance.

    Where confidences do not vary at all, as of one class or in a batch of one, those below the mean have none.
    """
    below = (confidence - mean).clamp_max(0)
    return torch.exp(-(below**2) * n_sigma**2 / (2 * variance.clamp_min(1e-12)))


class SoftMatch(LossStrategy):
    """Every pseudo-label counts, by a truncated Gaussian of its confidence (Chen et al. 2023).

    Args:
        ratio: unlabeled images for every labeled one in a batch (mu).
        decay: of the running means (m).
        n_sigma: how many times the Gaussian is narrower than the confidence's deviation.
        uniform_alignment: align predictions to a uniform marginal before they are weighted.
        weight: weight of the unlabeled images in the loss.
        ema_decay: decay of the moving average that evaluates; 0 evaluates the weights that train.
    """

    gives = WEAK_AND_STRONG
    refinable = True

    def __init__(
        self,
        ratio: Ratio = 7,
        decay: Decay = 0.999,
        n_sigma: NonNegative = 2.0,
        uniform_alignment: bool = True,
        weight: NonNegative = 1.0,
        ema_decay: Decay = 0.999,
    ) -> None:
        check_ranges("softmatch", SoftMatch, locals())
        self.decay, self.n_sigma, self.uniform_alignment, self.weight = decay, n_sigma, uniform_alignment, weight
        self.ema_decay, self.targets_from = ema_decay, "training"
        self.needs = Needs(unlabeled_views=("weak", "strong"), unlabeled_ratio=ratio)
        self.mean_, self.variance_, self.marginal_ = torch.empty(()), torch.tensor(1.0), torch.empty(0)

    def begin_fit(self, module: Classifier) -> None:
        """The confidence begins at 1 / classes with a variance of 1, the marginal uniform."""
        classes = len(module.spec.class_names)
        self.mean_, self.variance_ = torch.tensor(1 / classes), torch.tensor(1.0)
        self.marginal_ = torch.full((classes,), 1 / classes)

    def loss(self, module: Classifier, batch: Batch) -> Loss:
        """Cross-entropy of labeled images and, weighted, of strong views against their weak ones."""
        outputs, refined = weak_and_strong(module, batch)
        p = probabilities(refined["weak"])
        target = p.argmax(1)
        self.marginal_ = running(self.marginal_, mean(p.mean(0)), self.decay)
        aligned = align(p, self.marginal_, 1 / p.shape[1]) if self.uniform_alignment else p
        confidence = aligned.max(1).values
        everyone = gather(confidence)
        self.mean_ = running(self.mean_, everyone.mean(), self.decay)
        self.variance_ = running(self.variance_, everyone.var(correction=int(len(everyone) > 1)), self.decay)
        weight = truncated_gaussian(confidence, self.mean_, self.variance_, self.n_sigma)
        supervised = module.labeled_loss(outputs["labeled"], batch.labeled.target)
        unsupervised = consistency(refined["strong"], target, weight)
        metrics = {"loss_labeled": supervised, "loss_unlabeled": unsupervised, "threshold": self.mean_}
        return supervised + self.weight * unsupervised, metrics, {**outputs, "target": target, "mask": weight}
