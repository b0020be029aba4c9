"""Targets by a linear classifier of the labeled images' features: scikit-learn's logistic regression.

    semisup fit --strategy linearprobe --model timm:vit_small_patch14_dinov2 --model.weights pretrained \\
        --model.adapt head
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
from sklearn.linear_model import LogisticRegression

from semisup.ranges import Range, check_ranges
from strategies.labelpropagation import FromFeatures


class LinearTargets(FromFeatures):
    """Every unlabeled image is what a linear classifier of the labeled ones' features says (logistic regression).

    Args:
        ratio: unlabeled images for every labeled one in a batch.
        weight: of their loss.
        c: inverse of the regularisation's strength, of features of length 1 times the root of their number.
    """

    name = "linearprobe"

    def __init__(self, ratio: int = 7, weight: float = 1.0, c: Annotated[float, Range(1e-6, 1e6)] = 0.1) -> None:
        super().__init__(ratio, weight)
        check_ranges("linearprobe", LinearTargets, locals())
        self.c = c

    def targets(self, labeled: np.ndarray, labels: np.ndarray, unlabeled: np.ndarray, classes: int) -> np.ndarray:
        """As `FromFeatures.targets`; of one class alone where all labels are of that."""
        made = np.zeros((len(unlabeled), classes))
        known, scale = np.unique(labels), labeled.shape[1] ** 0.5
        if len(known) == 1:
            made[:, known] = 1
            return made
        probe = LogisticRegression(C=self.c, max_iter=1000).fit(labeled * scale, labels)
        made[:, probe.classes_] = probe.predict_proba(unlabeled * scale)
        return made
