"""What a file says of itself, and what the network in it says of pixels."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from torch import Tensor, nn

if TYPE_CHECKING:
    from semisup.classifier import Classifier

PREPARATION = (
    "turn a picture upright by its EXIF orientation, put it before the background where it is transparent, make it {"
    "colours} of 8 bits"
)


class Probabilities(nn.Module):
    """What a file holds: pixels (N, C, S, S) float32 in [0, 1] to probabilities (N, classes) float32."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixels: Tensor) -> Tensor:
        probabilities: Tensor = self.network(pixels).float().softmax(1)
        return probabilities


def description(classifier: Classifier) -> dict[str, str]:
    """What a file says of itself, as texts: its classes as JSON, what it takes and gives, and what it is of."""
    spec, how = classifier.spec, classifier.preprocessing.how
    colours = "RGB" if spec.channels == 3 else "grey"
    return {
        "classes": json.dumps(spec.class_names),
        "image_size": str(spec.image_size),
        "channels": str(spec.channels),
        "input": f"images, uint8 (N, {spec.channels}, H, W), {colours}; the shorter side is resized to "
        f"{spec.image_size} and the middle cut out",
        "output": f"probabilities, float32 (N, {len(spec.class_names)})",
        "preparation": PREPARATION.format(colours=colours),
        "background": json.dumps(how.background),
        "backbone": classifier.backbone_name,
        "normalization": classifier.options.normalization,
        "producer": "semisup",
    }
