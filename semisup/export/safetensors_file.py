"""A network's weights as safetensors, for who has the network's code."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from semisup.errors import InputError
from semisup.export.metadata import description
from semisup.models.adapt import merged

if TYPE_CHECKING:
    from semisup.classifier import Classifier


def write(classifier: Classifier, path: Path) -> None:
    save_file = _safetensors_package().save_file
    of_it = description(classifier)
    of_it["input"] = (
        f"of the network {classifier.backbone_name} with its head: images, float32 in [0, 1], (N, "
        f"{classifier.spec.channels}, {classifier.spec.image_size}, {classifier.spec.image_size})"
    )
    of_it["output"] = f"logits, float32 (N, {len(classifier.spec.class_names)})"
    save_file({name: x.contiguous() for name, x in merged(classifier.scored.state_dict()).items()}, path, of_it)


def opened(classifier: Classifier, path: Path) -> Callable[[Tensor], Tensor]:
    model = replace(classifier.options, backbone=classifier.backbone_name, adapt="full", freeze=0)
    network = type(classifier)(classifier.spec, model=model, restored=True).eval().network
    try:
        network.load_state_dict(_safetensors_package().load_file(path))
    except RuntimeError as error:  # of weights of an earlier definition, which no name in the file could tell
        raise InputError(f"the weights are of an earlier {classifier.backbone_name}; type --format onnx") from error
    return lambda images: network(images.float() / 255).float().softmax(1)


def _safetensors_package():  # type: ignore[no-untyped-def]
    try:
        from safetensors import torch as safetensors
    except ImportError as error:
        raise InputError("safetensors takes a package: type pip install safetensors") from error
    return safetensors
