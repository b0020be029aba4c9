"""DebiasPL (Wang et al. 2022, arXiv 2201.01490): pseudo-labels without what the network is biased to.

    semisup fit --strategy fixmatch+debiaspl --data cifar10 --data.labels_per_class 1500 --data.imbalance 100

The running mean p of the predictions on unlabeled images says which classes the network is biased to. Targets are made
from the logits of weak views - lambda * log(p), and strong views are trained towards them with their own + lambda *
log(p), a greater margin for the classes that are rarely predicted (adaptive marginal loss). It refines the targets of
whichever strategy owns the loss and lets others do so. As in the authors' code the mean takes in the step's predictions
after the targets are made and before the margin is. lambda is .4 in its commands for ImageNet and in the benchmark USB;
the mean there is a single number for all classes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from semisup.batch import Batch
from semisup.classifier import Classifier
from semisup.losses import precise
from semisup.ranges import Decay, NonNegative, check_ranges
from semisup.runtime.ranks import mean
from semisup.strategy import Outputs, Strategy
from semisup.targets import probabilities, running


def log(p: Tensor) -> Tensor:
    """The logarithm of probabilities, finite for a class that was never predicted."""
    return p.clamp_min(1e-30).log()


class DebiasPL(Strategy):
    """Pseudo-labels without what the network is biased to, whichever strategy makes them (Wang et al. 2022).

    Args:
        strength: of the debiasing (lambda).
        decay: of the running mean of the predictions.
    """

    refines = True

    def __init__(self, strength: NonNegative = 0.4, decay: Decay = 0.999) -> None:
        check_ranges("debiaspl", DebiasPL, locals())
        self.strength, self.decay = strength, decay
        self.marginal_ = torch.empty(0)

    def begin_fit(self, module: Classifier) -> None:
        """The running mean begins uniform."""
        classes = len(module.spec.class_names)
        self.marginal_ = torch.full((classes,), 1 / classes)

    def refine(self, module: Classifier, batch: Batch, outputs: Outputs) -> Outputs:
        """Takes the bias from the weak logits, and gives it to the strong ones as a margin."""
        before = log(self.marginal_)
        self.marginal_ = running(self.marginal_, mean(probabilities(outputs["weak"]).mean(0)), self.decay)
        weak = precise(outputs["weak"].detach()) - self.strength * before
        return {**outputs, "weak": weak, "strong": precise(outputs["strong"]) + self.strength * log(self.marginal_)}
