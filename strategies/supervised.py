"""Supervised training: the arm that every semi-supervised strategy is compared with.

semisup fit --strategy supervised
semisup fit --strategy supervised --supervised.view strong --supervised.ema_decay 0.999
"""

from __future__ import annotations

from typing import Literal

from semisup.batch import Batch, Needs
from semisup.classifier import Classifier
from semisup.ranges import Decay, check_ranges
from semisup.strategy import Loss, LossStrategy


class Supervised(LossStrategy):
    """Cross-entropy on the labeled images alone; the arm to compare with.

    Args:
        view: the augmentation of the labeled images, weak or strong; strong for a fair comparison with strategies that
            augment strongly.
        ema_decay: decay of a moving average of the weights that evaluates in their place; 0 for none. .999 looks back
            over a thousand steps or, where that is less, over a ninth of those taken.
    """

    def __init__(self, view: Literal["weak", "strong"] = "weak", ema_decay: Decay = 0.0) -> None:
        check_ranges("supervised", Supervised, locals())
        self.view, self.ema_decay = view, ema_decay
        self.needs = Needs(labeled_views=(view,))

    def loss(self, module: Classifier, batch: Batch) -> Loss:
        """The loss of the labeled images."""
        return module.labeled_loss(module(batch.labeled.views[self.view]), batch.labeled.target), {}
