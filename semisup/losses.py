"""Losses as pure functions of logits and targets."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from semisup.errors import check_per_class, require

Reduction = Literal["mean", "none"]


def cross_entropy(logits: Tensor, target: Tensor, reduction: Reduction = "mean") -> Tensor:
    """Mean cross-entropy, a scalar in nats, of logits (B, classes) against hard or soft targets.

    Args:
        logits: (B, classes) float.
        target: (B,) int64 classes, or (B, classes) float probabilities.
        reduction: mean, or none for that of every image, (B,).

    Raises:
        InputError: the targets are neither; so do the other losses of labeled images.
    """
    return F.cross_entropy(logits.float(), target.float() if _soft(logits, target) else target, reduction=reduction)


def multi_margin(logits: Tensor, target: Tensor, reduction: Reduction = "mean") -> Tensor:
    """Mean of every other class's max(0, 1 - own score + its score), summed over them and divided by the classes.

    The multi-class hinge loss, a scalar, as Torch7's `MultiMarginCriterion` and PyTorch's `MultiMarginLoss` have it. Of
    soft targets it is what it is expected to be for a class that is drawn from them, as cross-entropy is; that takes
    B * classes^2 numbers.

    Args:
        logits: (B, classes) float.
        target: (B,) int64 classes, or (B, classes) float probabilities.
    """
    scores = logits.float()
    if not _soft(logits, target):
        return F.multi_margin_loss(scores, target, reduction=reduction)
    margins = (1 - scores[:, :, None] + scores[:, None, :]).clamp(min=0)  # (B, own class, other class)
    each = (margins.sum(2) - 1) / scores.shape[1]  # (B, classes); of its own class the margin is 1
    summed = (target.float() * each).sum(1)
    return summed.mean() if reduction == "mean" else summed


def mse(logits: Tensor, target: Tensor, reduction: Reduction = "mean") -> Tensor:
    """Mean over the images of the squared distance of the logits, as they are, to the target.

    A scalar. The target is 1 for the class and 0 for the others, or the probabilities. Squares are summed over the
    classes, not averaged, so that the gradient has the size of cross-entropy's.

    Args:
        logits: (B, classes) float.
        target: (B,) int64 classes, or (B, classes) float probabilities.
    """
    wanted = target.float() if _soft(logits, target) else F.one_hot(target, logits.shape[1])
    summed = (logits.float() - wanted).square().sum(dim=1)
    return summed.mean() if reduction == "mean" else summed


def _soft(logits: Tensor, target: Tensor) -> bool:
    """Whether the targets are probabilities and not classes; by shape and type alone, which no device is asked for."""
    soft, (images, classes) = target.is_floating_point(), logits.shape
    shape, whole = tuple(target.shape), target.dtype == torch.int64
    require(
        shape == (images, classes) if soft else whole and shape == (images,),
        f"the targets of {images} images in {classes} classes are {str(target.dtype).removeprefix('torch.')} of shape "
        f"{shape}, but must be int64 classes of shape ({images},), or float probabilities of shape "
        f"({images}, {classes}); type target.long(), or one_hot(target, {classes}).float()",
    )
    return soft


def distribution(target: Tensor, classes: int) -> Tensor:
    """Targets as probabilities (B, classes) float: classes (B,) int64 are sure, soft ones are what they are."""
    return target if target.is_floating_point() else F.one_hot(target, classes).float()


def most_probable(target: Tensor) -> Tensor:
    """Targets as classes (B,) int64: of soft ones, (B, classes) float, the most probable."""
    return target.argmax(1) if target.is_floating_point() else target


LabeledLoss = Literal["nll", "multi_margin", "mse"]
LABELED: dict[LabeledLoss, Callable[..., Tensor]] = {
    "nll": cross_entropy,
    "multi_margin": multi_margin,
    "mse": mse,
}


def class_weights(options: Literal["none", "balanced"] | list[float], labels: Tensor, classes: int) -> Tensor | None:
    """What a labeled image of each class weighs in the loss, (classes,) float32; None where all weigh 1.

    Balanced weights are N / (classes * images of the class), as scikit-learn has them: 1 on average over the images.

    Args:
        options: `--model.class_weights`.
        labels: (N,) int64 of the labeled images.
        classes: number of classes.

    Raises:
        InputError: the weights are not one for each class, or not numbers from 0 on with one above it.
    """
    if options == "none":
        return None
    if options == "balanced":
        counts = labels.bincount(minlength=classes).clamp(min=1)
        return (counts.sum() / (classes * counts)).float()
    check_per_class("model.class_weights", options, classes, "balanced, none, or ")
    return torch.tensor(options, dtype=torch.float32)


def weighted(name: LabeledLoss, logits: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    """Mean over the images of their loss times the weight of their class, of soft targets the weight to be expected.

    Not divided by the sum of the weights in the batch, so that the halves of a batch on two devices are as the whole.

    Args:
        name: of the loss.
        logits: (B, classes) float.
        target: (B,) int64 classes, or (B, classes) float probabilities.
        weights: (classes,) float.
    """
    each = LABELED[name](logits, target, reduction="none")
    return (each * (target.float() @ weights if target.is_floating_point() else weights[target])).mean()


def confident_consistency(weak: Tensor, strong: Tensor, threshold: float) -> tuple[Tensor, Tensor]:
    """Cross-entropy of strong views with the classes of weak ones, and which of these are confident enough to count.

    The weak view's most probable class is the target of the strong view, where its probability reaches the threshold;
    the mean is over all images, confident or not (FixMatch, Sohn et al. 2020, arXiv 2001.07685, equation 4).

    Args:
        weak: (B, classes) float logits of the weak views; no gradient flows into them.
        strong: (B, classes) float logits of the strong views of the same images.
        threshold: least probability, in [0, 1].

    Returns:
        The loss, a scalar in nats, and the mask (B,) bool of images that count.
    """
    confidence, target = weak.detach().float().softmax(1).max(1)
    mask = confidence >= threshold
    each = F.cross_entropy(strong.float(), target, reduction="none")  # (B,)
    return (each * mask).mean(), mask


def precise(x: Tensor) -> Tensor:
    """The tensor in float32 where it is of less, such as bf16; float64 stays what it is."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def consistency(logits: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
    """Weighted cross-entropy of unlabeled images, a scalar in nats: the mean over *all* of them, counted or not.

    Args:
        logits: (B, classes) float.
        target: (B,) int64 classes, or (B, classes) float probabilities; no gradient flows into them.
        weight: (B,) of every image, bool or float; 1 by default.
    """
    each = F.cross_entropy(precise(logits), target.detach(), reduction="none")  # (B,)
    return each.mean() if weight is None else (each * weight).mean()


