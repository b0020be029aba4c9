"""Whether a backbone, whoever wrote it, is what `build` promises: seen on two made-up images before anything trains."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from semisup.errors import InputError


def checked(name: str, make: Callable[..., Any], in_channels: int, image_size: int) -> nn.Module:
    """Makes a backbone, and takes two images through it in evaluation mode; its weights and statistics stay as made.

    Args:
        name: what `--model.backbone` calls it.
        make: its class.
        in_channels: channels of the images.
        image_size: height and width of the images in pixels.

    Raises:
        InputError: it can't be made so, or breaks the contract: an `nn.Module` with an integer `num_features` that
            takes (B, in_channels, H, W) float32 to finite (B, num_features), in any batch, with a gradient.
    """
    size = f"{in_channels} {'channel' if in_channels == 1 else 'channels'} and {image_size} pixels a side"

    def refuse(problem: str) -> InputError:
        return InputError(f"the backbone {name!r} {problem}")

    try:
        backbone = make(in_channels=in_channels, image_size=image_size)
    except InputError:
        raise
    except Exception as error:  # whatever a stranger's class raises
        raise refuse(
            f"can't be made with in_channels={in_channels} and image_size={image_size}, by which every backbone is "
            f"made ({type(error).__name__}: {error})"
        ) from error
    if not isinstance(backbone, nn.Module):
        raise refuse(f"is no nn.Module but a {type(backbone).__name__}")
    width = getattr(backbone, "num_features", None)
    if not isinstance(width, int) or isinstance(width, bool) or width < 1:
        told = "" if width is None else f" of 1 or more (found {width!r})"
        raise refuse(f"has no integer attribute num_features{told}, the number of features that it gives")

    def features(batch: int) -> Tensor:
        images = torch.linspace(-1, 1, batch * in_channels * image_size**2)
        try:
            images = images.view(batch, in_channels, image_size, image_size)
            given = backbone(images.to(memory_format=torch.channels_last))
        except InputError:
            raise
        except Exception as error:
            raise refuse(f"can't take images of {size} ({type(error).__name__}: {error})") from error
        if not isinstance(given, Tensor):
            raise refuse(f"gives a {type(given).__name__}, but must give a tensor of (B, num_features)")
        if tuple(given.shape) != (batch, width):
            raise refuse(
                f"gives {tuple(given.shape)} for {batch} {'image' if batch == 1 else 'images'} of {size}, but must "
                f"give {(batch, width)}: (B, num_features)"
            )
        if not given.is_floating_point():
            raise refuse(f"gives features of {given.dtype}, but must give floats")
        if not given.is_meta and not bool(given.isfinite().all()):  # a meta tensor has a shape and no values
            raise refuse(f"gives features that are not finite, with fresh weights and images of {size}")
        return given

    backbone.to(memory_format=torch.channels_last)  # as the classifier holds it; a `view` of a map is refused then
    modes = [(module, module.training) for module in backbone.modules()]
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        backbone.eval()
        features(1)
        given = features(2)
        weights = [weight for weight in backbone.parameters() if weight.requires_grad]
        if weights:
            _check_gradient(given, weights, refuse)
    for module, training in modes:
        module.training = training
    return backbone


def _check_gradient(given: Tensor, weights: list[nn.Parameter], refuse: Callable[[str], InputError]) -> None:
    if not given.requires_grad:
        raise refuse(
            "gives features without a gradient, so that its weights would never be trained; take away what cuts it "
            "off (torch.no_grad, detach), or freeze the weights (requires_grad_(False))"
        )
    gradients = torch.autograd.grad(given.square().sum(), weights, allow_unused=True)
    if not any(gradient is not None for gradient in gradients):
        raise refuse("gives features that depend on none of its weights, which would never be trained")
    there = [gradient for gradient in gradients if gradient is not None and not gradient.is_meta]
    if not all(bool(gradient.isfinite().all()) for gradient in there):
        raise refuse("has a gradient that is not finite, with fresh weights")
