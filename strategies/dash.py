"""Dash (Xu et al. 2021, arXiv 2109.00650): unlabeled images count whose loss is below a threshold that falls.

    semisup fit --strategy dash --data cifar10 --data.labels_per_class 25

After a warm-up on the labeled images alone, whose loss is then rho_hat, an unlabeled image counts where the loss of its
weak view at the class that it predicts, -log of the confidence, is at most rho_t = C gamma^-(t-1) rho_hat, which never
falls below rho_min. Until it has come down to that, a strong view's target is softmax(weak / T), then the class.

Read here as follows. rho_hat is the mean loss of the labeled training images, weak views as they are trained on, over
the last pass of the warm-up; no held-out image is looked at. t counts intervals of 9 in 1,024 epochs, as the authors'
commands have it, and the warm-up is 2,048 of 2^20 steps; both are shares of the training, however long. The loss is a
mean over all unlabeled images. The authors' code takes rho_hat from unlabeled images, after 10 of 1,024 epochs in which
all of them count, and divides the loss by how many count, times .9. The benchmarks take rho_hat from the evaluation
set, which is the test set, let rho fall every 10 epochs, and compare it with the loss at the soft target.
"""

from __future__ import annotations

import math
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor

from semisup.batch import Batch, Needs
from semisup.classifier import Classifier
from semisup.losses import consistency, cross_entropy
from semisup.ranges import Decay, NonNegative, Range, Ratio, Share, Temperature, check_ranges
from semisup.runtime.ranks import mean
from semisup.strategy import WEAK_AND_STRONG, Loss, LossStrategy, weak_and_strong
from semisup.targets import probabilities

_C = 1.0001


def threshold(rho_hat: Tensor, t: int, gamma: float, rho_min: float) -> Tensor:
    """rho_t = max(rho_min, C gamma^-(t-1) rho_hat), () in nats, with t = 1 after the warm-up."""
    return (_C * gamma ** -(t - 1) * rho_hat).clamp_min(rho_min)


class Dash(LossStrategy):
    """Unlabeled images count whose loss is below a threshold that falls (Xu et al. 2021).

    Args:
        ratio: unlabeled images for every labeled one in a batch (mu).
        gamma: by what the threshold is divided at the end of every interval.
        rho_min: least threshold, in nats; .05 is a confidence of .951.
        interval: share of the training for which the threshold stays.
        warmup: share of the training on labeled images alone, one step at the least.
        temperature: of the soft targets (T).
        weight: weight of the unlabeled images in the loss.
        ema_decay: decay of the moving average that evaluates; 0 evaluates the weights that train.
    """

    gives = WEAK_AND_STRONG

    def __init__(
        self,
        ratio: Ratio = 7,
        gamma: Annotated[float, Range(1, 1000)] = 1.27,
        rho_min: NonNegative = 0.05,
        interval: Share = 9 / 1024,
        warmup: Share = 2048 / 2**20,
        temperature: Temperature = 0.5,
        weight: NonNegative = 1.0,
        ema_decay: Decay = 0.999,
    ) -> None:
        check_ranges("dash", Dash, locals())
        self.gamma, self.rho_min, self.interval, self.warmup = gamma, rho_min, interval, warmup
        self.temperature, self.weight = temperature, weight
        self.ema_decay, self.targets_from = ema_decay, "training"
        self.needs = Needs(unlabeled_views=("weak", "strong"), unlabeled_ratio=ratio)
        self.rho_hat_ = torch.tensor(0.0)

    def loss(self, module: Classifier, batch: Batch) -> Loss:
        """Cross-entropy of labeled images, and of strong views whose weak ones have a loss below the threshold."""
        outputs, _ = weak_and_strong(module, batch)
        logits, weak, strong = (outputs[view] for view in ("labeled", "weak", "strong"))
        p = probabilities(weak)
        warm, interval = (max(1, math.ceil(share * module.total_steps)) for share in (self.warmup, self.interval))
        if batch.step < warm:
            last = min(warm, -(-len(module.datamodule.pools.labeled) // module.datamodule.batch_size))
            if batch.step >= warm - last:
                self.rho_hat_ = self.rho_hat_ + mean(cross_entropy(logits, batch.labeled.target)) / last
            rho, target, mask = torch.zeros_like(self.rho_hat_), p, torch.zeros_like(p[:, 0], dtype=torch.bool)
        else:
            rho = threshold(self.rho_hat_, 1 + (batch.step - warm) // interval, self.gamma, self.rho_min)
            hard = F.one_hot(p.argmax(1), p.shape[1]).to(p.dtype)
            target = torch.where(rho > self.rho_min, probabilities(weak, self.temperature), hard)
            mask = -p.max(1).values.log() <= rho
        supervised, unsupervised = module.labeled_loss(logits, batch.labeled.target), consistency(strong, target, mask)
        metrics = {"loss_labeled": supervised, "loss_unlabeled": unsupervised, "threshold": rho}
        outputs |= {"target": target, "mask": mask}
        return supervised + self.weight * unsupervised, metrics, outputs
