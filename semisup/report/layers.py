"""The structure of a network, as it is found by sending an image through it."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn

from semisup.classifier import Classifier
from semisup.escape import TIMES
from semisup.models.modes import evaluation_mode


@dataclass(frozen=True)
class Layer:
    """A layer, and what it gives.

    Attributes:
        name: where it is in the network, such as `backbone.body.0`; empty for what isn't a module.
        kind: its class, and what matters of its options; what only changes values follows it: `BatchNorm2d, ReLU`.
        shape: of its output for one image.
        parameters: its own, each counted where the network first uses it.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    parameters: int


def layers(module: Classifier) -> list[Layer]:
    """The layers in the order in which an image passes them.

    What a network computes without a layer shows in the shapes alone. The backbone's last row is its features.
    """
    network = module.network
    names = {layer: name for name, layer in network.named_modules()}
    rows: list[Layer] = []
    counted: set[nn.Parameter] = set()

    def add(layer: nn.Module, inputs: object, output: object) -> None:
        own = [parameter for parameter in layer.parameters(recurse=False) if parameter not in counted]
        counted.update(own)
        shape = _shape(output)
        whole = layer is network.backbone
        if whole and rows[-1].shape != shape:
            rows.append(Layer(names[layer], "features", shape, sum(p.numel() for p in own)))
        elif isinstance(layer, nn.Identity) or (whole and not own) or (not _is_leaf(layer) and not own):
            return
        elif not own and rows and rows[-1].shape == shape and _is_leaf(layer):
            rows[-1] = replace(rows[-1], kind=f"{rows[-1].kind}, {kind(layer)}")
        else:
            rows.append(Layer(names[layer], kind(layer), shape, sum(p.numel() for p in own)))

    with ExitStack() as stack:
        stack.enter_context(evaluation_mode(module))
        for layer in network.modules():
            if layer is not network:
                stack.callback(layer.register_forward_hook(partial(add)).remove)
        spec = module.spec
        network(torch.zeros(1, spec.channels, spec.image_size, spec.image_size, device=module.device))
    rest = sum(p.numel() for p in network.parameters() if p not in counted)
    return [*rows, Layer("", "parameters outside of these layers", (), rest)] if rest else rows


def kind(layer: nn.Module) -> str:
    """A layer's class, and its kernel, stride or rate: `MaxPool2d 2x2, stride 2`, `Dropout 0.5`."""
    name = type(layer).__name__
    if isinstance(layer, nn.modules.dropout._DropoutNd):
        return f"{name} {layer.p:g}"
    size = getattr(layer, "kernel_size", None)
    if size is None:
        return name
    stride = _pair(getattr(layer, "stride", None) or size)
    step = "" if stride == (1, 1) else f", stride {stride[0]}" if len({*stride}) == 1 else f", stride {times(stride)}"
    return f"{name} {times(_pair(size))}{step}"


def _is_leaf(layer: nn.Module) -> bool:
    return next(layer.children(), None) is None


def _shape(output: object) -> tuple[int, ...]:
    while isinstance(output, tuple | list) and output:
        output = output[0]
    return tuple(output.shape[1:]) if isinstance(output, Tensor) else ()


def _pair(size: int | tuple[int, ...]) -> tuple[int, ...]:
    return (size, size) if isinstance(size, int) else tuple(size)


def times(sizes: tuple[int, ...]) -> str:
    """Sizes with multiplication signs between them."""
    return TIMES.join(map(str, sizes))
