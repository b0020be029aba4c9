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

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch import Tensor

from semisup.batch import Batch
from semisup.classifier import Classifier
from semisup.losses import consistency, most_probable, precise
from semisup.ranges import NonNegative, Share, Temperature, check_ranges
from semisup.runtime.ranks import gather
from semisup.strategy import Loss, Outputs, TermStrategy
from semisup.targets import probabilities

_QUEUE, _INTERVAL = 256, 100  # features of a class; steps whose pseudo-labels are counted
_TEMPERATURE = 0.05  # of the cosines


def pushed(queue: Tensor, filled: Tensor, features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """A queue (classes, size, F) and how many each class has had (classes,), after features (B, F) of labels (B,).

    The oldest features of a class make room; of more than fit at once, the last ones stay.
    """
    classes, size, _ = queue.shape
    ones = F.one_hot(labels, classes)  # (B, classes)
    rank = (ones.cumsum(0) - ones).gather(1, labels[:, None])[:, 0]  # of its class in the batch
    counts = ones.sum(0)
    stays = rank >= counts[labels] - size
    place = (filled[labels] + rank) % size
    # One row too many takes what does not stay, so that no place is written to twice.
    rows = torch.where(stays, labels * size + place, classes * size)
    features = precise(features)
    flat = torch.cat([queue.flatten(0, 1).to(features.dtype), features.new_zeros(1, queue.shape[2])])
    return flat.index_copy(0, rows, features)[:-1].view_as(queue), filled + counts


def prototypes(queue: Tensor, filled: Tensor) -> Tensor:
    """The mean feature (classes, F) of every class of a queue; 0 where there is none yet."""
    return queue.sum(1) / filled.clamp(1, queue.shape[1])[:, None]


def semantic(features: Tensor, means: Tensor) -> Tensor:
    """Logits (B, classes) of features (B, F) by their cosines to prototypes (classes, F), of those that there are."""
    cosines = F.normalize(precise(features)) @ F.normalize(precise(means)).T
    return (cosines / _TEMPERATURE).masked_fill(~means.any(1), -1e4)


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

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """The queue begins empty, and no class is more frequent than another."""
        assert isinstance(pl_module, Classifier)
        if stage == "fit":
            classes, width = len(pl_module.spec.class_names), pl_module.network.head.in_features
            self.queue_, self.filled_ = torch.zeros(classes, _QUEUE, width), torch.zeros(classes, dtype=torch.int64)
            self.counts_, self.share_ = torch.zeros(classes), torch.full((classes,), 1 / classes)

    def refine(self, module: Classifier, batch: Batch, outputs: Outputs) -> Outputs:
        """Takes in the labeled features, blends the weak predictions and counts them."""
        labeled = batch.labeled
        known = precise(module.teacher.features(labeled.views["weak"]))
        self.queue_, self.filled_ = pushed(
            self.queue_, self.filled_, gather(known), gather(most_probable(labeled.target))
        )
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
