"""Networks of timm: `--model.backbone timm:NAME`, also `timm:NAME.TAG` for one of several pretrained versions.

timm comes with the extra `[timm]`.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

from semisup.errors import InputError, did_you_mean, require
from semisup.models.inputs import Input
from semisup.models.modes import evaluation_mode

PREFIX = "timm:"


class Timm(nn.Module):
    """A network of timm without its classifier, of three channels.

    Args:
        name: its name in timm, with or without the tag of a pretrained version.
        image_size: height and width of the images in pixels.

    Raises:
        InputError: there is no such network, or it can't take images of this size.
    """

    def __init__(self, name: str, image_size: int) -> None:
        super().__init__()
        timm, own = _timm(), configuration(name)
        # A transformer is built for one size; convolutions take any.
        options: dict[str, Any] = {"img_size": image_size} if own["fixed_input_size"] else {}
        try:
            self.network: nn.Module = timm.create_model(name, pretrained=False, num_classes=0, **options)
        except (AssertionError, RuntimeError, ValueError, TypeError) as error:  # each refuses sizes in its own way
            raise _refused(name, image_size, own["input_size"][-1], error) from error
        self.num_features = int(self.network.head_hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) floats -> (B, num_features)."""
        features: Tensor = self.network(x)
        return features


def configuration(name: str) -> dict[str, Any]:
    """What timm says of the images that a network is trained on, and where its weights are.

    Raises:
        InputError: timm is not installed, or has no such network or version.
    """
    timm = _timm()
    architecture, _, tag = name.partition(".")
    # A name of another kind, such as hf-hub:OWNER/NAME, would make timm download what it is.
    known = set(timm.list_models())
    require(architecture in known, f"timm has no network {architecture!r}{did_you_mean(architecture, known)}")
    tags = [full.partition(".")[2] for full in timm.list_pretrained(f"{architecture}.*")]
    require(not tag or tag in tags, f"timm has no weights {tag!r} of {architecture}{did_you_mean(tag, tags)}")
    own: dict[str, Any] = timm.get_pretrained_cfg(name).to_dict()
    return own


def expected(name: str) -> Input:
    """The images that a network of timm was trained on, as its configuration says."""
    own = configuration(name)
    mode = "bilinear" if own["interpolation"] == "bilinear" else "bicubic"
    return Input(own["input_size"][-1], 3, tuple(own["mean"]), tuple(own["std"]), mode)


def normalises_layers(name: str) -> bool:
    """Whether there is layer normalisation in a network."""
    timm = _timm()
    configuration(name)
    try:
        with torch.device("meta"):
            network = timm.create_model(name, num_classes=0)
    except (RuntimeError, NotImplementedError):  # of one that computes with values while it is built
        with torch.random.fork_rng():
            network = timm.create_model(name, num_classes=0)
    return any(isinstance(part, nn.LayerNorm) for part in network.modules())


def pretrained(name: str) -> tuple[str, Callable[[], dict[str, Tensor]]]:
    """Where the pretrained weights of a network are, and what fetches them, or finds them in the library's cache.

    Raises:
        InputError: there are none.
    """
    own = configuration(name)
    if own.get("hf_hub_id") and not own.get("custom_load"):
        from timm.models import load_state_dict_from_hf

        file = own.get("hf_hub_filename") or "model.safetensors"
        url = f"https://huggingface.co/{own['hf_hub_id']}/resolve/main/{file}"
        return url, lambda: load_state_dict_from_hf(own["hf_hub_id"], file)
    require(bool(own.get("url")) and not own.get("custom_load"), f"timm has no pretrained weights of {name} as tensors")
    url = str(own["url"])
    return url, lambda: torch.hub.load_state_dict_from_url(url, map_location="cpu", weights_only=True)


def stages(network: nn.Module) -> list[list[str]]:
    """The names of a network's parameters by the stages that timm says it has, from the input."""
    from timm.models import group_parameters

    grouped = group_parameters(network, network.group_matcher(coarse=True))  # type: ignore[operator]
    return [grouped[number] for number in sorted(grouped)]


def build(name: str, image_size: int) -> Timm:
    """A network with fresh random weights that takes images of this size.

    Raises:
        InputError: as `Timm`, or images are too small for it.
    """
    network, own = Timm(name, image_size), expected(name)
    if image_size >= own.size:
        return network
    with evaluation_mode(network):
        try:
            network(torch.zeros(1, 3, image_size, image_size))
        except (AssertionError, RuntimeError, ValueError) as error:
            raise _refused(name, image_size, own.size, error) from error
    return network


def _refused(name: str, image_size: int, own: int, error: Exception) -> InputError:
    why = " ".join(str(error).split())[:200]
    return InputError(f"{PREFIX}{name} can't take images of {image_size} pixels ({why}); type --model.input_size {own}")


def _timm() -> Any:
    require(find_spec("timm") is not None, "timm is not installed; type pip install 'semisup[timm]'")
    import timm

    return timm
