"""What a classifier is judged by: accuracy, top-k error, calibration, and every class by itself."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn
from torchmetrics.classification import (
    MulticlassAccuracy,
    MulticlassCalibrationError,
    MulticlassConfusionMatrix,
)


@dataclass(frozen=True)
class Scores:
    """The result of an evaluation.

    Attributes:
        scalars: name -> value in [0, 1]: `accuracy`, `top<k>_error`, `ece`, and `accuracy/<class>` for every class that
            occurs.
        confusion: (classes, classes) int64; row is the true class, column the predicted one.
    """

    scalars: dict[str, float]
    confusion: Tensor


class Evaluation(nn.Module):
    """Accumulates predictions over batches and ranks, every image counted once.

    `top<k>_error` is the fraction of images whose true class is not among the k highest scores, k being 5 or, with
    fewer than six classes, one less than their number. `ece` is the expected calibration error over 15 bins of
    confidence (Guo et al. 2017, "On Calibration of Modern Neural Networks", equation 3).

    Args:
        class_names: in the order of the labels.
    """

    def __init__(self, class_names: tuple[str, ...]) -> None:
        super().__init__()
        classes = len(class_names)
        self.class_names, self.k = class_names, max(1, min(5, classes - 1))
        self.accuracy = MulticlassAccuracy(classes, average="micro")
        self.topk = MulticlassAccuracy(classes, top_k=self.k, average="micro")
        self.calibration = MulticlassCalibrationError(classes, n_bins=15, norm="l1")
        self.confusion = MulticlassConfusionMatrix(classes)

    def update(self, logits: Tensor, target: Tensor) -> None:
        """Takes a batch of logits (B, classes) float and true classes (B,) int64."""
        p = logits.float().softmax(1)
        for metric in (self.accuracy, self.topk, self.calibration, self.confusion):
            metric.update(p, target)

    def compute(self) -> Scores:
        """The scores over all batches and ranks since the last call; starts anew."""
        confusion = self.confusion.compute().cpu()
        scalars = {
            "accuracy": self.accuracy.compute().item(),
            f"top{self.k}_error": 1 - self.topk.compute().item(),
            "ece": self.calibration.compute().item(),
        }
        for k, name in enumerate(self.class_names):
            if total := int(confusion[k].sum()):
                scalars[f"accuracy/{name}"] = int(confusion[k, k]) / total
        for metric in (self.accuracy, self.topk, self.calibration, self.confusion):
            metric.reset()
        return Scores(scalars, confusion)
