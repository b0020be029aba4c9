"""Labels that spread over a graph of nearest neighbours among features: scikit-learn's label spreading.

    semisup fit --strategy labelpropagation --model timm:vit_small_patch14_dinov2 --model.weights pretrained \\
        --model.adapt head

Zhou et al. 2004, Learning with Local and Global Consistency: every image is a node, joined to its nearest neighbours;
each step a node takes the mean of what its neighbours say and, as far as it has a label, keeps that. What they agree on
is each unlabeled image's target, a distribution, and the head is trained on these and on the labels.

The features are those of the network as the training begins. So they should be good ones already: of a pretrained
backbone, which is then frozen (`--model.adapt head`) or adapted.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import numpy as np
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from sklearn.semi_supervised import LabelSpreading
from torch import Tensor

from semisup.batch import Batch, Needs
from semisup.classifier import Classifier
from semisup.errors import BELOW_ONE, check, require
from semisup.losses import cross_entropy
from semisup.predict import features
from semisup.runtime.console import say
from semisup.strategy import Loss, LossStrategy


class FromFeatures(LossStrategy):
    """Targets for all unlabeled images, made once from their features, and a training on them and on the labels.

    Args:
        ratio: unlabeled images for every labeled one in a batch.
        weight: of their loss.

    Attributes:
        name: of the strategy.
    """

    name: ClassVar[str]
    gives: ClassVar[tuple[str, ...]] = ("labeled", "weak", "target", "mask")

    def __init__(self, ratio: int = 7, weight: float = 1.0) -> None:
        check(self.name, ratio=(ratio, 1, 1000), weight=(weight, 0, float("inf")))
        self.weight = weight
        self.needs = Needs(unlabeled_views=("weak",), unlabeled_ratio=ratio, unlabeled="relabeled")
        self.targets_ = torch.empty(0)  # (N, classes) float32, of the images without a label

    @abstractmethod
    def targets(self, labeled: np.ndarray, labels: np.ndarray, unlabeled: np.ndarray, classes: int) -> np.ndarray:
        """Distributions (N, classes) for the unlabeled images.

        Args:
            labeled: (n, F) float32 features of length 1.
            labels: (n,) int64.
            unlabeled: (N, F) float32 features of length 1.
            classes: their number.
        """

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Makes the targets, or serves those that a resumed run had."""
        assert isinstance(pl_module, Classifier)
        data = pl_module.datamodule
        pool, labeled = data.pools.without_label, data.pools.labeled
        assert pool is not None  # else the data would have refused
        if not len(self.targets_):
            x, u = (F.normalize(features(pl_module, each, data.eval_batch_size)).numpy() for each in (labeled, pool))
            made = self.targets(x, labeled.labels.numpy(), u, len(pl_module.spec.class_names))
            self.targets_ = torch.from_numpy(np.ascontiguousarray(made, dtype=np.float32))
            confidence = self.targets_.amax(1)
            say(f"{self.name}: targets for {len(pool):,} images, mean confidence {confidence.mean():.2f}")
        data.relabeled.assign(torch.arange(len(pool)), self.targets_)

    def remap(self, module: Classifier, places: Tensor) -> None:
        """Targets of other data are made anew."""
        self.targets_ = torch.empty(0)

    def loss(self, module: Classifier, batch: Batch) -> Loss:
        """Cross-entropy of the labeled images, and of the others towards their targets."""
        assert batch.unlabeled is not None
        (labeled, weak), _ = module.joint(batch.labeled.views["weak"], batch.unlabeled.views["weak"])
        target = batch.unlabeled.target
        supervised, spread = module.labeled_loss(labeled, batch.labeled.target), cross_entropy(weak, target)
        outputs = {"labeled": labeled, "weak": weak, "target": target, "mask": torch.ones_like(target[:, 0])}
        return supervised + self.weight * spread, {"loss_labeled": supervised, "loss_unlabeled": spread}, outputs


class LabelPropagation(FromFeatures):
    """Labels spread to all images over a graph of nearest neighbours among features (Zhou et al. 2004).

    Args:
        ratio: unlabeled images for every labeled one in a batch.
        weight: of their loss.
        neighbours: of each image in the graph.
        alpha: how much a labeled image takes from its neighbours, and not from its label; in (0, 1).
    """

    name = "labelpropagation"

    def __init__(self, ratio: int = 7, weight: float = 1.0, neighbours: int = 10, alpha: float = 0.2) -> None:
        super().__init__(ratio, weight)
        check("labelpropagation", neighbours=(neighbours, 1, 1000), alpha=(alpha, 0, BELOW_ONE))
        require(alpha > 0, "labelpropagation.alpha is 0, but must be more: no label would spread")
        self.neighbours, self.alpha = neighbours, alpha

    def targets(self, labeled: np.ndarray, labels: np.ndarray, unlabeled: np.ndarray, classes: int) -> np.ndarray:
        """As `FromFeatures.targets`; an image that no label reaches may be of any class."""
        nodes, known = np.concatenate([labeled, unlabeled]), np.concatenate([labels, np.full(len(unlabeled), -1)])
        neighbours = min(self.neighbours, len(nodes) - 1)
        graph = LabelSpreading(kernel="knn", n_neighbors=neighbours, alpha=self.alpha, max_iter=100)
        with np.errstate(invalid="ignore"):
            graph.fit(nodes, known)
        made = np.full((len(unlabeled), classes), 0.0)
        made[:, graph.classes_] = graph.label_distributions_[len(labeled) :]
        reached = np.isfinite(made).all(1) & (made.sum(1) > 0)
        made[~reached] = 1 / classes
        return made
