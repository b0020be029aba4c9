"""A strategy as a stranger would write it: the one that docs/extend.md shows."""

import torch.nn.functional as F

from semisup.batch import Needs
from semisup.strategy import LossStrategy


class Entropy(LossStrategy):
    """Cross-entropy, and confident predictions on unlabeled images (Grandvalet & Bengio 2005).

    Args:
        weight: weight of the unlabeled images' entropy in the loss.
    """

    def __init__(self, weight: float = 0.1) -> None:
        self.weight = weight
        self.needs = Needs(unlabeled_views=("weak",), unlabeled_ratio=1)

    def loss(self, module, batch):
        supervised = F.cross_entropy(module(batch.labeled.views["weak"]), batch.labeled.target)
        logits = module(batch.unlabeled.views["weak"])
        entropy = -(logits.softmax(1) * logits.log_softmax(1)).sum(1).mean()
        return supervised + self.weight * entropy, {"entropy": entropy}
