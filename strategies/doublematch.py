"""DoubleMatch (Wallin et al. 2022, arXiv 2205.05575): FixMatch, and features of both views that point the same way.

    semisup fit --strategy doublematch --data stl10 --data.labels_per_class 100

The loss is FixMatch's + feature_weight * the mean over *all* unlabeled images, confident or not, of 1 - the cosine of
the weak view's features and of the strong view's behind a linear layer; no gradient flows into the weak view's. In the
authors' commands the weight of the features is 1 for STL-10; .5, 1 and 5 for CIFAR-10 with 40, 250 and 4,000 labels;
2, 5 and 10 for CIFAR-100 with 400, 2,500 and 10,000.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from semisup.batch import Batch, Needs
from semisup.classifier import Classifier
from semisup.losses import confident_consistency, precise
from semisup.ranges import Decay, NonNegative, Ratio, Share, check_ranges
from semisup.strategy import WEAK_AND_STRONG, Loss, LossStrategy, weak_and_strong


def feature_distance(projected: Tensor, features: Tensor) -> Tensor:
    """Mean of 1 - the cosine of rows (B, F), a scalar in [0, 2]; no gradient flows into the second ones."""
    return (1 - F.cosine_similarity(precise(projected), precise(features.detach()), dim=1)).mean()


def projection(width: int, classes: int) -> nn.Module:
    """The linear layer behind the strong view's features, as wide as they are."""
    layer = nn.Linear(width, width)
    nn.init.xavier_normal_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


class DoubleMatch(LossStrategy):
    """FixMatch, and features of a strong view that point where the weak view's do (Wallin et al. 2022).

    Args:
        ratio: unlabeled images for every labeled one in a batch (mu).
        threshold: least confidence of a target (tau).
        weight: weight of the confident unlabeled images in the loss (w_p).
        feature_weight: weight of the features of all unlabeled images (w_s).
        ema_decay: decay of the moving average that evaluates; 0 evaluates the weights that train.
    """

    gives = WEAK_AND_STRONG

    def __init__(
        self,
        ratio: Ratio = 7,
        threshold: Share = 0.95,
        weight: NonNegative = 1.0,
        feature_weight: NonNegative = 1.0,
        ema_decay: Decay = 0.999,
    ) -> None:
        check_ranges("doublematch", DoubleMatch, locals())
        self.threshold, self.weight, self.feature_weight = threshold, weight, feature_weight
        self.ema_decay, self.targets_from = ema_decay, "training"
        self.needs = Needs(
            unlabeled_views=("weak", "strong"), unlabeled_ratio=ratio, modules={"projection": projection}
        )

    def loss(self, module: Classifier, batch: Batch) -> Loss:
        """FixMatch's loss, and the distance of the features of all unlabeled images."""
        outputs, _ = weak_and_strong(module, batch)
        logits, weak, strong = (outputs[view] for view in ("labeled", "weak", "strong"))
        supervised = module.labeled_loss(logits, batch.labeled.target)
        unsupervised, mask = confident_consistency(weak, strong, self.threshold)
        distance = feature_distance(module.extra["projection"](outputs["strong_features"]), outputs["weak_features"])
        metrics = {"loss_labeled": supervised, "loss_unlabeled": unsupervised, "loss_features": distance}
        outputs |= {"target": weak.detach().argmax(1), "mask": mask}
        return supervised + self.weight * unsupervised + self.feature_weight * distance, metrics, outputs
