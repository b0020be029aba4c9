"""Logit adjustment (Menon et al. 2021, arXiv 2007.07314): a loss that is consistent with the balanced error.

    semisup fit --strategy fixmatch+logitadjustment --data cifar10 --data.labels_per_class 1500 --data.imbalance 100

The loss of the labeled images is cross-entropy of logits + tau * log(prior), with the prior the share of each class
among them (equation 10); evaluation and the targets of unlabeled images go by the logits as they are. It acts on
whichever strategy owns the loss, and alone on supervised training; the loss that UDA's annealing computes for itself is
not reached.
"""

from __future__ import annotations

from torch import Tensor

from semisup.classifier import Classifier
from semisup.errors import require
from semisup.ranges import NonNegative, check_ranges
from semisup.strategy import Strategy


def offset(labels: Tensor, classes: int, tau: float) -> Tensor:
    """tau * log(prior) (classes,) of labels (N,) int64; a class without any counts as if it had one."""
    counts = labels.bincount(minlength=classes).clamp_min(1).double()
    return (tau * (counts / counts.sum()).log()).float()


class LogitAdjustment(Strategy):
    """Labeled images weigh by how rare their class is, so that all classes are predicted alike (Menon et al. 2021).

    Args:
        tau: how much; 1 is consistent with the balanced error, 0 changes nothing.
    """

    def __init__(self, tau: NonNegative = 1.0) -> None:
        check_ranges("logitadjustment", LogitAdjustment, locals())
        self.tau = tau

    def begin_fit(self, module: Classifier) -> None:
        """Counts the labels, and offsets the logits of labeled images from now on."""
        loss = module.options.loss
        require(loss == "nll", f"logitadjustment is of cross-entropy, and model.loss is {loss}; type --model.loss nll")
        labels = module.datamodule.pools.labeled.labels
        module.labeled_offset = offset(labels, len(module.spec.class_names), self.tau).to(module.device)
