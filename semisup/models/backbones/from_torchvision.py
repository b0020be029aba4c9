"""Networks of torchvision: `--model.backbone torchvision:NAME`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from semisup.errors import InputError, did_you_mean, require
from semisup.models.inputs import Input

PREFIX = "torchvision:"
_LARGEST = 320  # pixels; no network of torchvision needs more
_AUXILIARY = ("googlenet", "inception_v3")  # give a tuple while training unless told otherwise


class Torchvision(nn.Module):
    """A classification network of torchvision with its last linear layer removed.

    Its first convolution is replaced by one of PyTorch's default initialisation where the images don't have 3 channels.
    All other weights are as torchvision initialises them.

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
        require(bool(linears), f"{PREFIX}{name} ends in no linear layer; type, for example, --model.backbone solution")
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


def expected(name: str) -> Input:
    """The images that the pretrained weights of a network were trained on.

    Raises:
        InputError: there is no such network.
    """
    from torchvision import models

    require(name in names(), f"torchvision has no network {name!r}{did_you_mean(name, names())}")
    own = models.get_model_weights(name).DEFAULT.transforms()
    return Input(own.crop_size[0], 3, tuple(own.mean), tuple(own.std), own.interpolation.value)


def normalises_layers(name: str) -> bool:
    """Whether there is layer normalisation in a network."""
    size = expected(name).size
    return any(isinstance(part, nn.LayerNorm) for part in _on_meta(name, 3, size).modules())


def pretrained(name: str) -> tuple[str, Callable[[], dict[str, Tensor]]]:
    """Where the pretrained weights of a network are, and what fetches them, or finds them in the library's cache."""
    from torchvision import models

    url = str(models.get_model_weights(name).DEFAULT.url)
    return url, lambda: torch.hub.load_state_dict_from_url(url, map_location="cpu", weights_only=True)


def names() -> list[str]:
    """Its classification networks."""
    from torchvision import models

    known: list[str] = models.list_models(module=models)
    return known


def build(name: str, in_channels: int, image_size: int) -> Torchvision:
    """A network with fresh random weights that takes such images.

    Raises:
        InputError: there is no such network, or it can't take images this small.
    """
    require(name in names(), f"torchvision has no network {name!r}{did_you_mean(name, names())}")
    if not _fits(name, in_channels, image_size):
        sizes = range(image_size + 1, _LARGEST + 1)
        fitting = next((size for size in sizes if _fits(name, in_channels, size)), None)
        advice = f"the next size that it takes is {fitting}; " if fitting else ""
        raise InputError(
            f"{PREFIX}{name} can't take images of {image_size} pixels; {advice}or type --model.backbone small"
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
