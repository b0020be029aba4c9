"""What is inside of a network: its first filters, and what it makes of images after each of its stages."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial

import torch
from torch import Tensor, nn

from semisup.classifier import Classifier
from semisup.errors import InputError
from semisup.models.modes import evaluation_mode
from semisup.models.network import Network

_POOLINGS = (nn.MaxPool2d, nn.AvgPool2d, nn.LPPool2d)
LAST = "features"


def stages(backbone: nn.Module) -> dict[str, nn.Module]:
    """The layers that a backbone's stages end in, by name.

    These are the pooling layers that shrink the maps, `pooling 1` and so on. Where there are less than two, as in
    residual networks, they are the `nn.Sequential` children of the module that has the most of them, `stage 1` and so
    on; there may be none. The features that the backbone gives are not among them.
    """
    poolings = [layer for layer in backbone.modules() if isinstance(layer, _POOLINGS) and _shrinks(layer)]
    if len(poolings) > 1:
        return {f"pooling {number}": layer for number, layer in enumerate(poolings, 1)}
    groups = ([child for child in x.children() if isinstance(child, nn.Sequential)] for x in backbone.modules())
    most = max(groups, key=len)
    return {f"stage {number}": layer for number, layer in enumerate(most, 1)} if len(most) > 1 else {}


def _shrinks(pooling: nn.MaxPool2d | nn.AvgPool2d | nn.LPPool2d) -> bool:
    return (pooling.stride or pooling.kernel_size) not in (1, (1, 1))


def stage_features(module: Classifier, images: Tensor, batch_size: int) -> Iterator[tuple[str, Tensor]]:
    """What the weights that evaluate make of images: name and (N, F) float32 on the CPU, stage after stage.

    The last one, `features`, is what the linear head is given.

    Args:
        module: the classifier.
        images: (N, C, H, W) uint8.
        batch_size: images at once.
    """
    backbone = _backbone(module)
    layers = {**stages(backbone), LAST: backbone}
    kept: dict[str, list[Tensor]] = {name: [] for name in layers}

    def keep(name: str, layer: nn.Module, inputs: object, output: Tensor) -> None:
        kept[name].append(output.flatten(1).float().cpu())

    with ExitStack() as stack:
        stack.enter_context(evaluation_mode(module))
        for name, layer in layers.items():
            stack.callback(layer.register_forward_hook(partial(keep, name)).remove)
        for part in images.split(batch_size):
            module.evaluate(part.to(module.device).float() / 255)
    for name in layers:
        yield name, torch.cat(kept.pop(name))  # popped, as the first stages' maps take hundreds of megabytes


def first_filters(module: Classifier) -> Tensor:
    """The weights (n, C, h, w) of the first convolution, of those that evaluate.

    Raises:
        InputError: the network has no convolution, or the first one is 1x1.
    """
    layer = next((x for x in _backbone(module).modules() if isinstance(x, nn.Conv2d)), None)
    if layer is None or layer.kernel_size == (1, 1):
        raise InputError(f"the backbone {module.backbone_name} doesn't begin with filters larger than a pixel")
    return layer.weight.detach()


def _backbone(module: Classifier) -> nn.Module:
    """The backbone whose weights evaluate."""
    network = module.ema.average if module.ema else module.network
    assert isinstance(network, Network)
    return network.backbone
