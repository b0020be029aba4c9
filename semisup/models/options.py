"""What can be chosen of a network and of its optimiser."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from semisup.losses import LabeledLoss
from semisup.models import SGD_OPTIONS
from semisup.models.normalization import Kind


@dataclass(frozen=True)
class ModelOptions:
    """The network.

    Args:
        backbone: its name (semisup list backbones), torchvision:NAME, or auto, by the size of the images.
        normalization: of the input: none (raw pixels in [0, 1]), channel (zero mean and unit variance over the labeled
            training images), yuv (brightness contrast-normalised locally, colours by channel), local7 and local15
            (every channel contrast-normalised under a Gaussian window of 7 or 15 pixels), or bytes (raw pixels in
            [0, 255]; matters where batch normalisation has an eps of 1e-3, as in sample, vgg_bn_drop and solution: it
            holds back pixels in [0, 1]).
        loss: of the labeled images: nll (cross-entropy), multi_margin (multi-class hinge), or mse (to one-hot targets).
            The last two don't make probabilities: those that strategies put a threshold on stay low.
        decay_norm_and_bias: apply weight decay to normalisation layers and biases as well.
        compile: compile the network that trains with torch.compile; pays on GPUs, after some minutes.
    """

    backbone: str = "auto"
    normalization: Kind = "channel"
    loss: LabeledLoss = "nll"
    decay_norm_and_bias: bool = False
    compile: bool = False


@dataclass(frozen=True)
class OptimizerOptions:
    """An optimiser of torch.optim, by name, and its own parameters."""

    name: str
    parameters: dict[str, Any]


SGD = OptimizerOptions("sgd", SGD_OPTIONS)
