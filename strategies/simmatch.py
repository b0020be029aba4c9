"""SimMatch (Zheng et al. 2022, arXiv 2203.06915): views agree on the class and on which labeled images they resemble.

    semisup fit --strategy simmatch --data cifar10 --data.labels_per_class 4

A memory bank keeps the embedding of every labeled image. The class probabilities of a weak view, aligned over the last
32 batches, and its similarities to the bank (equations 3 and 4) correct each other: similarities are scaled by the
probability of each labeled image's class (unfolding, equations 7 and 8), and probabilities are smoothed by the
similarities summed by class (aggregation, equations 9 and 10). A strong view learns both: the probabilities, which stay
soft, where they are confident (equation 2), the similarities everywhere (equation 5). Equation 6 adds them up.

The bank is that of the paper for small datasets, a running mean of each image's embeddings (equation 12), from the
network that trains; that for ImageNet, by a teacher, is left out. Rows that no batch has filled do not take part, where
the authors' code and the benchmarks begin with random ones and leave the bank out for an epoch.
"""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor, nn

from semisup.batch import Batch, Needs
from semisup.classifier import Classifier
from semisup.embeddings import aggregated, embedded, remembered, similarities, two_layer_head, unfolded
from semisup.losses import consistency
from semisup.ranges import Decay, NonNegative, Range, Ratio, Share, check_ranges
from semisup.runtime.ranks import gather
from semisup.strategy import WEAK_AND_STRONG, Loss, LossStrategy, weak_and_strong
from semisup.targets import align_to_latest, probabilities

_WIDTH = 128  # of the embeddings


class SimMatch(LossStrategy):
    """Views that agree on the class and on which labeled images they resemble (Zheng et al. 2022).

    Args:
        ratio: unlabeled images for every labeled one in a batch (mu).
        threshold: least confidence of a target (tau).
        temperature: of the similarities of embeddings (t).
        alpha: share of an image's own prediction in its pseudo-label.
        bank_decay: of the running mean of a labeled image's embeddings (m).
        weight: weight of the unlabeled images in the loss (lambda_u).
        instance_weight: weight of the similarities in the loss (lambda_in).
        ema_decay: decay of the moving average that evaluates; 0 evaluates the weights that train.
    """

    gives = WEAK_AND_STRONG

    def __init__(
        self,
        ratio: Ratio = 7,
        threshold: Share = 0.95,
        temperature: Annotated[float, Range(0.001)] = 0.1,
        alpha: Share = 0.9,
        bank_decay: Decay = 0.7,
        weight: NonNegative = 1.0,
        instance_weight: NonNegative = 1.0,
        ema_decay: Decay = 0.999,
    ) -> None:
        check_ranges("simmatch", SimMatch, locals())
        self.threshold, self.temperature, self.alpha, self.bank_decay = threshold, temperature, alpha, bank_decay
        self.weight, self.instance_weight = weight, instance_weight
        self.ema_decay, self.targets_from = ema_decay, "training"
        modules = {"projection": two_layer_head(_WIDTH, nn.ReLU())}
        self.needs = Needs(unlabeled_views=("weak", "strong"), unlabeled_ratio=ratio, modules=modules)
        self.bank_, self.labels_ = torch.empty(0, _WIDTH), torch.empty(0, dtype=torch.int64)
        self.means_: list[Tensor] = []  # of the predictions of the latest batches, (classes,) each

    def begin_fit(self, module: Classifier) -> None:
        """The bank begins empty, with a row for every labeled image."""
        self.labels_ = module.datamodule.pools.labeled.labels.clone()
        self.bank_ = torch.zeros(len(self.labels_), _WIDTH)

    def remap(self, module: Classifier, places: Tensor) -> None:
        """Of other labeled images than before, the bank begins anew; an epoch fills it."""
        self.begin_fit(module)

    def loss(self, module: Classifier, batch: Batch) -> Loss:
        """Cross-entropy of labeled images, and of strong views with the weak views' classes and similarities."""
        labeled, (outputs, _) = batch.labeled, weak_and_strong(module, batch)
        features = [outputs[f"{view}_features"] for view in ("labeled", "weak", "strong")]
        z, z_weak, z_strong = embedded(module.extra["projection"], features)

        p, self.means_ = align_to_latest(probabilities(outputs["weak"]), self.means_)
        bank = self.bank_.to(z.dtype)
        begun, q = bank.any(), similarities(z_weak.detach(), bank, self.temperature).softmax(1)
        smooth = self.alpha * p + (1 - self.alpha) * aggregated(q, self.labels_, p.shape[1])
        target = torch.where(begun, smooth, p)
        mask = target.max(1).values >= self.threshold
        self.bank_ = remembered(bank, gather(z), gather(labeled.index), self.bank_decay)

        supervised = module.labeled_loss(outputs["labeled"], labeled.target)
        unsupervised = consistency(outputs["strong"], target, mask)
        like = unfolded(q, p, self.labels_)
        instances = consistency(similarities(z_strong, bank, self.temperature), like) * begun
        metrics = {"loss_labeled": supervised, "loss_unlabeled": unsupervised, "loss_instances": instances}
        outputs |= {"target": target, "mask": mask}
        return supervised + self.weight * unsupervised + self.instance_weight * instances, metrics, outputs
