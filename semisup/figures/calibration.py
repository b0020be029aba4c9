"""The reliability diagram: how often predictions are right, by their confidence."""

from __future__ import annotations

from typing import NamedTuple

import torch
from matplotlib.figure import Figure
from matplotlib.ticker import StrMethodFormatter
from torch import Tensor
from torchmetrics.functional.classification import multiclass_calibration_error

from semisup.figures.style import GREY, PALETTE, PERCENT, figure, styled

BINS = 15  # as many as the metric `ece` has (semisup/metrics.py)
_THIN = 20  # images of a bin whose accuracy says little


class Bins(NamedTuple):
    """Predictions by confidence, in bins of equal width; (BINS,) each.

    Attributes:
        images: predictions, int64.
        accuracy: share of them that is right, float64; nan where there are none.
        confidence: their mean confidence, float64; nan where there are none.
    """

    images: Tensor
    accuracy: Tensor
    confidence: Tensor


def bins(p: Tensor, target: Tensor) -> Bins:
    """Sorts predictions into the bins [0, 1/15), [1/15, 2/15), ..., [14/15, 1].

    Args:
        p: (N, classes) float, probabilities.
        target: (N,) int64, true classes.
    """
    confidence, predicted = p.double().max(1)
    place = (confidence * BINS).long().clamp(max=BINS - 1)
    count = place.bincount(minlength=BINS)
    right = place.bincount((predicted == target).double(), minlength=BINS)
    return Bins(count, right / count, place.bincount(confidence, minlength=BINS) / count)


@styled()
def calibration(p: Tensor, target: Tensor, images: str = "images") -> Figure:
    """Accuracy against confidence (Guo et al. 2017, arXiv 1706.04599, figure 1), and how many predictions each bin has.

    The expected calibration error written on it is the metric's that a run reports.

    Args:
        p: (N, classes) float32, probabilities.
        target: (N,) int64, true classes.
        images: what they are called in the title.
    """
    p, target = p.cpu(), target.cpu()
    binned = bins(p, target)
    ece = multiclass_calibration_error(p, target, p.shape[1], n_bins=BINS, norm="l1").item()
    accuracy = (p.argmax(1) == target).double().mean().item()
    drawn = figure(5.4, 5.2)
    upper, lower = drawn.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    some, width = binned.images > 0, 1 / BINS
    centre = ((torch.arange(BINS) + 0.5) / BINS)[some].numpy()
    right, gap = binned.accuracy[some].numpy(), (binned.confidence - binned.accuracy)[some].numpy()
    upper.bar(centre, right, width, color=PALETTE[0], edgecolor="white", label="accuracy")
    hatched = {"color": "#FFFFFF80", "edgecolor": PALETTE[3], "hatch": "////"}
    upper.bar(centre, gap, width, right, label="gap to the mean confidence", **hatched)
    upper.plot([0, 1], [0, 1], color=GREY, linestyle="--", label="perfectly calibrated")
    upper.set(ylabel="accuracy", xlim=(0, 1), ylim=(0, 1))
    said = f"accuracy {100 * accuracy:.1f} %, expected calibration error {100 * ece:.1f} %"
    upper.set_title(f"{len(p):,} {images}\n{said}")
    lower.bar(centre, binned.images[some].numpy(), width, color=GREY, edgecolor="white")
    for x, count in zip(centre, binned.images[some].tolist(), strict=True):
        if count < _THIN:  # which the bar is too low to tell
            lower.annotate(f"{count:,.0f}", (x, count), (0, 1), textcoords="offset points", ha="center", fontsize=8)
    lower.set(xlabel="confidence", ylabel="images")
    for axis in (upper.xaxis, upper.yaxis):
        axis.set_major_formatter(PERCENT)
    lower.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    drawn.legend(loc="outside lower center", ncols=3)
    return drawn
