"""What a classifier is judged by: accuracy, top-k error, macro averages, AUC, likelihood, calibration, every class."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from statistics import fmean

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics import Metric
from torchmetrics.classification import (
    MulticlassAccuracy,
    MulticlassCalibrationError,
    MulticlassConfusionMatrix,
)
from torchmetrics.functional.classification import multiclass_auroc

from semisup.errors import require
from semisup.runtime.ranks import gather_rows

Loss = Callable[[Tensor, Tensor], Tensor]
_TOP = (1, 2, 3, 5, 10)  # k of the top-k errors that every evaluation reports, where there are more classes


@dataclass(frozen=True)
class Scores:
    """The result of an evaluation.

    Attributes:
        scalars: name -> value, as `Evaluation` says; all are in [0, 1] but `nll` and `loss`, which are 0 or more.
        confusion: (classes, classes) int64; row is the true class, column the predicted one.
        ranks: (classes + 1,) int64; the number of images by how many classes score higher than their own.
    """

    scalars: dict[str, float]
    confusion: Tensor
    ranks: Tensor

    def topk_error(self, k: int) -> float:
        """The fraction of images for which `k` or more classes score strictly higher than their own, for any k from 1.

        A class that scores exactly as high as the true one doesn't count against it, so that a network which gives all
        classes one score makes no error. A score that is not a number counts as higher than every other.
        """
        require(k >= 1, f"a top-k error needs a k of at least 1, not {k}")
        return int(self.ranks[k:].sum()) / int(self.ranks.sum())


class Ranks(Metric):
    """Counts images by how many classes score strictly higher than their own; every top-k error follows from that.

    Args:
        classes: their number.
    """

    full_state_update = False
    count: Tensor

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.add_state("count", torch.zeros(classes + 1, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, scores: Tensor, target: Tensor) -> None:
        """Takes a batch of scores (B, classes) float and true classes (B,) int64."""
        own = scores.gather(1, target[:, None])
        higher = (~(scores <= own)).sum(dim=1)  # "not at most": what is not a number counts, and such an own score too
        self.count += higher.bincount(minlength=len(self.count))

    def compute(self) -> Tensor:
        """(classes + 1,) int64: images by the number of classes above their own."""
        return self.count.clone()


class MeanLoss(Metric):
    """A loss as a mean over images; not a number where that of one image isn't.

    Args:
        loss: the sum over a batch, a scalar, of logits (B, classes) float and true classes (B,) int64.
    """

    full_state_update = False
    total: Tensor
    count: Tensor

    def __init__(self, loss: Loss) -> None:
        super().__init__()
        self.loss = loss
        self.add_state("total", torch.zeros(()), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, logits: Tensor, target: Tensor) -> None:
        """Takes a batch of logits (B, classes) float and true classes (B,) int64."""
        self.total = self.total.float() + self.loss(logits, target)  # true half precisions make a half of it
        self.count += len(target)

    def compute(self) -> Tensor:
        """The mean, a scalar."""
        return self.total / self.count


def macro_averages(confusion: Tensor) -> dict[str, float]:
    """Balanced accuracy, and precision, recall and F1 of every class, each class weighing the same.

    As scikit-learn's: `balanced_accuracy` is the mean recall of the classes that occur (Brodersen et al. 2010);
    `precision`, `recall` and `f1` are means over the classes that occur or are predicted, a class counting 0 where its
    own is 0 / 0. `geometric_mean` is that of the recalls of the classes that occur, 0 where one is (Kubat & Matwin
    1997).

    Args:
        confusion: (classes, classes) int64 counts; row is the true class, column the predicted one.
    """
    right, occurs, predicted = confusion.diag().double(), confusion.sum(1).double(), confusion.sum(0).double()
    recall, there = right / occurs.clamp(min=1), (occurs + predicted) > 0
    classes = {
        "precision": right / predicted.clamp(min=1),
        "recall": recall,
        "f1": 2 * right / (occurs + predicted).clamp(min=1),
    }
    means = {name: values[there].mean().item() for name, values in classes.items()}
    recalls = recall[occurs > 0]
    return {"balanced_accuracy": recalls.mean().item(), "geometric_mean": recalls.log().mean().exp().item(), **means}


def shots(labels: Tensor, classes: int) -> dict[str, list[int]]:
    """Classes by how many labeled images they have: the third with most of them, that with fewest, and the others.

    Of ten classes three, three and four. Of equally many, the first classes count as those with more. Where no class
    has twice as many as another one, or there are fewer than three, nothing is told apart.

    Args:
        labels: (N,) int64 of the labeled images.
        classes: number of classes.
    """
    counts = labels[labels >= 0].bincount(minlength=classes)
    third = round(classes / 3)
    if classes < 3 or int(counts.max()) < 2 * max(1, int(counts.min())):
        return {}
    order = counts.argsort(descending=True, stable=True).tolist()
    few = classes - third
    return {"many_shot": order[:third], "medium_shot": order[third:few], "few_shot": order[few:]}


def auc(p: Tensor, target: Tensor) -> float:
    """The area under the ROC curve of each class against the rest, the mean over classes; nan where there is none.

    Classes that don't occur have no such area, and are left out (torchmetrics' own mean counts them as 0).

    Args:
        p: (N, classes) float probabilities.
        target: (N,) int64 true classes.
    """
    counts = target.bincount(minlength=p.shape[1])
    has_area = (counts > 0) & (counts < len(target))
    if not p.isfinite().all() or not has_area.any():
        return float("nan")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torchmetrics warns of the classes that are left out
        areas = multiclass_auroc(p, target, p.shape[1], average="none", thresholds=None)
    return areas[has_area].double().mean().item()


class Evaluation(nn.Module):
    """Accumulates predictions over batches and ranks, every image counted once.

    `top<k>_error` is the fraction of images for which k or more classes score strictly higher than their own, for those
    of k = 1, 2, 3, 5 and 10 that are less than the number of classes (`Scores.topk_error` for any other). Logits are
    compared, since probabilities of different logits round to the same. `accuracy` takes the first of the highest
    classes, so that 1 - `accuracy` is `top1_error` unless several are highest. `ece` is the expected calibration error
    over 15 bins of confidence (Guo et al. 2017, "On Calibration of Modern Neural Networks", equation 3), `nll` the mean
    negative log-likelihood in nats, `loss` the mean of a loss that is given. `balanced_accuracy`, `precision`, `recall`
    and `f1` are `macro_averages`, `auc` is the mean over classes that `auc` gives, where there is one.
    `accuracy/<class>` is that of a class that occurs; `many_shot`, `medium_shot` and `few_shot` are means of it over
    the classes that `shots` tells apart, where it does.

    Args:
        class_names: in the order of the labels.
        areas: also compute `auc`, for which all probabilities are kept until then.
        loss: what `loss` is the mean of: the mean over a batch, a scalar, of logits (B, classes) float and true classes
            (B,) int64; by default it is `nll`.
    """

    def __init__(self, class_names: tuple[str, ...], areas: bool = False, loss: Loss | None = None) -> None:
        super().__init__()
        classes = len(class_names)
        self.class_names = class_names
        self._kept: list[tuple[Tensor, Tensor]] | None = [] if areas else None  # probabilities and true classes
        self.accuracy = MulticlassAccuracy(classes, average="micro")
        self.ranks = Ranks(classes)
        self.calibration = MulticlassCalibrationError(classes, n_bins=15, norm="l1")
        self.confusion = MulticlassConfusionMatrix(classes)
        self.nll = MeanLoss(partial(F.cross_entropy, reduction="sum"))
        self.loss = MeanLoss(lambda logits, target: loss(logits, target) * len(target)) if loss else None
        self.groups: dict[str, list[int]] = {}

    def group(self, labels: Tensor) -> None:
        """Scores the classes by how many of these labels (N,) int64, of the labeled images, they have as well."""
        self.groups = shots(labels.cpu(), len(self.class_names))

    def names(self, target: Tensor) -> list[str]:
        """What scores there will be, but `auc`, over images of these true classes (N,) int64."""
        averages = ("balanced_accuracy", "geometric_mean", "precision", "recall", "f1")
        top = (f"top{k}_error" for k in _TOP if k < len(self.class_names))
        there = set(target.unique().tolist())
        occur = (f"accuracy/{self.class_names[k]}" for k in sorted(there))
        groups = (name for name, group in self.groups.items() if there & set(group))
        return ["accuracy", "ece", "loss", "nll", *averages, *top, *occur, *groups]

    def update(self, logits: Tensor, target: Tensor) -> None:
        """Takes a batch of logits (B, classes) float and true classes (B,) int64."""
        if not len(target):  # a rank's share of fewer images than ranks
            return
        logits = logits.float()
        p = logits.softmax(1)
        self.ranks.update(logits, target)
        for mean in (self.nll, self.loss):
            if mean is not None:
                mean.update(logits, target)
        if self._kept is not None:
            self._kept.append((p, target))
        for metric in (self.accuracy, self.calibration, self.confusion):
            metric.update(p, target)

    def compute(self) -> Scores:
        """The scores over all batches and ranks since the last call; starts anew."""
        confusion = self.confusion.compute().cpu()
        scalars = {"accuracy": self.accuracy.compute().item(), "ece": self.calibration.compute().item()}
        nll = self.nll.compute().item()
        scalars |= {"loss": self.loss.compute().item() if self.loss else nll, "nll": nll, **macro_averages(confusion)}
        if self._kept is not None and not math.isnan(area := self._area(self._kept)):
            scalars["auc"] = area
        scores = Scores(scalars, confusion, self.ranks.compute().cpu())
        scalars |= {f"top{k}_error": scores.topk_error(k) for k in _TOP if k < len(self.class_names)}
        for k, name in enumerate(self.class_names):
            if total := int(confusion[k].sum()):
                scalars[f"accuracy/{name}"] = int(confusion[k, k]) / total
        for name, group in self.groups.items():
            if rows := [k for k in group if int(confusion[k].sum())]:
                scalars[name] = fmean(int(confusion[k, k]) / int(confusion[k].sum()) for k in rows)
        for metric in (self.accuracy, self.ranks, self.calibration, self.confusion, self.nll, self.loss):
            if metric is not None:
                metric.reset()
        return scores

    def _area(self, kept: list[tuple[Tensor, Tensor]]) -> float:
        """The `auc` over all ranks; what was kept is let go."""
        device = self.nll.count.device
        p = torch.cat([p for p, _ in kept] or [torch.empty(0, len(self.class_names), device=device)])
        target = torch.cat([target for _, target in kept] or [torch.empty(0, dtype=torch.int64, device=device)])
        kept.clear()
        return auc(gather_rows(p), gather_rows(target))