def divergence(logits: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
    """Weighted Kullback-Leibler divergence KL(target || softmax), the mean over all images, a scalar in nats.

    Args:
        logits: (B, classes) float.
        target: (B, classes) float probabilities; no gradient flows into them.
        weight: (B,) of every image, bool or float; 1 by default.
    """
    each = F.kl_div(precise(logits).log_softmax(1), target.detach(), reduction="none").sum(1)  # (B,)
    return each.mean() if weight is None else (each * weight).mean()


def squared_error(logits: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
    """Mean over images and classes of the squared distance of the softmax to target probabilities, a scalar.

    Args:
        logits: (B, classes) float.
        target: (B, classes) float probabilities; no gradient flows into them.
        weight: (B,) of every image; 1 by default.
    """
    each = (precise(logits).softmax(1) - target.detach()).square().mean(1)  # (B,)
    return each.mean() if weight is None else (each * weight).mean()


def linear_ramp(step: int, start: int, end: int) -> float:
    """0 up to step `start`, rising linearly to 1 at step `end`, then 1.

    The weight alpha(t) of pseudo-labels over its final value: Lee 2013, "Pseudo-Label", equation 16.
    """
    require(0 <= start <= end, f"a ramp from step {start} to step {end} must have 0 <= start <= end")
    if step >= end:
        return 1.0
    return max(0.0, (step - start) / (end - start))


def gaussian_ramp(step: int, end: int) -> float:
    """exp(-5 (1 - t)^2) with t rising from 0 to 1 at step `end`, then 1: Laine & Aila 2017 (1610.02242), section 2."""
    return math.exp(-5 * (1 - min(1.0, step / max(1, end))) ** 2) if step < end else 1.0
