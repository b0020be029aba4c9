"""CR-Match (Fan, Kukleva & Schiele 2021, arXiv 2112.05825): FixMatch whose features tell a strong view from a weak one.

    semisup fit --strategy crmatch --data stl10 --data.labels_per_class 4

The class must not depend on the augmentation, and the features may: behind a linear layer, those of the two views of a
confident image are pushed apart (FeatDistLoss, in its equivariant form). Beside that a rotation task: a weak view of as
many unlabeled images as there are labeled ones, by all four quarter turns, in the same pass. The loss is FixMatch's +
feature_weight * the mean over all images of max(0, cosine), of confident ones, + rotation_weight * CE(turns), as in the
benchmark USB; gradient flows into both views' features. There the linear layer is on the last convolution's map, of a
size that is written down for every dataset; here it is on the features after pooling, which every backbone has.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semisup.batch import Batch, Needs
from semisup.classifier import Classifier
from semisup.embeddings import two_layer_head
from semisup.losses import confident_consistency, consistency, precise
from semisup.ranges import Decay, NonNegative, Ratio, Share, check_ranges
from semisup.strategy import WEAK_AND_STRONG, Loss, LossStrategy


def feature_similarity(one: Tensor, other: Tensor, mask: Tensor) -> Tensor:
    """Mean over all rows of max(0, cosine) of two (B, F), where the mask (B,) bool has it, a scalar in [0, 1]."""
    return (F.cosine_similarity(precise(one), precise(other), dim=1).clamp_min(0) * mask).mean()


class CRMatch(LossStrategy):
    """FixMatch whose features tell a strong view from a weak one, and a rotation task (Fan et al. 2021).

    Args:
        ratio: unlabeled images for every labeled one in a batch (mu).
        threshold: least confidence of a target (tau).
        weight: weight of the confident unlabeled images in the loss.
        feature_weight: weight of the similarity of both views' features.
        rotation_weight: weight of the rotation task.
        ema_decay: decay of the moving average that evaluates; 0 evaluates the weights that train.
    """

    gives = WEAK_AND_STRONG
    sees_pixels = True

    def __init__(
        self,
        ratio: Ratio = 7,
        threshold: Share = 0.95,
        weight: NonNegative = 1.0,
        feature_weight: NonNegative = 1.0,
        rotation_weight: NonNegative = 1.0,
        ema_decay: Decay = 0.999,
    ) -> None:
        check_ranges("crmatch", CRMatch, locals())
        self.threshold, self.weight = threshold, weight
        self.feature_weight, self.rotation_weight = feature_weight, rotation_weight
        self.ema_decay, self.targets_from = ema_decay, "training"
        modules = {"projection": projection, "rotation": two_layer_head(4, nn.ReLU())}
        self.needs = Needs(unlabeled_views=("weak", "strong"), unlabeled_ratio=ratio, modules=modules)

    def loss(self, module: Classifier, batch: Batch) -> Loss:
        """FixMatch's loss, the similarity of both views' features, and cross-entropy of the quarter turns."""
        labeled, unlabeled = batch.labeled, batch.unlabeled
        assert unlabeled is not None
        some = unlabeled.views["weak"][:: self.needs.unlabeled_ratio]  # the same of a global batch, however it is split
        turned = torch.cat([some.rot90(number, (2, 3)) for number in range(4)])
        turns = torch.arange(4, device=some.device).repeat_interleave(len(some))
        views = (labeled.views["weak"], unlabeled.views["weak"], unlabeled.views["strong"], turned)
        (logits, weak, strong, _), (*features, of_turned) = module.joint(*views)
        supervised = module.labeled_loss(logits, labeled.target)
        unsupervised, mask = confident_consistency(weak, strong, self.threshold)
        projected = [module.extra["projection"](x) for x in features[1:]]
        similarity = feature_similarity(projected[0], projected[1], mask)
        rotated = consistency(module.extra["rotation"](of_turned), turns)
        metrics = {"loss_labeled": supervised, "loss_unlabeled": unsupervised}
        metrics |= {"loss_features": similarity, "loss_rotation": rotated}
        outputs = dict(zip(self.gives, (logits, weak, strong, *features, weak.detach().argmax(1), mask), strict=True))
        total = supervised + self.weight * unsupervised + self.feature_weight * similarity
        return total + self.rotation_weight * rotated, metrics, outputs


def projection(width: int, classes: int) -> nn.Module:
    """The linear layer behind which features of two views are compared, as wide as they are."""
    return nn.Linear(width, width)
