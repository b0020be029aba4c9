"""What strategies share that train the backbone in a phase of their own, before the training."""

from __future__ import annotations

from torch import Tensor

from semisup.classifier import Classifier
from semisup.strategy import Strategy


class Pretraining(Strategy):
    """A phase that leaves a backbone, with which every training after it begins."""

    def __init__(self) -> None:
        self.backbone_: dict[str, Tensor] = {}  # as the pretraining left it; empty until then

    def keep(self, module: Classifier) -> None:
        """Keeps the backbone as it is now."""
        backbone = module.network.backbone
        self.backbone_ = {name: value.detach().cpu().clone() for name, value in backbone.state_dict().items()}

    def initialize(self, module: Classifier) -> None:
        """Puts the pretrained backbone in place."""
        if self.backbone_:
            module.network.backbone.load_state_dict(self.backbone_)
