"""ReMixMatch (Berthelot et al. 2020, arXiv 1911.09785): MixMatch with aligned guesses that anchor strong views.

    semisup fit --strategy remixmatch --data cifar10 --data.labels_per_class 25

The guess of an unlabeled image is the prediction on its weak view, aligned to the labeled marginal by the mean of the
last 128 batches' predictions (section 3.1), then sharpened. It is the target of the weak view and of every strong one
(augmentation anchoring, section 3.2), mixed with one another and with strong labeled images as in MixMatch (algorithm
1). Two terms come without mixup: the first strong view alone, and by which quarter turn it was rotated (section 3.3).
All losses are cross-entropies; the weights of the two that hold guesses rise linearly over the first 1/64 of training.

Strong views are RandAugment's, as in the benchmarks; the authors have CTAugment, which learns its own. Their commands
have 8 strong views for CIFAR-10, 4 for STL-10, and with 4 labels a class 1, a rotation weight of 2 and a ramp of 1/8;
the benchmarks have 2 and weak labeled images. Their optimiser is Adam of .002 with weight decay .02. Unmixed images
leave the running statistics of batch normalisation alone, as there.
"""

from __future__ import annotations

import math
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import nn

from semisup.augment.geometry import quarter_turns
from semisup.batch import Batch, Needs
from semisup.classifier import Classifier
from semisup.losses import consistency, linear_ramp
from semisup.mixup import mixed_with_guesses
from semisup.ranges import Decay, NonNegative, Range, Share, check_ranges
from semisup.runtime.ranks import mean
from semisup.strategy import Loss, LossStrategy
from semisup.targets import align, probabilities, push, sharpen

_MEANS = 128  # batches whose mean prediction is aligned


class ReMixMatch(LossStrategy):
    """MixMatch with aligned guesses that anchor strong views, and a rotation task (Berthelot et al. 2020).

    Args:
        copies: strong views of every unlabeled image (K).
        temperature: of the sharpening (T).
        alpha: of the Beta distribution of the mixing shares.
        weight: final weight of the mixed unlabeled images in the loss (lambda_U).
        strong_weight: final weight of the first strong view without mixup (lambda_U1).
        rotation_weight: weight of the rotation task (lambda_r).
        ramp: share of the training over which the first two weights rise linearly from 0.
        ema_decay: decay of the moving average that evaluates.
    """

    gives = ("strong", "strong_features", "target", "mask")
    sees_pixels = True

    def __init__(
        self,
        copies: Annotated[int, Range(1, 100)] = 8,
        temperature: Annotated[float, Range(0.01, 1)] = 0.5,
        alpha: NonNegative = 0.75,
        weight: NonNegative = 1.5,
        strong_weight: NonNegative = 0.5,
        rotation_weight: NonNegative = 0.5,
        ramp: Share = 1 / 64,
        ema_decay: Decay = 0.999,
    ) -> None:
        check_ranges("remixmatch", ReMixMatch, locals())
        self.temperature, self.alpha, self.weight, self.ramp = temperature, alpha, weight, ramp
        self.strong_weight, self.rotation_weight = strong_weight, rotation_weight
        self.ema_decay, self.targets_from = ema_decay, "training"
        self.strong = ["strong", *(f"strong_{number}" for number in range(2, copies + 1))]
        views = {"weak": "weak", **dict.fromkeys(self.strong, "strong")}
        self.needs = Needs(("strong",), views, unlabeled_ratio=1, modules={"rotation": rotation})
        self.labeled_, self.means_ = torch.empty(0), torch.empty(0, 0)

    def begin_fit(self, module: Classifier) -> None:
        """Counts the labeled classes; the mean predictions begin uniform."""
        classes, labels = len(module.spec.class_names), module.datamodule.pools.labeled.labels
        self.labeled_ = F.one_hot(labels, classes).float().mean(0)
        self.means_ = torch.full((_MEANS, classes), 1 / classes)

    def loss(self, module: Classifier, batch: Batch) -> Loss:
        """Cross-entropy of mixed images, of a strong view with the guess, and of the quarter turns."""
        labeled, unlabeled = batch.labeled, batch.unlabeled
        assert unlabeled is not None
        strong = [unlabeled.views[name] for name in self.strong]
        draw = module.draw(unlabeled, batch, "remixmatch/rotation")
        turns = draw.permutation("turns")[draw.position] % 4  # each of a quarter of the global batch
        with module.frozen_batchnorm():
            with torch.no_grad():
                p = probabilities(module(unlabeled.views["weak"]))
            (alone, _), (features, turned) = module.joint(strong[0], quarter_turns(strong[0], turns))
        guess = sharpen(align(p, self.means_.mean(0), self.labeled_), self.temperature)
        self.means_ = push(self.means_, mean(p.mean(0))[None], _MEANS)

        views = [labeled.views["strong"], *strong, unlabeled.views["weak"]]
        known, others = mixed_with_guesses(module, batch, views, guess, self.alpha, "remixmatch")
        supervised, unsupervised = module.labeled_loss(*known), consistency(*others)
        anchored, rotated = consistency(alone, guess), consistency(module.extra["rotation"](turned), turns)
        metrics = {"loss_labeled": supervised, "loss_unlabeled": unsupervised}
        metrics |= {"loss_strong": anchored, "loss_rotation": rotated}
        share = linear_ramp(batch.step, 0, math.ceil(self.ramp * module.total_steps))
        total = supervised + share * (self.weight * unsupervised + self.strong_weight * anchored)
        outputs = {"strong": alone, "strong_features": features, "target": guess, "mask": torch.ones_like(guess[:, 0])}
        return total + self.rotation_weight * rotated, metrics, outputs


def rotation(width: int, classes: int) -> nn.Module:
    """The linear head that tells by which quarter turn an image was rotated."""
    return nn.Linear(width, 4)
