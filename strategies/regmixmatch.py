"""RegMixMatch (Han et al. 2025, arXiv 2412.10741): FreeMatch, and every unlabeled image mixed by its confidence.

    semisup fit --strategy regmixmatch --data stl10 --data.labels_per_class 4 --regmixmatch.mix_threshold .99

FreeMatch's loss stays, on clean images. Beside it every strong view is trained on with a piece of another image in it
(ResizeMix, semisup/mixup.py). In one over `mix_threshold` the piece is of another such image, and the target has both
classes by their share of the pixels (semi-supervised RegMixup); the loss is cross-entropy, a mean over all images. In
one below it the piece is of a random image that is labeled or over the threshold, half of the time of the class that
this one is predicted as (class-aware mixup), and the target has its whole prediction; the loss is the squared error
times the cube of the confidence, a mean over the images below.

Terms and settings are those of the authors' code, which has .99 for STL-10 and for CIFAR-100. It draws one piece and
one of the two kinds of partner for a whole batch, here every image has its own; it weighs the mean error of the images
below by their mean weight; and with 100 labels a class or more it mixes labeled images with one another as well.
"""

from __future__ import annotations

import torch
from torch import Tensor

from semisup.batch import Batch
from semisup.classifier import Classifier
from semisup.losses import consistency, distribution, most_probable, squared_error
from semisup.mixup import mix, resize_mix
from semisup.ranges import Decay, NonNegative, Ratio, Share, check_ranges
from semisup.runtime.ranks import gather, mean
from semisup.strategy import Loss
from semisup.targets import probabilities
from strategies.freematch import FreeMatch

_SIDES = (0.1, 0.8)  # of a piece, the least and the greatest, over that of the image
_ALPHAS = (1.0, 16.0)  # of the distribution of its area, in images over the threshold and below it


def shuffled(chosen: Tensor, permutation: Tensor) -> Tensor:
    """For each chosen image (N,) bool another one, so that each is another's once; (N,) int64, any for the rest.

    Args:
        chosen: (N,) bool.
        permutation: (N,) int64, of all images.
    """
    order = torch.where(chosen, permutation, len(chosen)).argsort(stable=True)  # the chosen first, at random
    return order[(chosen.cumsum(0) - 1).clamp_min(0)]


class RegMixMatch(FreeMatch):
    """FreeMatch, and every unlabeled image mixed by its confidence (Han et al. 2025).

    Args:
        ratio: unlabeled images for every labeled one in a batch (mu).
        decay: of the running means.
        weight: weight of the unlabeled images in the loss.
        fairness: weight of the fairness term.
        mix_threshold: confidence from which an image is mixed with others like it (tau_m).
        ema_decay: decay of the moving average that evaluates; 0 evaluates the weights that train.
    """

    refinable = False  # its mixed images would not be
    sees_pixels = True

    def __init__(
        self,
        ratio: Ratio = 7,
        decay: Decay = 0.999,
        weight: NonNegative = 1.0,
        fairness: NonNegative = 0.01,
        mix_threshold: Share = 0.999,
        ema_decay: Decay = 0.999,
    ) -> None:
        check_ranges("regmixmatch", RegMixMatch, locals())
        super().__init__(ratio, decay, weight, fairness, ema_decay)
        self.mix_threshold = mix_threshold

    def loss(self, module: Classifier, batch: Batch) -> Loss:
        """FreeMatch's loss, cross-entropy of mixed confident images, and squared error of the other mixed ones."""
        total, metrics, outputs = super().loss(module, batch)  # type: ignore[misc]
        labeled, unlabeled = batch.labeled, batch.unlabeled
        assert unlabeled is not None
        p, classes = probabilities(outputs["weak"]), gather(most_probable(labeled.target))
        confidence, target = p.max(1)
        sure = confidence >= self.mix_threshold
        draw = module.draw(unlabeled, batch, "regmixmatch")

        images = torch.cat([gather(labeled.views["weak"]), gather(unlabeled.views["strong"])])
        known, count = torch.cat([torch.ones_like(classes, dtype=torch.bool), gather(sure)]), len(classes)
        classes = torch.cat([classes, gather(target)])
        alike = shuffled(known[count:], draw.permutation("alike"))[draw.position] + count
        suits = known & ((classes == target[:, None]) | (draw.uniform("aware") >= 0.5))  # (B, all images)
        other = torch.where(suits, draw.uniform("other", len(classes)), -1.0).argmax(1)
        partner = torch.where(sure, alike, other)

        above, below = (draw.beta(f"area/{alpha}", alpha) for alpha in _ALPHAS)
        area = torch.where(sure, above, below)
        side = torch.where(sure | suits.any(1), _SIDES[0] + area.sqrt() * (_SIDES[1] - _SIDES[0]), 0.0)
        mixed, share = resize_mix(unlabeled.views["strong"], images[partner], side, draw.uniform("centre", 2))
        own = torch.where(sure[:, None], distribution(target, p.shape[1]).to(p.dtype), p)
        given = (gather(distribution(labeled.target, p.shape[1])), distribution(classes[count:], p.shape[1]))
        goal = mix(own, torch.cat(given)[partner].to(p.dtype), share)
        logits = module(mixed)
        high, low = consistency(logits, goal, sure), squared_error(logits, goal, confidence**3 * ~sure)
        low = low / mean((~sure).float().mean()).clamp_min(1e-6)
        return total + high + low, {**metrics, "loss_mixed": high, "loss_class_aware": low}, outputs
