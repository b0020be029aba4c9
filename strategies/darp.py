"""DARP (Kim et al. 2020, arXiv 2007.08844): pseudo-labels refined until each class is as frequent as it should be.

    semisup fit --strategy fixmatch+darp --data cifar10 --data.labels_per_class 1500 --data.imbalance 100

The latest prediction y_m of every unlabeled image is kept. Of every class k only the delta M_k greatest of them stay,
scaled to sum up to M_k, the images that there should be of it; this removes small and noisy entries. Of these the
refined pseudo-labels X minimise the sum of w_m KL(X_m || y_m), with w_m one over the entropy of y_m, among those whose
rows sum up to 1 and whose columns sum up to M_k. They are X_m = softmax(log y_m - nu H(y_m)), with a multiplier nu_k of
each class, which is found one class after the other by Newton's method, in rounds between which the rows are normalised
again. From 40 % of the training on they are the targets of whichever strategy owns the loss and lets others refine it,
found anew every ten steps.

The paper's text beyond its abstract was not at hand; that it begins at 40 % of the training, refines every ten steps
and has a delta of 2 is as the authors of DASO describe it (arXiv 2106.05682, appendix C.3). What removes noise, what
refines and the other settings were held against the authors' code (bbuing9/DARP), which USB's follows, on the same
tensors: they agree to 1e-4, by which their secant method, that stops at .1, is off. Newton's method is on the logarithm
of the sums here, where it converges from everywhere. M_k are the labels' shares, or `shares` where the unlabeled images
fall off in another way, for which the authors estimate them from a confusion matrix on labels that are held out. For
CIFAR-100 and STL-10 their commands have 20 rounds, every 100 steps.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from semisup.batch import Batch
from semisup.classifier import Classifier
from semisup.errors import check_per_class
from semisup.ranges import Count, NonNegative, Share, check_ranges
from semisup.runtime.console import say
from semisup.runtime.ranks import gather
from semisup.strategy import Outputs, Strategy
from semisup.targets import aligned_to_counts, moved, probabilities, without_noise, written


class DARP(Strategy):
    """Pseudo-labels refined until each class is as frequent as it should be, for any strategy (Kim et al. 2020).

    Args:
        delta: of each class, the greatest predictions that are kept, as a multiple of its images; the authors' alpha.
        rounds: of the alternation that refines (T).
        interval: steps between two refinements.
        warmup: share of the training before which it only watches.
        shares: of the classes among the unlabeled images, in the order of their labels, in any unit; by default those
            of the labeled ones.
    """

    refines = True

    def __init__(
        self,
        delta: NonNegative = 2.0,
        rounds: Count = 10,
        interval: Count = 10,
        warmup: Share = 0.4,
        shares: list[float] | None = None,
    ) -> None:
        check_ranges("darp", DARP, locals())
        self.delta, self.rounds, self.interval, self.warmup, self.shares = delta, rounds, interval, warmup, shares
        self.counts_, self.predicted_, self.refined_ = torch.empty(0), torch.empty(0, 0), torch.empty(0, 0)

    def begin_fit(self, module: Classifier) -> None:
        """Every prediction begins uniform."""
        classes, pools = len(module.spec.class_names), module.datamodule.pools
        shares = pools.labeled.labels.bincount(minlength=classes).tolist() if self.shares is None else self.shares
        check_per_class("darp.shares", shares, classes)
        count = len(pools.unlabeled or ())
        self.counts_ = torch.tensor(shares).float() / sum(shares) * count
        self.predicted_ = self.refined_ = torch.full((count, classes), 1 / classes)

    def remap(self, module: Classifier, places: Tensor) -> None:
        """Keeps the predictions of the images that are still there; the others begin uniform."""
        predicted, refined = self.predicted_, self.refined_
        self.begin_fit(module)
        count, classes = self.predicted_.shape
        self.predicted_, there = moved(predicted, places, count, 1 / classes)
        self.refined_, _ = moved(refined, places, count, 1 / classes)
        say(f"darp: goes on with the predictions of {there:,} of {len(predicted):,} images")

    def refine(self, module: Classifier, batch: Batch, outputs: Outputs) -> Outputs:
        """Takes in the weak predictions and, once it has begun, puts the refined ones in their place."""
        assert batch.unlabeled is not None
        p = gather(probabilities(outputs["weak"])).to(self.predicted_)
        self.predicted_ = written(self.predicted_, gather(batch.unlabeled.index), p)
        since = batch.step - math.ceil(self.warmup * module.total_steps)
        if since < 0:
            return outputs
        if since % self.interval == 0:
            kept = without_noise(self.predicted_, self.counts_, self.delta)
            self.refined_ = aligned_to_counts(kept, self.counts_, self.rounds)
        return {**outputs, "weak": self.refined_[batch.unlabeled.index].log()}
