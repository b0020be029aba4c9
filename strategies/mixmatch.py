"""MixMatch (Berthelot et al. 2019, arXiv 1905.02249): sharpened guesses, and mixup of labeled and unlabeled images.

    semisup fit --strategy mixmatch --data cifar10 --data.labels_per_class 25

The guess for an unlabeled image is the mean prediction for its two weak views, sharpened (equations 6 and 7). All
images are mixed with a permutation of labeled and unlabeled ones together (equations 8 to 15); the loss is CE on the
mixed labeled images and a squared error of probabilities on the mixed unlabeled ones (equations 2 to 5), whose weight
is ramped up linearly. Guesses are made as in the authors' code in training mode, and without moving the running
statistics of batch normalisation: those follow the mixed images alone. All images go through the network in one batch,
which the authors' interleaving stands for. An image's share is drawn for itself, as there; TorchSSL and USB draw one
for the whole batch.
"""

from __future__ import annotations

import math
from typing import Annotated

import torch

from semisup.batch import Batch, Needs
from semisup.classifier import Classifier
from semisup.losses import linear_ramp, squared_error
from semisup.mixup import mixed_with_guesses
from semisup.ranges import Decay, NonNegative, Range, Share, check_ranges
from semisup.strategy import Loss, LossStrategy
from semisup.targets import probabilities, sharpen


class MixMatch(LossStrategy):
    """Sharpened guesses over two weak views, and mixup of labeled and unlabeled images (Berthelot et al. 2019).

    Args:
        temperature: of the sharpening (T).
        alpha: of the Beta distribution of the mixing shares.
        weight: final weight of the unlabeled images in the loss (lambda_U); the paper has 75 for CIFAR-10 and 50 for
            STL-10, the benchmarks of its successors 100.
        ramp: share of the training over which the weight rises linearly from 0.
        ema_decay: decay of the moving average that evaluates.
    """

    gives = ("target", "mask")

    def __init__(
        self,
        temperature: Annotated[float, Range(0.01, 1)] = 0.5,
        alpha: NonNegative = 0.75,
        weight: NonNegative = 100.0,
        ramp: Share = 0.4,
        ema_decay: Decay = 0.999,
    ) -> None:
        check_ranges("mixmatch", MixMatch, locals())
        self.temperature, self.alpha, self.weight, self.ramp = temperature, alpha, weight, ramp
        self.ema_decay, self.targets_from = ema_decay, "training"
        self.needs = Needs(unlabeled_views={"weak": "weak", "weak_2": "weak"}, unlabeled_ratio=1)

    def loss(self, module: Classifier, batch: Batch) -> Loss:
        """Cross-entropy of mixed labeled images, and squared error of mixed unlabeled ones."""
        labeled, unlabeled = batch.labeled, batch.unlabeled
        assert unlabeled is not None
        views = [labeled.views["weak"], unlabeled.views["weak"], unlabeled.views["weak_2"]]
        with module.frozen_batchnorm(), torch.no_grad():
            first, second = (probabilities(logits) for logits in module.joint(*views[1:])[0])
        guess = sharpen((first + second) / 2, self.temperature)
        known, others = mixed_with_guesses(module, batch, views, guess, self.alpha, "mixmatch")
        supervised, unsupervised = module.labeled_loss(*known), squared_error(*others)
        weight = self.weight * linear_ramp(batch.step, 0, math.ceil(self.ramp * module.total_steps))
        metrics = {"loss_labeled": supervised, "loss_unlabeled": unsupervised}
        return supervised + weight * unsupervised, metrics, {"target": guess, "mask": torch.ones_like(guess[:, 0])}
