"""ABC (Lee, Shin & Kim 2021, arXiv 2110.10368): an auxiliary balanced classifier beside any strategy, which evaluates.

    semisup fit --strategy fixmatch+abc --data cifar10 --data.labels_per_class 1500 --data.imbalance 100

A second linear head on the same features learns from a labeled image with the probability N_L / N_y, that is, from as
many of every class as the rarest one has. What it predicts of a weak view with confidence is the soft target of the
strong view, with the probability 1 - t / T * (1 - N_L / N_q), q being the class that it predicts: of all classes alike
in the end. Gradient flows into the network. The authors' code has two strong views and adds up their losses; here there
is the owner's one. The benchmark USB has the predicted class as a hard target.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from semisup.batch import Batch, Needs
from semisup.classifier import Classifier
from semisup.losses import consistency, most_probable
from semisup.ranges import NonNegative, Share, check_ranges
from semisup.strategy import Loss, Outputs, TermStrategy
from semisup.targets import probabilities


def rarity(labels: Tensor, classes: int) -> Tensor:
    """N_L / N_k (classes,) of labels (N,) int64, with N_L the least N_k over 0; 1 for a class without a label."""
    counts = labels.bincount(minlength=classes)
    return (counts[labels].min() / counts.clamp_min(1)).clamp_max(1)


class AuxiliaryBalancedClassifier(TermStrategy):
    """An auxiliary balanced classifier beside any strategy, which evaluates in its place (Lee et al. 2021).

    Args:
        threshold: least confidence of a target of an unlabeled image (tau).
        weight: weight of its loss.
    """

    reads = ("labeled_features", "weak_features", "strong_features")
    evaluating_head: ClassVar[str] = "balanced_head"

    def __init__(self, threshold: Share = 0.95, weight: NonNegative = 1.0) -> None:
        check_ranges("abc", AuxiliaryBalancedClassifier, locals())
        self.threshold, self.weight = threshold, weight
        self.needs = Needs(modules={self.evaluating_head: nn.Linear})
        self.rarity_ = torch.empty(0)

    def begin_fit(self, module: Classifier) -> None:
        """Counts the labels."""
        self.rarity_ = rarity(module.datamodule.pools.labeled.labels, len(module.spec.class_names))

    def term(self, module: Classifier, batch: Batch, outputs: Outputs) -> Loss:
        """Cross-entropy of the labeled images and of the strong views that are drawn, by the balanced head."""
        labeled, unlabeled = batch.labeled, batch.unlabeled
        assert unlabeled is not None
        logits, weak, strong = (module.extra[self.evaluating_head](outputs[name]) for name in self.reads)
        kept = module.draw(labeled, batch, "abc")
        drawn = kept.uniform("labeled")[:, 0] < self.rarity_[most_probable(labeled.target)]
        target = probabilities(weak)
        confidence, predicted = target.max(1)
        share = 1 - min(1.0, batch.step / module.total_steps) * (1 - self.rarity_[predicted])
        chance = module.draw(unlabeled, batch, "abc").uniform("unlabeled")[:, 0]
        mask = (confidence >= self.threshold) & (chance < share)
        supervised, unsupervised = consistency(logits, labeled.target, drawn), consistency(strong, target, mask)
        metrics = {"loss_labeled": supervised, "loss_unlabeled": unsupervised, "utilisation": mask.float().mean()}
        return self.weight * (supervised + unsupervised), metrics
