"""Backbones: networks that turn images into features; the linear head that turns these into classes is not in here.

A backbone is a class constructed as `Cls(in_channels, image_size)`, an `nn.Module` with an integer `num_features`,
whose `forward` takes (B, C, H, W) floats to (B, num_features), which semisup/models/backbones/contract.py holds it to.
It is found by its name in the entry points
`semisup.backbones`; `torchvision:<name>` is any classification network of torchvision.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from semisup import plugins
from semisup.errors import InputError, did_you_mean, require
from semisup.models.backbones import contract

_PREFIX = "torchvision:"
_LARGEST = 320  # pixels; no network of torchvision needs more
_AUXILIARY = ("googlenet", "inception_v3")  # give a tuple while training unless told otherwise


def choose(image_size: int) -> str:
    """The backbone that `--model.backbone auto` stands for: as large as the images deserve.

    Args:
        image_size: height and width of the images in pixels.
    """
    if image_size <= 16:
        return "small"
    return "wrn-28-2" if image_size <= 64 else "solution"


def build(name: str, in_channels: int, image_size: int) -> nn.Module:
    """Builds a backbone with fresh random weights.

    Args:
        name: an installed backbone, or `torchvision:<name>`.
        in_channels: channels of the images, 1 or more.
        image_size: height and width of the images in pixels.

    Returns:
        A module with an integer `num_features` that takes (B, in_channels, H, W) floats to (B, num_features).

    Raises:
        InputError: there is no such backbone, it can't take images this small, or it is not a backbone at all.
    """
    require(in_channels >= 1, f"images have {in_channels} channels; a backbone needs 1 or more")
    require(image_size >= 1, f"images have {image_size} pixels a side; a backbone needs 1 or more")
    if name.startswith(_PREFIX):
        return _build_torchvision(name.removeprefix(_PREFIX), in_channels, image_size)
    if name not in plugins.installed(plugins.BACKBONES) and name in _torchvision_names():
        raise InputError(f"{name!r} is a network of torchvision; type --model.backbone {_PREFIX}{name}")
    return contract.checked(name, plugins.load(plugins.BACKBONES, name), in_channels, image_size)


class Torchvision(nn.Module):
    """A classification network of torchvision with its last linear layer removed.

    Its first convolution is replaced by one of PyTorch's default initialisation where the images don't have 3 channels.
    All other weights are as torchvision initialises them; nothing is pretrained.

    Args:
        name: a name that `torchvision.models.list_models` knows.
        in_channels: channels of the images.
        image_size: height and width of the images in pixels; only transformers are built for one size.

    Raises:
        InputError: the network ends in no linear layer.
    """

    def __init__(self, name: str, in_channels: int, image_size: int) -> None:
        super().__init__()
        from torchvision import models

        options: dict[str, Any] = {}
        if name in _AUXILIARY:
            options = {"aux_logits": False, "init_weights": True}
        elif name.startswith("vit_"):
            options = {"image_size": image_size}
        elif name.startswith("maxvit"):
            options = {"input_size": (image_size, image_size)}
        self.network: nn.Module = models.get_model(name, weights=None, **options)
        linears = [(path, module) for path, module in self.network.named_modules() if isinstance(module, nn.Linear)]
        require(bool(linears), f"{_PREFIX}{name} ends in no linear layer; type, for example, --model.backbone solution")
        path, head = linears[-1]
        self.network.set_submodule(path, nn.Identity())
        self.num_features = head.in_features
        if in_channels != 3:
            path, first = next((p, m) for p, m in self.network.named_modules() if isinstance(m, nn.Conv2d))
            self.network.set_submodule(path, _with_channels(first, in_channels))

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, H, W) floats -> (B, num_features)."""
        features: Tensor = self.network(x)
        return features


def _with_channels(convolution: nn.Conv2d, in_channels: int) -> nn.Conv2d:
    """A convolution like the given one, for images of `in_channels` channels."""
    return nn.Conv2d(
        in_channels,
        convolution.out_channels,
        (convolution.kernel_size[0], convolution.kernel_size[1]),
        (convolution.stride[0], convolution.stride[1]),
        convolution.padding if isinstance(convolution.padding, str) else tuple(convolution.padding),  # type: ignore[arg-type]
        bias=convolution.bias is not None,
    )


def _torchvision_names() -> list[str]:
    from torchvision import models

    names: list[str] = models.list_models(module=models)
    return names


def _build_torchvision(name: str, in_channels: int, image_size: int) -> Torchvision:
    names = _torchvision_names()
    if name not in names:
        raise InputError(f"torchvision has no network {name!r}{did_you_mean(name, names)}")
    if not _fits(name, in_channels, image_size):
        sizes = range(image_size + 1, _LARGEST + 1)
        fitting = next((size for size in sizes if _fits(name, in_channels, size)), None)
        advice = f"the next size that it takes is {fitting}; " if fitting else ""
        raise InputError(
            f"{_PREFIX}{name} can't take images of {image_size} pixels; {advice}or type --model.backbone small"
        )
    return Torchvision(name, in_channels, image_size)


def _fits(name: str, in_channels: int, image_size: int) -> bool:
    """Whether a network takes images of this size: only shapes are computed, on the meta device."""
    try:
        network = _on_meta(name, in_channels, image_size).eval()
        with torch.no_grad():
            shape = network(torch.empty(2, in_channels, image_size, image_size, device="meta")).shape
    except InputError:
        raise
    except (RuntimeError, ValueError, AssertionError):  # how layers refuse a size differs from layer to layer
        return False
    return tuple(shape) == (2, network.num_features)


def _on_meta(name: str, in_channels: int, image_size: int) -> Torchvision:
    try:
        with torch.device("meta"):
            return Torchvision(name, in_channels, image_size)
    except NotImplementedError:  # the regnets compute their widths with tensors, which need values for that
        return Torchvision(name, in_channels, image_size).to("meta")
