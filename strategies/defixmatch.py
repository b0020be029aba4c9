"""DeFixMatch (Schmutz et al. 2023, arXiv 2203.07512): FixMatch without the bias that pseudo-labels bring into its risk.

    semisup fit --strategy defixmatch --data cifar10 --data.labels_per_class 400

What unlabeled images add to the risk, labeled images subtract, by pseudo-labels of their own and in spite of their
labels, so that the expectation is that of the supervised risk: CE(labeled) + weight * (consistency(unlabeled) -
consistency(labeled)), the consistency of confident images. As the authors have it in the field's benchmark code, CE is
the mean of both views of the labeled images, and the weight is .5.
"""

from __future__ import annotations

from semisup.batch import Batch, Needs
from semisup.classifier import Classifier
from semisup.losses import confident_consistency
from semisup.ranges import Decay, NonNegative, Ratio, Share, check_ranges
from semisup.strategy import WEAK_AND_STRONG, Loss, LossStrategy


class DeFixMatch(LossStrategy):
    """FixMatch, minus the same term on the labeled images, which takes its bias away (Schmutz et al. 2023).

    Args:
        ratio: unlabeled images for every labeled one in a batch (mu).
        threshold: least confidence of a target (tau).
        weight: weight of the difference of both terms in the loss (lambda).
        ema_decay: decay of the moving average that evaluates; 0 evaluates the weights that train.
    """

    gives = WEAK_AND_STRONG

    def __init__(
        self, ratio: Ratio = 7, threshold: Share = 0.95, weight: NonNegative = 0.5, ema_decay: Decay = 0.999
    ) -> None:
        check_ranges("defixmatch", DeFixMatch, locals())
        self.threshold, self.weight = threshold, weight
        self.ema_decay, self.targets_from = ema_decay, "training"
        views = ("weak", "strong")
        self.needs = Needs(labeled_views=views, unlabeled_views=views, unlabeled_ratio=ratio)

    def loss(self, module: Classifier, batch: Batch) -> Loss:
        """Cross-entropy of both labeled views, and FixMatch's term of the unlabeled images less the labeled ones'."""
        labeled, unlabeled = batch.labeled, batch.unlabeled
        assert unlabeled is not None
        views = (*(labeled.views[name] for name in ("weak", "strong")), unlabeled.views["weak"])
        (one, other, weak, strong), features = module.joint(*views, unlabeled.views["strong"])
        supervised = (module.labeled_loss(one, labeled.target) + module.labeled_loss(other, labeled.target)) / 2
        unsupervised, mask = confident_consistency(weak, strong, self.threshold)
        debiasing, _ = confident_consistency(one, other, self.threshold)
        metrics = {"loss_labeled": supervised, "loss_unlabeled": unsupervised, "loss_debiasing": debiasing}
        given = (one, weak, strong, features[0], *features[2:], weak.detach().argmax(1), mask)
        total = supervised + self.weight * (unsupervised - debiasing)
        return total, metrics, dict(zip(self.gives, given, strict=True))
