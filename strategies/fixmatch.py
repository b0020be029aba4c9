"""FixMatch (Sohn et al. 2020, arXiv 2001.07685): what a weak view predicts with confidence, a strong view must predict.

    semisup fit --strategy fixmatch --data cifar10 --data.labels_per_class 4

The loss is CE(labeled) + weight * confident_consistency(weak, strong), see semisup/losses.py. Targets come from the
weights that train; a moving average of them evaluates (semisup/models/ema.py). The defaults are the paper's (section
4), and so are those of the optimiser and of the learning rate's schedule: SGD of .03 with Nesterov momentum .9 and
weight decay 5e-4, not on biases and normalisation layers, times cos(7 pi k / 16 K).
"""

from __future__ import annotations

import torch

from semisup.batch import Batch, Needs
from semisup.classifier import Classifier
from semisup.losses import confident_consistency
from semisup.ranges import Decay, NonNegative, Ratio, Share, check_ranges
from semisup.strategy import WEAK_AND_STRONG, Loss, LossStrategy


class FixMatch(LossStrategy):
    """A confident weak view is the target of a strong view of the same image (Sohn et al. 2020).

    Args:
        ratio: unlabeled images for every labeled one in a batch (mu).
        threshold: least confidence of a target (tau).
        weight: weight of the unlabeled images in the loss (lambda_u).
        ema_decay: decay of the moving average that evaluates; 0 evaluates the weights that train. .999 looks back over
            a thousand steps or, where that is less, over a ninth of those taken.
        joint: send all views through the network in one batch, so that batch normalisation sees one population, as the
            paper's interleaving does; otherwise the labeled and the unlabeled images go one after the other.
    """

    gives = WEAK_AND_STRONG
    refinable = True

    def __init__(
        self,
        ratio: Ratio = 7,
        threshold: Share = 0.95,
        weight: NonNegative = 1.0,
        ema_decay: Decay = 0.999,
        joint: bool = True,
    ) -> None:
        check_ranges("fixmatch", FixMatch, locals())
        self.threshold, self.weight, self.ema_decay, self.joint = threshold, weight, ema_decay, joint
        self.targets_from = "training"
        self.needs = Needs(unlabeled_views=("weak", "strong"), unlabeled_ratio=ratio)

    def loss(self, module: Classifier, batch: Batch) -> Loss:
        """Cross-entropy of the labeled images, and agreement of the strong with the confident weak views."""
        labeled, unlabeled = batch.labeled, batch.unlabeled
        assert unlabeled is not None
        views = [labeled.views["weak"], unlabeled.views["weak"], unlabeled.views["strong"]]
        sizes = [len(view) for view in views]
        passes = [torch.cat(views)] if self.joint else [views[0], torch.cat(views[1:])]
        seen = [module.features(images) for images in passes]
        features = torch.cat(seen).split(sizes)
        logits, weak, strong = torch.cat([module.head(x) for x in seen]).split(sizes)
        supervised = module.labeled_loss(logits, labeled.target)
        outputs = dict(zip(self.gives, (logits, weak, strong, *features), strict=False))
        refined = module.refined(batch, outputs)
        consistency, mask = confident_consistency(refined["weak"], refined["strong"], self.threshold)
        metrics = {"loss_labeled": supervised, "loss_unlabeled": consistency, "confident": mask.float().mean()}
        outputs |= {"target": refined["weak"].detach().argmax(1), "mask": mask}
        return supervised + self.weight * consistency, metrics, outputs
