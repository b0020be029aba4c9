"""What strategies share that train the backbone in a phase of their own, before the training."""

from __future__ import annotations

from torch import Tensor

from semisup.classifier import Classifier
from semisup.errors import require
from semisup.strategy import Strategy


class Pretraining(Strategy):
    """A phase that leaves a backbone, with which every training after it begins."""

    def __init__(self) -> None:
        self.backbone_: dict[str, Tensor] = {}  # as the pretraining left it; empty until then

    def require_trained(self, module: Classifier) -> None:
        """Refuses a backbone of which nothing is trained: it would be left as it is.

        Raises:
            InputError: such is this one.
        """
        name, options = type(self).__name__.lower(), module.options
        require(
            any(name not in module.network.frozen for name, _ in module.network.backbone.named_parameters()),
            f"{name} trains the backbone, and --model.adapt {options.adapt} --model.freeze {options.freeze} leaves all "
            f"of it as it is; type --model.adapt full, or leave {name} out of --strategy",
        )

    def keep(self, module: Classifier) -> None:
        """Keeps the backbone as it is now."""
        backbone = module.network.backbone
        self.backbone_ = {name: value.detach().cpu().clone() for name, value in backbone.state_dict().items()}

    def initialize(self, module: Classifier) -> None:
        """Puts the pretrained backbone in place."""
        if self.backbone_:
            module.network.backbone.load_state_dict(self.backbone_)
