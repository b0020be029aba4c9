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

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semisup.batch import Batch, Needs
from semisup.classifier import Classifier
from semisup.losses import consistency, precise
from semisup.ranges import Decay, NonNegative, Range, Ratio, Share, check_ranges
from semisup.runtime.ranks import gather, mean
from semisup.strategy import WEAK_AND_STRONG, Loss, LossStrategy
from semisup.targets import align, probabilities

_WIDTH = 128  # of the embeddings
_MEANS = 32  # batches whose mean prediction is aligned


def similarities(z: Tensor, bank: Tensor, temperature: float) -> Tensor:
    """Logits (B, K) of the similarity of embeddings (B, d) to a bank (K, d) (equations 3 and 4); empty rows have none.

    Both are of length 1; a row of the bank that is 0 is empty.
    """
    return (z @ bank.T / temperature).masked_fill(~bank.any(1), -1e4)  # of which a softmax makes 0


def unfolded(q: Tensor, p: Tensor, labels: Tensor) -> Tensor:
    """Similarities (B, K) times the probability (B, classes) of each row's class (K,), normalised (equations 7, 8)."""
    scaled = q * p[:, labels]
    return scaled / scaled.sum(1, keepdim=True).clamp_min(1e-12)


def aggregated(q: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Similarities (B, K) summed over the rows of each class (K,): (B, classes) probabilities (equation 9)."""
    return q @ F.one_hot(labels, classes).to(q.dtype)


def remembered(bank: Tensor, z: Tensor, rows: Tensor, decay: float) -> Tensor:
    """The bank (K, d) after embeddings (B, d) of its rows (B,) came in: decay * old + (1 - decay) * new, of length 1.

    Equation 12. Of an image that is in the batch more than once the mean comes in, and an empty row takes all of it.
    """
    of_row = (rows == torch.arange(len(bank), device=rows.device)[:, None]).to(z.dtype)  # (K, B)
    new = F.normalize(decay * bank + (1 - decay) * (of_row @ z) / of_row.sum(1, keepdim=True).clamp_min(1))
    return torch.where(of_row.any(1, keepdim=True), new, bank.to(z.dtype))


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
        modules = {"projection": projection}
        self.needs = Needs(unlabeled_views=("weak", "strong"), unlabeled_ratio=ratio, modules=modules)
        self.bank_, self.labels_ = torch.empty(0, _WIDTH), torch.empty(0, dtype=torch.int64)
        self.means_: list[Tensor] = []  # of the predictions of the latest batches, (classes,) each

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """The bank begins empty, with a row for every labeled image."""
        assert isinstance(pl_module, Classifier)
        if stage == "fit":
            self.labels_ = pl_module.datamodule.pools.labeled.labels.clone()
            self.bank_ = torch.zeros(len(self.labels_), _WIDTH)

    def remap(self, module: Classifier, places: Tensor) -> None:
        """Of other labeled images than before, the bank begins anew; an epoch fills it."""
        self.setup(module.trainer, module, "fit")

    def loss(self, module: Classifier, batch: Batch) -> Loss:
        """Cross-entropy of labeled images, and of strong views with the weak views' classes and similarities."""
        labeled, unlabeled = batch.labeled, batch.unlabeled
        assert unlabeled is not None
        views = (labeled.views["weak"], unlabeled.views["weak"], unlabeled.views["strong"])
        (logits, weak, strong), features = module.joint(*views)
        z = [F.normalize(precise(module.extra["projection"](x))) for x in features]

        p, bank = probabilities(weak), self.bank_.to(z[0].dtype)
        self.means_ = [*self.means_, mean(p.mean(0))][-_MEANS:]
        p = align(p, torch.stack(self.means_).mean(0))
        begun, q = bank.any(), similarities(z[1].detach(), bank, self.temperature).softmax(1)
        smooth = self.alpha * p + (1 - self.alpha) * aggregated(q, self.labels_, p.shape[1])
        target = torch.where(begun, smooth, p)
        mask = target.max(1).values >= self.threshold
        self.bank_ = remembered(bank, gather(z[0]), gather(labeled.index), self.bank_decay)

        supervised, unsupervised = module.labeled_loss(logits, labeled.target), consistency(strong, target, mask)
        like = unfolded(q, p, self.labels_)
        instances = consistency(similarities(z[2], bank, self.temperature), like) * begun
        metrics = {"loss_labeled": supervised, "loss_unlabeled": unsupervised, "loss_instances": instances}
        outputs = dict(zip(self.gives, (logits, weak, strong, *features, target, mask), strict=True))
        return supervised + self.weight * unsupervised + self.instance_weight * instances, metrics, outputs


def projection(width: int, classes: int) -> nn.Module:
    """The projection head of embeddings: two layers, 128 wide in the end."""
    return nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, _WIDTH))
