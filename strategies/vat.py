"""Virtual adversarial training (Miyato et al. 2018, arXiv 1704.03976): the worst small change must not matter.

    semisup fit --strategy vat --data cifar10 --data.labels_per_class 400

The loss is CE(labeled) + weight * KL(p(x) || p(x + r)) + entropy * H(p(x)), with r of length eps in the direction in
which the divergence grows the fastest (equations 5 and 8, and section 4.2 for the entropy). That direction is one step
of power iteration from a random one, by a finite difference of length xi (equation 12). As in the authors' code, only
the labeled images move batch normalisation's statistics, dropout is the same in all passes over the unlabeled ones, and
the clean prediction is a constant.

Lengths are those of images of 32x32 pixels in three channels and of unit variance; they grow with the root of the
number of pixels. The paper has eps 10 for CIFAR-10, and 8 beside augmentation; 6 is that of Oliver et al. (2018, arXiv
1804.09170) and of the benchmarks since, which weight the terms .3 and .06. The paper's xi is 1e-6. Added to pixels in
float32, most of that is lost in rounding, and little is left of the direction; it is .01 here, and the passes that look
for the direction are not in half precision.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated

import torch
from torch import Tensor

from semisup.batch import Batch, Needs
from semisup.classifier import Classifier
from semisup.losses import divergence, precise
from semisup.randomness import seed_layers
from semisup.ranges import Decay, NonNegative, Range, Ratio, check_ranges
from semisup.strategy import Loss, LossStrategy
from semisup.targets import probabilities

_DEVIATION = 0.25  # of the pixels of photographs, in [0, 1]
_VALUES = 3 * 32 * 32  # of an image that the lengths are given for


def unit(d: Tensor) -> Tensor:
    """Rows (B, ...) at length 1, however small they are; zeros stay zeros."""
    flat = precise(d).flatten(1)
    flat = flat / flat.abs().amax(1, keepdim=True).clamp_min(torch.finfo(flat.dtype).tiny)  # else squares underflow
    return (flat / flat.norm(dim=1, keepdim=True).clamp_min(1.0)).view(d.shape)  # one of them is 1, or all are 0


def adversarial_direction(look: Callable[[Tensor], Tensor], images: Tensor, start: Tensor, length: float) -> Tensor:
    """The direction in which an image's prediction changes the fastest, (B, ...) at length 1 (equation 12).

    Args:
        look: images to logits (B, classes).
        images: (B, ...) float.
        start: (B, ...) a random direction.
        length: of the finite difference.
    """
    with torch.no_grad():
        clean = probabilities(look(images))
    r = (length * unit(start)).requires_grad_()
    return unit(torch.autograd.grad(divergence(look(images + r), clean), r)[0])


def entropy(logits: Tensor) -> Tensor:
    """Mean entropy of the predictions, a scalar in nats, of logits (B, classes), with gradient."""
    logits = precise(logits)
    return -(logits.softmax(1) * logits.log_softmax(1)).sum(1).mean()


class VAT(LossStrategy):
    """The worst small change of an unlabeled image must not change its prediction (Miyato et al. 2018).

    Args:
        ratio: unlabeled images for every labeled one in a batch.
        eps: length of the change.
        xi: length of the finite difference that finds its direction.
        weight: weight of the divergence in the loss (alpha).
        entropy: weight of the predictions' entropy in the loss; 0 is VAT without it.
        ema_decay: decay of the moving average that evaluates; 0 evaluates the weights that train.
    """

    gives = ("labeled", "weak")

    def __init__(
        self,
        ratio: Ratio = 4,
        eps: NonNegative = 6.0,
        xi: Annotated[float, Range(1e-12)] = 0.01,
        weight: NonNegative = 1.0,
        entropy: NonNegative = 1.0,
        ema_decay: Decay = 0.999,
    ) -> None:
        check_ranges("vat", VAT, locals())
        self.eps, self.xi, self.weight, self.entropy, self.ema_decay = eps, xi, weight, entropy, ema_decay
        self.needs = Needs(unlabeled_views=("weak",), unlabeled_ratio=ratio)

    def loss(self, module: Classifier, batch: Batch) -> Loss:
        """Cross-entropy of labeled images, and divergence and entropy of the unlabeled ones."""
        labeled, unlabeled = batch.labeled, batch.unlabeled
        assert unlabeled is not None
        images = unlabeled.views["weak"]
        values = images[0].numel()
        scale = _DEVIATION * math.sqrt(values / _VALUES)
        start = module.draw(unlabeled, batch, "vat").normal("direction", values).view(images.shape)

        def look(images: Tensor) -> Tensor:
            seed_layers(module.device, module.seed, "vat", batch.step, module.global_rank)  # the same dropout
            return module(images)

        logits = module(labeled.views["weak"])
        with module.frozen_batchnorm():
            with torch.autocast(images.device.type, enabled=False):
                direction = adversarial_direction(look, images, start, scale * self.xi)
            weak, worst = look(images), look(images + scale * self.eps * direction)
        supervised, unsupervised = module.labeled_loss(logits, labeled.target), divergence(worst, probabilities(weak))
        metrics = {"loss_labeled": supervised, "loss_unlabeled": unsupervised, "loss_entropy": entropy(weak)}
        total = supervised + self.weight * unsupervised + self.entropy * metrics["loss_entropy"]
        return total, metrics, {"labeled": logits, "weak": weak}
