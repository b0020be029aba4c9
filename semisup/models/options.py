"""What can be chosen of a network and of its optimiser."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

from semisup.errors import check, require
from semisup.losses import LabeledLoss
from semisup.models import SGD_OPTIONS
from semisup.models.adapt import Adapt, BatchNorm
from semisup.models.normalization import Kind


@dataclass(frozen=True)
class ModelOptions:
    """The network.

    Args:
        backbone: its name (semisup list backbones), torchvision:NAME, timm:NAME, or auto, by the size of the images.
        input_size: height and width in pixels that images are brought to before the backbone, a batch at a time; by
            default a network's own where it is of timm or begins with pretrained weights, else that of the images.
        weights: what the backbone begins with: pretrained (those that timm or torchvision offer for it), the path of a
            file of tensors (safetensors or of torch), or of a run or a checkpoint, of which its backbone is taken as it
            was scored; none begins with random ones. Not asked for again where a run goes on or predicts.
        adapt: what of the backbone is trained: full (all), head (nothing: only the linear head behind it), lora
            (changes of low rank to its weights), bitfit (its biases), or norm (its normalisation layers).
        draws: under head, of every view that a strategy asks for so many draws are made of each image, and their
            features computed once and kept on disk for all runs (semisup/features/cached.py), or as many as fit into
            half of the free disk; 0 computes those of a fresh draw in every step.
        freeze: stages of the backbone that are not trained, counted from the input.
        lora_rank: rank of the changes.
        layer_decay: each stage of the backbone learns this much more slowly than the one behind it; 1 for equally.
        batchnorm: train, frozen (normalises by the running statistics that it begins with), or auto: frozen under
            lora and bitfit, and wherever nothing of a backbone or a stage is trained.
        normalization: of the input: none (raw pixels in [0, 1]), channel (zero mean and unit variance over the labeled
            training images, or those that the network's weights were trained on), yuv (brightness contrast-normalised
            locally, colours by channel), local7 and local15 (every channel contrast-normalised under a Gaussian window
            of 7 or 15 pixels), or bytes (raw pixels in [0, 255]; matters where batch normalisation has an eps of 1e-3,
            as in sample, vgg_bn_drop and solution: it holds back pixels in [0, 1]).
        loss: of the labeled images: nll (cross-entropy), multi_margin (multi-class hinge), or mse (to one-hot targets).
            The last two don't make probabilities: those that strategies put a threshold on stay low.
        class_weights: what a labeled image of each class weighs in that loss: none (all the same), balanced (each class
            as much in all), or a number for each class, in their order: `[1, 2.5, 1]`.
        decay_norm_and_bias: apply weight decay to normalisation layers and biases as well.
        compile: compile the network that trains with torch.compile, and on accelerators the views; pays on GPUs, after
            some minutes. reduce-overhead captures the network in CUDA graphs as well, for batches that never change
            their size. What was compiled is kept for the next run.
    """

    backbone: str = "auto"
    input_size: int | None = None
    weights: str | None = None
    adapt: Adapt = "full"
    draws: int = 4
    freeze: int = 0
    lora_rank: int = 8
    layer_decay: float = 1.0
    batchnorm: BatchNorm = "auto"
    normalization: Kind = "channel"
    loss: LabeledLoss = "nll"
    class_weights: Literal["none", "balanced"] | list[float] = "none"
    decay_norm_and_bias: bool = False
    compile: bool | Literal["reduce-overhead"] = False

    def __post_init__(self) -> None:
        # Refused before the data is opened; whether a network has so many stages, only it can say.
        least = {"draws": (self.draws, 0), "freeze": (self.freeze, 0)}
        least |= {"lora_rank": (self.lora_rank, 1), "input_size": (self.input_size or 1, 1)}
        check("model", **{name: (value, fewest, math.inf) for name, (value, fewest) in least.items()})
        require(0 < self.layer_decay <= 1, f"model.layer_decay is {self.layer_decay}; it must be over 0 and at most 1")


@dataclass(frozen=True)
class OptimizerOptions:
    """An optimiser of torch.optim, by name, and its own parameters."""

    name: str
    parameters: dict[str, Any]


SGD = OptimizerOptions("sgd", SGD_OPTIONS)
