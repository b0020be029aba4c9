"""Mean Teacher (Tarvainen & Valpola 2017, arXiv 1703.01780): agree with the moving average of oneself.

    semisup fit --strategy meanteacher --data cifar10 --data.labels_per_class 25

The loss is CE(labeled) + w(t) times the mean squared distance of the student's probabilities for one weak view from the
teacher's for another one (section 2, equations 1 and 2); w(t) rises as exp(-5 (1 - t)^2). The teacher evaluates with
the network's running statistics of batch normalisation; the authors' normalises by its own batches. The paper's final
weight is 100 and its decay .99 while the weight rises and .999 afterwards: here the average is warmed up instead
(semisup/models/ema.py), and the weight of 50 and the share of .4 are those of the field's benchmarks.
"""

from __future__ import annotations

import math
from typing import Annotated

import torch

from semisup.batch import Batch, Needs
from semisup.classifier import Classifier
from semisup.errors import BELOW_ONE
from semisup.losses import gaussian_ramp, squared_error
from semisup.ranges import NonNegative, Range, Ratio, Share, check_ranges
from semisup.strategy import Loss, LossStrategy
from semisup.targets import probabilities


class MeanTeacher(LossStrategy):
    """The network must agree with its own moving average on another view (Tarvainen & Valpola 2017).

    Args:
        ratio: unlabeled images for every labeled one in a batch.
        weight: final weight of the disagreement in the loss.
        ramp: share of the training over which the weight rises from 0.
        ema_decay: decay of the teacher, which evaluates as well.
    """

    gives = ("labeled", "target", "mask")

    def __init__(
        self,
        ratio: Ratio = 1,
        weight: NonNegative = 50.0,
        ramp: Share = 0.4,
        ema_decay: Annotated[float, Range(1e-6, BELOW_ONE)] = 0.999,
    ) -> None:
        check_ranges("meanteacher", MeanTeacher, locals())
        self.weight, self.ramp, self.ema_decay, self.targets_from = weight, ramp, ema_decay, "evaluating"
        self.needs = Needs(unlabeled_views={"weak": "weak", "weak_2": "weak"}, unlabeled_ratio=ratio)

    def loss(self, module: Classifier, batch: Batch) -> Loss:
        """Cross-entropy of the labeled images, and squared error against the teacher on the unlabeled ones."""
        labeled, unlabeled = batch.labeled, batch.unlabeled
        assert unlabeled is not None
        (logits, student), _ = module.joint(labeled.views["weak"], unlabeled.views["weak"])
        target = probabilities(module.teacher(unlabeled.views["weak_2"]))
        supervised, unsupervised = module.labeled_loss(logits, labeled.target), squared_error(student, target)
        weight = self.weight * gaussian_ramp(batch.step, math.ceil(self.ramp * module.total_steps))
        metrics = {"loss_labeled": supervised, "loss_unlabeled": unsupervised}
        outputs = {"labeled": logits, "target": target, "mask": torch.ones_like(target[:, 0])}
        return supervised + weight * unsupervised, metrics, outputs
