"""Labels that spread over a graph of nearest neighbours among features.

    semisup fit --strategy labelpropagation --model timm:vit_small_patch14_dinov2 --model.weights pretrained \\
        --model.adapt head

Zhou et al. 2004, Learning with Local and Global Consistency: every image is a node, joined to its nearest neighbours;
each step a node takes the mean of what its neighbours say and, as far as it has a label, keeps that. What they agree on
is each unlabeled image's target, a distribution, and the head is trained on these and on the labels.

scikit-learn joins an image to its neighbours alike, whether these are near or not, by a graph that is not symmetric;
`--labelpropagation.method batched` (semisup/features/graph.py) weighs them by their cosine and makes them each other's
neighbours, as Iscen et al. 2019 (arXiv 1904.04717), whose `--labelpropagation.neighbours` are 50 and `.alpha` is .99.

The features are those of the network as the training begins. So they should be good ones already: of a pretrained
backbone, which is then frozen (`--model.adapt head`) or adapted.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.semi_supervised import LabelSpreading
from torch import Tensor

from semisup.classifier import Classifier
from semisup.errors import require
from semisup.features.graph import nearest, normalized_graph, spread
from semisup.predict import features
from semisup.ranges import Decay, Ratio, check_ranges
from strategies.fixedtargets import FixedTargets


class FromFeatures(FixedTargets):
    """Targets for all unlabeled images, made from their features by the network as the training begins.

    Args:
        ratio: unlabeled images for every labeled one in a batch.
        weight: of their loss.
    """

    @abstractmethod
    def targets(self, labeled: np.ndarray, labels: np.ndarray, unlabeled: np.ndarray, classes: int) -> np.ndarray:
        """Distributions (N, classes) for the unlabeled images.

        Args:
            labeled: (n, F) float32 features of length 1.
            labels: (n,) int64.
            unlabeled: (N, F) float32 features of length 1.
            classes: their number.
        """

    def make(self, module: Classifier) -> Tensor:
        """As `FixedTargets.make`."""
        data, labeled = module.datamodule, module.datamodule.pools.labeled
        pool = data.pools.without_label
        assert pool is not None
        x, u = (F.normalize(features(module, each, data.eval_batch_size)).numpy() for each in (labeled, pool))
        made = self.targets(x, labeled.labels.numpy(), u, len(module.spec.class_names))
        return torch.from_numpy(np.ascontiguousarray(made, dtype=np.float32))


class LabelPropagation(FromFeatures):
    """Labels spread to all images over a graph of nearest neighbours among features (Zhou et al. 2004).

    Args:
        ratio: unlabeled images for every labeled one in a batch.
        weight: of their loss.
        neighbours: of each image in the graph.
        alpha: how much a labeled image takes from its neighbours, and not from its label; in (0, 1).
        method: sklearn, or batched, for up to a million images and on a GPU.
    """

    name = "labelpropagation"

    def __init__(
        self,
        ratio: int = 7,
        weight: float = 1.0,
        neighbours: Ratio = 10,
        alpha: Decay = 0.2,
        method: Literal["sklearn", "batched"] = "sklearn",
    ) -> None:
        super().__init__(ratio, weight)
        check_ranges("labelpropagation", LabelPropagation, locals())
        require(alpha > 0, "labelpropagation.alpha is 0, but must be more: no label would spread")
        self.neighbours, self.alpha, self.method = neighbours, alpha, method
        self._device = torch.device("cpu")

    def make(self, module: Classifier) -> Tensor:
        """As `FixedTargets.make`."""
        self._device = module.device
        return super().make(module)

    def targets(self, labeled: np.ndarray, labels: np.ndarray, unlabeled: np.ndarray, classes: int) -> np.ndarray:
        """As `FromFeatures.targets`; an image that no label reaches may be of any class."""
        nodes = np.concatenate([labeled, unlabeled])
        by = self._sklearn if self.method == "sklearn" else self._batched
        made = by(nodes, labels, classes, min(self.neighbours, len(nodes) - 1))[len(labeled) :]
        reached = np.isfinite(made).all(1) & (made.sum(1) > 0)
        made[~reached] = 1 / classes
        return made

    def _sklearn(self, nodes: np.ndarray, labels: np.ndarray, classes: int, neighbours: int) -> np.ndarray:
        known = np.concatenate([labels, np.full(len(nodes) - len(labels), -1)])
        graph = LabelSpreading(kernel="knn", n_neighbors=neighbours, alpha=self.alpha, max_iter=100)
        with np.errstate(invalid="ignore"):
            graph.fit(nodes, known)
        made = np.full((len(nodes), classes), 0.0)
        made[:, graph.classes_] = graph.label_distributions_
        return made

    def _batched(self, nodes: np.ndarray, labels: np.ndarray, classes: int, neighbours: int) -> np.ndarray:
        points, known = (torch.from_numpy(x).to(self._device) for x in (nodes, labels))
        return spread(normalized_graph(*nearest(points, neighbours)), known, classes, self.alpha).cpu().numpy()
