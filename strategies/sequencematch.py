"""SequenceMatch (Nguyen 2023, arXiv 2310.15787): weak, medium and strong views agree, each pair of them.

    semisup fit --strategy sequencematch --data stl10 --data.labels_per_class 4

FlexMatch's loss, and between each pair of views the divergence of the stronger one from the less strong one, sharpened,
where that is confident: medium from weak, strong from medium, and strong from weak. The terms, which confidence each
goes by (the fixed threshold, of the view that is the target), and the settings are those of the author's code; the
medium view, one operation of RandAugment in place of three, is as well. The benchmark USB has one mask, FlexMatch's of
the weak view, for all terms, and puts probabilities that are softmax already through a second one.
"""

from __future__ import annotations

import torch
from torch import Tensor

from semisup.batch import Batch, Needs
from semisup.classifier import Classifier
from semisup.losses import consistency, divergence
from semisup.ranges import Decay, NonNegative, Ratio, Share, Temperature, check_ranges
from semisup.strategy import Loss
from semisup.targets import probabilities
from strategies.flexmatch import FlexMatch


def confident_divergence(logits: Tensor, target: Tensor, threshold: float, temperature: float) -> Tensor:
    """Mean over all images of KL(softmax(target / T) || softmax(logits)), of confident targets, a scalar in nats.

    Args:
        logits: (B, classes) float.
        target: (B, classes) float logits; no gradient flows into them.
        threshold: least confidence of a target.
        temperature: T, of the sharpening.
    """
    return divergence(logits, probabilities(target, temperature), probabilities(target).max(1).values >= threshold)


class SequenceMatch(FlexMatch):
    """FlexMatch, and a medium view between the weak and the strong one, each pair of which agrees (Nguyen 2023).

    Args:
        ratio: unlabeled images for every labeled one in a batch (mu).
        threshold: least confidence of a target, and the threshold of a class that is learned completely (tau).
        temperature: of the sharpening (T).
        weight: weight of the unlabeled images in the loss.
        ema_decay: decay of the moving average that evaluates; 0 evaluates the weights that train.
    """

    refinable = False  # its divergences would not be

    def __init__(
        self,
        ratio: Ratio = 7,
        threshold: Share = 0.95,
        temperature: Temperature = 0.5,
        weight: NonNegative = 1.0,
        ema_decay: Decay = 0.999,
    ) -> None:
        check_ranges("sequencematch", SequenceMatch, locals())
        super().__init__(ratio, threshold, weight, ema_decay)
        self.temperature = temperature
        self.needs = Needs(unlabeled_views=("weak", "medium", "strong"), unlabeled_ratio=ratio)

    def loss(self, module: Classifier, batch: Batch) -> Loss:
        """Cross-entropy of labeled images and of strong views, and divergences between each pair of views."""
        labeled, unlabeled = batch.labeled, batch.unlabeled
        assert unlabeled is not None
        views = [labeled.views["weak"], *(unlabeled.views[name] for name in ("weak", "medium", "strong"))]
        (logits, weak, medium, strong), (*features, _, of_strong) = module.joint(*views)
        target, mask, thresholds = self.pseudo_labels(weak, unlabeled)
        supervised, unsupervised = module.labeled_loss(logits, labeled.target), consistency(strong, target, mask)
        pairs = {"medium_weak": (medium, weak), "strong_medium": (strong, medium), "strong_weak": (strong, weak)}
        apart = {f"loss_{k}": confident_divergence(*x, self.threshold, self.temperature) for k, x in pairs.items()}
        metrics = {"loss_labeled": supervised, "loss_unlabeled": unsupervised, "threshold": thresholds.mean(), **apart}
        given = (logits, weak, strong, *features, of_strong, target, mask)
        total = supervised + self.weight * (unsupervised + torch.stack(list(apart.values())).sum())
        return total, metrics, dict(zip(self.gives, given, strict=True))
