"""The weights that a backbone begins with: `--model.weights pretrained | FILE | RUN`.

    semisup fit --data folder --data.root pictures --model timm:vit_small_patch14_dinov2 --model.weights pretrained
    semisup fit --data stl10 --model solution --model.weights runs/stl10/exemplar/...

They are placed by their names. Whatever does not fit is named: a tensor that the backbone needs and the source has not
is an error, one that only the source has is left out and said, and one of another shape is brought to the backbone's
where that is usual (position embeddings are interpolated, filters of three channels summed for one) or is an error.
"""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semisup.errors import InputError, require
from semisup.models.adapt import merged, plain
from semisup.models.backbones import from_timm, from_torchvision
from semisup.runs import checkpoint_file, run_files
from semisup.runs.directory import find_checkpoint
from semisup.runs.paths import local

PRETRAINED = "pretrained"
_MAX_BYTES = 1 << 36  # bytes of a file
_PREFIXES = ("", "module.", "model.", "backbone.", "network.", "encoder.")  # that names have elsewhere
_WRAPPED = ("state_dict", "model", "model_state_dict")  # what the weights lie under in files of training code
_COUNTS = "num_batches_tracked"  # of batch normalisation, by which nothing is computed
_PREFIX_TOKENS = range(6)  # of a transformer: class and register tokens, which have no place in the image


@dataclass(frozen=True)
class Start:
    """Weights that are placed in a backbone.

    Attributes:
        source: what they are of, to be read by a person.
        checksum: SHA-256 of names and values.
        tensors: name in the backbone -> values.
        statistics: mean and standard deviation of the images that they were trained on, and the kind of normalisation
            that these are of; None where the backbone knows its own.
        said: what did not fit, a line each.
    """

    source: str
    checksum: str
    tensors: dict[str, Tensor]
    statistics: tuple[str, Tensor, Tensor] | None
    said: tuple[str, ...]

    @property
    def origin(self) -> dict[str, str]:
        """What a checkpoint records of it."""
        return {"source": self.source, "sha256": self.checksum}


def read(weights: str, name: str, backbone: nn.Module) -> Start:
    """The weights that an option names, as a backbone takes them.

    Args:
        weights: `pretrained`, the path of a file of tensors (safetensors, or one that torch wrote), or of a run.
        name: the backbone's.
        backbone: which is left as it is.

    Raises:
        InputError: there are no such weights, or they are of another network.
    """
    statistics = None
    if weights == PRETRAINED:
        source, tensors = _pretrained(name)
    elif (path := local(weights)).is_dir() or path.suffix == ".ckpt":
        source, tensors, statistics = _of_run(path, name)
    else:
        source, tensors = f"file {path}", _of_file(path)
    placed, said = place(tensors, backbone, source)
    broken = [name for name, x in placed.items() if not bool(x.isfinite().all())]
    require(not broken, f"{source} has numbers that are not finite in {', '.join(broken)}; give another file")
    return Start(source, checkpoint_file.digest(placed), placed, statistics, tuple(said))


def load(tensors: Mapping[str, Tensor], backbone: nn.Module) -> None:
    """Copies weights into a backbone."""
    with torch.no_grad():
        own = named_tensors(backbone)
        for name, value in tensors.items():
            own[name].copy_(value)


def named_tensors(backbone: nn.Module) -> dict[str, Tensor]:
    """A backbone's parameters and buffers, by the names that they have without LoRA, and without LoRA's own."""
    own = backbone.state_dict(keep_vars=True)
    return {plain(name): x for name, x in own.items() if plain(name) == name or name.endswith(".original")}


# ---- sources


def _pretrained(name: str) -> tuple[str, dict[str, Tensor]]:
    kind, _, network = name.partition(":")
    ways = {from_timm.PREFIX: from_timm.pretrained, from_torchvision.PREFIX: from_torchvision.pretrained}
    find = ways.get(f"{kind}:")
    if find is None:
        raise InputError(
            f"there are no pretrained weights of {name}; type --model.weights with the path of a file or of a run, or "
            f"--model.backbone timm:NAME"
        )
    url, download = find(network)
    try:
        return f"{name}, {url}", download()
    except Exception as error:  # each library fails in ways of its own where a server can't be reached
        why = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(
            f"the pretrained weights of {name} can't be downloaded ({why}); download {url} where there is a network, "
            f"put the file on this machine, and type --model.weights with its path"
        ) from error


def _of_run(path: Path, name: str) -> tuple[str, dict[str, Tensor], tuple[str, Tensor, Tensor] | None]:
    """The backbone of a run as it was scored, and the normalisation before it."""
    checkpoint = checkpoint_file.read(file := find_checkpoint(path))
    known, weights = checkpoint["semisup"], checkpoint["state_dict"]
    its = known["model"]["backbone"]
    require(its == name, f"{file} was trained with the backbone {its}, not {name}; type --model.backbone {its}")
    network = "ema.average." if known.get("ema_decay") else "network."
    tensors = {
        key.removeprefix(f"{network}backbone."): x for key, x in weights.items() if key.startswith(f"{network}b")
    }
    mean, std = (weights.get(f"{network}normalization.{each}") for each in ("mean", "std"))
    statistics = None if mean is None or std is None else (str(known["model"]["normalization"]), mean, std)
    return f"run {file}", merged(tensors), statistics


