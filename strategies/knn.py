"""Targets by the nearest labeled images among features: scikit-learn's k nearest neighbours.

semisup fit --strategy knn --model timm:vit_small_patch14_dinov2 --model.weights pretrained --model.adapt head
"""

from __future__ import annotations

import numpy as np
from sklearn.neighbors import KNeighborsClassifier

from semisup.ranges import Ratio, check_ranges
from strategies.labelpropagation import FromFeatures


class NearestNeighbours(FromFeatures):
    """Every unlabeled image is what the nearest labeled ones among features are (k nearest neighbours).

    Args:
        ratio: unlabeled images for every labeled one in a batch.
        weight: of their loss.
        k: labeled images that have a say, each by the inverse of its distance.
    """

    name = "knn"

    def __init__(self, ratio: int = 7, weight: float = 1.0, k: Ratio = 5) -> None:
        super().__init__(ratio, weight)
        check_ranges("knn", NearestNeighbours, locals())
        self.k = k

    def targets(self, labeled: np.ndarray, labels: np.ndarray, unlabeled: np.ndarray, classes: int) -> np.ndarray:
        """As `FromFeatures.targets`."""
        near = KNeighborsClassifier(min(self.k, len(labeled)), weights="distance").fit(labeled, labels)
        made = np.zeros((len(unlabeled), classes))
        made[:, near.classes_] = near.predict_proba(unlabeled)
        return made
