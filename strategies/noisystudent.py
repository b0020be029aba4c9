"""Noisy student (Xie et al. 2020, arXiv 1911.04252): generations, each trained with noise on what the last one says.

    semisup fit --data stl10 --strategy noisystudent
    semisup fit --data stl10 --strategy noisystudent --noisystudent.generations 1 --noisystudent.soft false

Algorithm 1 of the paper. The teacher is trained on labeled images. By its
last weights that evaluate, and on images without noise, it labels the unlabeled ones: those it is less than `threshold`
confident of are left out, of each class the `per_class` most confident are kept, and where a class has fewer than the
largest its images are there several times. The student is trained from fresh weights on both, with noise, and is the
next teacher. Each generation is a phase of `--trainer.max_epochs`.

The noise is RandAugment and whatever dropout the network has (64c5-64c5-128f of ours). There is no stochastic depth,
and the student is as large as its teacher. The paper keeps 130,000 images a class of 300 million; here it is all of
them unless `per_class` says otherwise. In its last generation unlabeled batches are 28 times as large as labeled ones.
"""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor

from semisup import selection
from semisup.batch import Batch, Needs
from semisup.classifier import Classifier
from semisup.losses import cross_entropy
from semisup.predict import select
from semisup.ranges import Count, NonNegative, Range, Ratio, Share, check_ranges
from semisup.runtime.console import say
from semisup.selection import Candidates
from semisup.strategy import Loss, Phase
from strategies.relabeling import Relabeling


def selected(c: Candidates, threshold: float, per_class: int, classes: int) -> Tensor:
    """Places (n,) int64, ascending, of the candidates that are confident enough, the best of each class."""
    confident = selection.over_threshold(c.confidence, threshold)
    return confident[selection.top_per_class(c.confidence[confident], c.predicted[confident], per_class, classes)]


def balanced(predicted: Tensor) -> Tensor:
    """Places (m,) int64 among classes (n,) int64 at which every class there is comes as often as the largest.

    The images of a class come in their order, again and again.
    """
    rows = [(predicted == k).nonzero()[:, 0] for k in predicted.unique()]
    most = max(map(len, rows), default=0)
    return torch.cat([predicted[:0], *(row[torch.arange(most) % len(row)] for row in rows)])


class NoisyStudent(Relabeling):
    """Students that are trained with noise on their teachers' labels, in generations (Xie et al. 2020).

    Args:
        generations: of students.
        threshold: least confidence of an unlabeled image.
        per_class: images of each class, at the most; 0 for all.
        balance: repeat images of smaller classes until all are as large as the largest.
        soft: train on the predicted probabilities rather than on the most probable class.
        ratio: unlabeled images for every labeled one in a batch.
        weight: of the unlabeled images' loss.
    """

    def __init__(
        self,
        generations: Count = 3,
        threshold: Share = 0.3,
        per_class: Annotated[int, Range(0)] = 0,
        balance: bool = True,
        soft: bool = True,
        ratio: Ratio = 14,
        weight: NonNegative = 1.0,
    ) -> None:
        check_ranges("noisystudent", NoisyStudent, locals())
        self.generations, self.threshold, self.per_class = generations, threshold, per_class
        self.balance, self.soft, self.weight = balance, soft, weight
        views = {"strong": "strong"}
        self.needs = Needs(views, views, unlabeled_ratio=ratio, unlabeled="relabeled")
        self.targets_from = "evaluating"
        super().__init__()

    def phases(self, module: Classifier) -> list[Phase]:
        """The teacher, then the students; all but the last one teach."""
        students = [Phase(f"student {n + 1}", restart=True, end=self.label) for n in range(self.generations)]
        return [Phase("teacher", end=self.label), *students]

    def label(self, module: Classifier) -> None:
        """Gives the unlabeled images their targets."""
        pool, classes = self.unlabeled(module), len(module.spec.class_names)
        k = self.per_class or len(pool)
        chosen, _ = select(module, pool, lambda c: selected(c, self.threshold, k, classes), self.soft, "noisystudent")
        say(f"noisystudent: the {module.phase.name} labels {len(chosen):,} of {len(pool):,} images")
        self.relabel(module, chosen.at(balanced(chosen.predicted)) if self.balance else chosen)

    def loss(self, module: Classifier, batch: Batch) -> Loss:
        """Cross-entropy of the labeled images and, but for the teacher's own training, of the others."""
        labeled, unlabeled = batch.labeled, batch.unlabeled
        if unlabeled is None:
            return module.labeled_loss(module(labeled.views["strong"]), labeled.target), {}
        (ours, theirs), _ = module.joint(labeled.views["strong"], unlabeled.views["strong"])
        supervised = module.labeled_loss(ours, labeled.target)
        student = cross_entropy(theirs, unlabeled.target)
        return supervised + self.weight * student, {"loss_labeled": supervised, "loss_student": student}