def _of_file(path: Path) -> dict[str, Tensor]:
    """The tensors of a file, read without running code."""
    require(path.exists(), f"{path} does not exist; type --model.weights pretrained, or the path of a file or a run")
    with run_files.opened(path, _MAX_BYTES):
        pass
    try:
        if path.suffix == ".safetensors":
            content: Any = _safetensors(path)
        else:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                content = torch.load(path, map_location="cpu", weights_only=True)
    except InputError:
        raise
    except Exception as error:  # the readers raise whatever a damaged file makes them stumble over
        first = str(error).partition("\n")[0][:200] or type(error).__name__
        raise InputError(f"{path} holds no weights that can be read without running code ({first})") from error
    for _ in _WRAPPED:  # a file may hold itself, and has no end then
        if isinstance(content, Mapping):
            content = next((content[name] for name in _WRAPPED if name in content), content)
    tensors = isinstance(content, Mapping) and all(isinstance(name, str) for name in content)
    require(tensors and any(isinstance(x, Tensor) for x in content.values()), f"{path} holds no tensors by name")
    return {name: x for name, x in content.items() if isinstance(x, Tensor)}


def _safetensors(path: Path) -> dict[str, Tensor]:
    try:
        from safetensors.torch import load_file
    except ImportError as error:
        raise InputError(f"{path}: type pip install 'semisup[safetensors]'") from error
    tensors: dict[str, Tensor] = load_file(path)
    return tensors


# ---- placing


def place(tensors: Mapping[str, Tensor], backbone: nn.Module, source: str) -> tuple[dict[str, Tensor], list[str]]:
    """Tensors by the names and of the shapes that a backbone has, and what there is to say of the others.

    Raises:
        InputError: one is missing, or can't be brought to its shape.
    """
    own = named_tensors(backbone)
    renamed = first = _renamed(tensors, own)
    if isinstance(backbone, from_timm.Timm) and _differ(renamed, own):
        renamed = _as_timm_has_them(renamed, backbone) or renamed
    missing = [name for name in own if name not in renamed and not name.endswith(_COUNTS)]
    require(
        not missing,
        f"{source} lacks {len(missing)} of the backbone's {len(own)} tensors: {', '.join(missing)}; it has: "
        f"{', '.join(tensors)}",
    )
    placed, said = {}, []
    for name, like in own.items():
        if name in renamed:
            value = renamed[name].to(like.dtype)
            placed[name] = value if value.shape == like.shape else _reshaped(name, value, like, source)
            before = tuple(first.get(name, renamed[name]).shape)
            if before != tuple(like.shape):
                said.append(f"{name} was brought from shape {before} to {tuple(like.shape)}")
    unexpected = [name for name in renamed if name not in own]
    if unexpected:
        said.append(f"left out, as the backbone has nothing of that name: {', '.join(unexpected)}")
    if counts := [name for name in own if name not in renamed]:
        said.append(f"not in there, and left as they are: {', '.join(counts)}")
    return placed, said


def _renamed(tensors: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors under the names that most of the backbone's are among: without, or with, a prefix of all names."""

    def under(taken: str, given: str) -> dict[str, Tensor]:
        return {given + name.removeprefix(taken): x for name, x in tensors.items()}

    ways = [(taken, given) for taken in _PREFIXES for given in ("", "network.")]
    taken, given = max(ways, key=lambda way: len(under(*way).keys() & own.keys()))
    return under(taken, given)


def _differ(renamed: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> bool:
    return any(name not in renamed or renamed[name].shape != own[name].shape for name in own)


def _as_timm_has_them(renamed: Mapping[str, Tensor], backbone: from_timm.Timm) -> dict[str, Tensor] | None:
    """Weights of the authors' own code as timm names and shapes them, by the function that it has for that."""
    convert: Callable[..., dict[str, Tensor]] | None
    convert = getattr(sys.modules[type(backbone.network).__module__], "checkpoint_filter_fn", None)
    if convert is None:
        return None
    try:
        converted = convert({name.removeprefix("network."): x for name, x in renamed.items()}, backbone.network)
    except Exception:  # of weights that it does not expect
        return None
    return {f"network.{name}": x for name, x in converted.items()}


def _reshaped(name: str, value: Tensor, like: Tensor, source: str) -> Tensor:
    """A tensor in the shape of another one, where that is usual."""
    if "pos_embed" in name and value.ndim == like.ndim == 3 and value.shape[::2] == like.shape[::2]:
        for tokens in _PREFIX_TOKENS:
            sides = [math.isqrt(max(0, x.shape[1] - tokens)) for x in (value, like)]
            if all(side**2 + tokens == x.shape[1] for side, x in zip(sides, (value, like), strict=True)):
                return interpolated(value, tokens, sides[1])
    if value.ndim == like.ndim == 4 and (value.shape[1], like.shape[1]) == (3, 1):
        return value.sum(1, keepdim=True)  # a gray image is one of three equal channels
    raise InputError(f"{source} has {name} of shape {tuple(value.shape)}, and the backbone {tuple(like.shape)}")


def interpolated(embedding: Tensor, tokens: int, side: int) -> Tensor:
    """Position embeddings of a square image for one of another size.

    Args:
        embedding: (1, tokens + n * n, F), row by row behind those of the tokens that have no place in the image.
        tokens: how many these are.
        side: patches of the other image along an edge.

    Returns:
        (1, tokens + side * side, F).
    """
    first, places = embedding.float().split([tokens, embedding.shape[1] - tokens], dim=1)
    n = math.isqrt(places.shape[1])
    image = places.reshape(1, n, n, -1).permute(0, 3, 1, 2)  # (1, F, n, n)
    image = F.interpolate(image, (side, side), mode="bicubic", antialias=True)
    return torch.cat([first, image.permute(0, 2, 3, 1).reshape(1, side * side, -1)], dim=1).to(embedding.dtype)
