"""DASO (Oh, Kim & Kweon 2022, arXiv 2106.05682): pseudo-labels blended with those of class prototypes, by their class.

    semisup fit --strategy fixmatch+daso --data cifar10 --data.labels_per_class 1500 --data.imbalance 100

A queue keeps the latest 256 features of labeled images of each class, by the moving average of the network; their means
are the prototypes. Semantic pseudo-labels q are a softmax over the cosines of features to them. Predictions p become
(1 - v) p + v q, the more semantic the more frequent the predicted class is among pseudo-labels: v is its share of those
of the last 100 steps, to the power 1 / T, over that of the most frequent class. A term aligns the semantic label of a
strong view with that of the weak view, confident or not (semantic alignment). Both begin after 2 % of the training,
which is 5,000 of 250,000 steps. It refines the targets of whichever strategy owns the loss and lets others do so.

Settings are those of the authors' code, which has T .3 in place of 1.5 where the unlabeled images fall off in another
way than the labeled ones. A class of which no labeled image was seen yet has no prototype here, there one of zeros.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from semisup.batch import Batch
from semisup.classifier import Classifier
from semisup.embeddings import prototypes, pushed_by_class, similarities
from semisup.losses import consistency, most_probable, precise
from semisup.ranges import NonNegative, Share, Temperature, check_ranges
from semisup.runtime.ranks import gather
from semisup.strategy import Loss, Outputs, TermStrategy
from semisup.targets import probabilities

_QUEUE, _INTERVAL = 256, 100  # features of a class; steps whose pseudo-labels are counted
_TEMPERATURE = 0.05  # of the cosines


def semantic(features: Tensor, means: Tensor) -> Tensor:
    """Logits (B, classes) of features (B, F) by their cosines to prototypes (classes, F), of those that there are."""
    return similarities(F.normalize(precise(features)), F.normalize(precise(means)), _TEMPERATURE)


def blended(p: Tensor, q: Tensor, share: Tensor, temperature: float) -> Tensor:
    """(1 - v) p + v q of probabilities (B, classes), with v by the class that p predicts and its share (classes,)."""
    relative = share / share.max().clamp_min(1e-12)  # before the power, of which small shares would become 0
    v = (relative ** (1 / temperature))[p.argmax(1)][:, None]
    return (1 - v) * p + v * q


class DASO(TermStrategy):
    """Pseudo-labels blended with those of class prototypes, the more the more frequent their class (Oh et al. 2022).

    Args:
        temperature: of the pseudo-labels' shares (T); .3 where unlabeled images fall off in another way than labeled.
        weight: weight of the semantic alignment.
        warmup: share of the training before which it only watches.
    """

    reads = ("weak", "strong", "weak_features", "strong_features")
    refines = True

    def __init__(self, temperature: Temperature = 1.5, weight: NonNegative = 1.0, warmup: Share = 0.02) -> None:
        check_ranges("daso", DASO, locals())
        self.temperature, self.weight, self.warmup = temperature, weight, warmup
        self.queue_, self.filled_ = torch.empty(0, 0, 0), torch.empty(0, dtype=torch.int64)
        self.counts_, self.share_ = torch.empty(0), torch.empty(0)

    def begin_fit(self, module: Classifier) -> None:
        """The queue begins empty, and no class is more frequent than another."""
        classes, width = len(module.spec.class_names), module.network.head.in_features
        self.queue_, self.filled_ = torch.zeros(classes, _QUEUE, width), torch.zeros(classes, dtype=torch.int64)
        self.counts_, self.share_ = torch.zeros(classes), torch.full((classes,), 1 / classes)

    def refine(self, module: Classifier, batch: Batch, outputs: Outputs) -> Outputs:
        """Takes in the labeled features, blends the weak predictions and counts them."""
        labeled = batch.labeled
        known = precise(module.teacher.features(labeled.views["weak"]))
        labels = most_probable(labeled.target)
        self.queue_, self.filled_ = pushed_by_class(self.queue_, self.filled_, gather(known), gather(labels))
        p = probabilities(outputs["weak"])
        if self._begun(module, batch):
            near = semantic(outputs["weak_features"].detach(), prototypes(self.queue_, self.filled_)).softmax(1)
            p = blended(p, near, self.share_, self.temperature)
        self.counts_ = self.counts_ + F.one_hot(gather(p.argmax(1)), p.shape[1]).sum(0)
        if (batch.step + 1) % _INTERVAL == 0:
            self.share_, self.counts_ = self.counts_ / self.counts_.sum(), torch.zeros_like(self.counts_)
        return {**outputs, "weak": p.clamp_min(1e-30).log()}

    def term(self, module: Classifier, batch: Batch, outputs: Outputs) -> Loss:
        """Cross-entropy of the strong view's semantic label with the weak view's."""
        means = prototypes(self.queue_, self.filled_)
        weak, strong = (semantic(outputs[name], means) for name in ("weak_features", "strong_features"))
        aligned = consistency(strong, probabilities(weak)) * self._begun(module, batch)
        return self.weight * aligned, {"loss_alignment": aligned}

    def _begun(self, module: Classifier, batch: Batch) -> bool:
        return batch.step >= self.warmup * module.total_steps
