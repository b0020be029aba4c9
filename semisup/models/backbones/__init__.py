"""Backbones: networks that turn images into features; the linear head that turns these into classes is not in here.

A backbone is a class constructed as `Cls(in_channels, image_size)`, an `nn.Module` with an integer `num_features`,
whose `forward` takes (B, C, H, W) floats to (B, num_features), which semisup/models/backbones/contract.py holds it to.
It is found by its name in the entry points `semisup.backbones`; `torchvision:<name>` is any classification network of
torchvision, `timm:<name>` any of timm.
"""

from __future__ import annotations

from dataclasses import replace

from torch import nn

from semisup import plugins
from semisup.errors import InputError, require
from semisup.models.backbones import contract, from_timm, from_torchvision
from semisup.models.inputs import Input, Resize

LARGEST = 4096  # pixels that a side of an image may have


def choose(image_size: int) -> str:
    """The backbone that `--model.backbone auto` stands for: as large as the images deserve.

    Args:
        image_size: height and width of the images in pixels.
    """
    if image_size <= 16:
        return "small"
    return "wrn-28-2" if image_size <= 64 else "solution"


def is_transformer(name: str) -> bool:
    """Whether a backbone of timm or torchvision normalises layers, as transformers do and what was made after them.

    Raises:
        InputError: there is no such network.
    """
    if name.startswith(from_timm.PREFIX):
        return from_timm.normalises_layers(name.removeprefix(from_timm.PREFIX))
    if name.startswith(from_torchvision.PREFIX):
        return from_torchvision.normalises_layers(name.removeprefix(from_torchvision.PREFIX))
    return False


def expected(name: str, channels: int, image_size: int, input_size: int | None = None, trained: bool = False) -> Input:
    """The images that a backbone is to be built for.

    Networks of timm, and those of torchvision that don't begin with random weights, have a size, channels and
    statistics of their own; all others take what the dataset has.

    Args:
        name: an installed backbone, `torchvision:<name>` or `timm:<name>`.
        channels: of the dataset's images.
        image_size: their height and width in pixels.
        input_size: height and width that are asked for; None for those that are usual.
        trained: whether it begins with weights that were trained elsewhere.

    Raises:
        InputError: there is no such network.
    """
    own = Input(image_size, channels)
    if name.startswith(from_timm.PREFIX):
        own = from_timm.expected(name.removeprefix(from_timm.PREFIX))
    elif trained and name.startswith(from_torchvision.PREFIX):
        own = from_torchvision.expected(name.removeprefix(from_torchvision.PREFIX))
    require(channels in (1, own.channels), f"{name} takes images of {own.channels} channels, and these have {channels}")
    size = own.size if input_size is None else input_size
    require(1 <= size <= LARGEST, f"model.input_size is {size}, but must be from 1 to {LARGEST}")
    return replace(own, size=size)


def build(name: str, in_channels: int, image_size: int) -> nn.Module:
    """Builds a backbone with fresh random weights.

    Args:
        name: an installed backbone, `torchvision:<name>` or `timm:<name>`.
        in_channels: channels of the images, 1 or more; 3 for those of timm.
        image_size: height and width of the images in pixels.

    Returns:
        A module with an integer `num_features` that takes (B, in_channels, H, W) floats to (B, num_features).

    Raises:
        InputError: there is no such backbone, it can't take images this small, or it is not a backbone at all.
    """
    require(in_channels >= 1, f"images have {in_channels} channels; a backbone needs 1 or more")
    require(image_size >= 1, f"images have {image_size} pixels a side; a backbone needs 1 or more")
    if name.startswith(from_torchvision.PREFIX):
        return from_torchvision.build(name.removeprefix(from_torchvision.PREFIX), in_channels, image_size)
    if name.startswith(from_timm.PREFIX):
        return from_timm.build(name.removeprefix(from_timm.PREFIX), image_size)
    if name not in plugins.installed(plugins.BACKBONES) and name in from_torchvision.names():
        raise InputError(f"{name!r} is a network of torchvision; type --model.backbone {from_torchvision.PREFIX}{name}")
    return contract.checked(name, plugins.load(plugins.BACKBONES, name), in_channels, image_size)


def resizing(backbone: nn.Module, wanted: Input) -> nn.Module:
    """A backbone that makes images of another size what it takes; one that is given the right ones is left alone."""
    backbone.register_forward_pre_hook(Resize(wanted))
    return backbone
