"""What of a backbone is trained: `--model.adapt full | head | lora | bitfit | norm`, and `--model.freeze N` stages.

    semisup fit --model timm:vit_small_patch14_dinov2 --model.weights pretrained --model.adapt lora

The linear head, and what strategies train beside the network, is trained always. What is frozen has no gradient and is
not among the optimiser's parameters; a frozen backbone or stage is also kept in evaluation mode, so that no statistics
move and no dropout acts.

LoRA (Hu et al. 2022, arXiv 2106.09685) is a parametrization of torch's own: a weight W of a linear layer, a
convolution or an attention becomes W + up @ down, with `up` zero at the start. So the network at its start is the
pretrained one, to the bit; gradients, averages, checkpoints and ranks see parameters like any others. peft does the
same by wrapping each layer in one of its own, under other names, and asks for transformers and accelerate besides,
130 MB.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Literal

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils import parametrize

from semisup.errors import require
from semisup.models.backbones import from_timm
from semisup.models.network import Network
from semisup.models.optim import NORMS

Adapt = Literal["full", "head", "lora", "bitfit", "norm"]
BatchNorm = Literal["auto", "train", "frozen"]

_PARAMETRIZED = re.compile(r"\.parametrizations\.(\w+)\.(?:original|0\.\w+)$")


class LoRA(nn.Module):
    """W + up @ down: a change of low rank to a weight that is frozen itself.

    Args:
        weight: (out, ...) whose first axis is that of the outputs.
        rank: of the change.
    """

    def __init__(self, weight: Tensor, rank: int) -> None:
        super().__init__()
        self.down = nn.Parameter(weight.new_empty(rank, weight[0].numel()))
        self.up = nn.Parameter(weight.new_zeros(len(weight), rank))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))

    def forward(self, weight: Tensor) -> Tensor:
        """(out, ...) -> the same shape."""
        return weight + (self.up @ self.down).view(weight.shape)


def adapt(network: Network, how: Adapt, freeze: int, rank: int, batchnorm: BatchNorm) -> None:
    """Freezes what of a network is not to be trained, and adds what is trained in its place.

    Args:
        network: it remembers its stages, what of it is frozen, and which parts stay in evaluation mode.
        how: full (all of the backbone), head (nothing of it), lora (changes of low rank), bitfit (biases), or norm
            (scales and shifts of normalisation layers).
        freeze: stages of the backbone, from the input, that are not trained.
        rank: of LoRA's changes.
        batchnorm: frozen keeps the running statistics of batch normalisation and normalises by them; auto does so
            where less than the whole backbone is trained, but for norm.

    Raises:
        InputError: there are not so many stages, or nothing that is trained in this way.
    """
    backbone = network.backbone
    network.stages = stages(backbone)
    require(
        0 <= freeze <= len(network.stages),
        f"model.freeze is {freeze}, and the backbone has {len(network.stages)} stages; type 0 to {len(network.stages)}",
    )
    require(rank >= 1, f"model.lora_rank is {rank}, but must be at least 1")
    names = {name for name, _ in backbone.named_parameters()}
    frozen = {name for stage in network.stages[:freeze] for name in stage}
    trained = {name for name in names - frozen if how == "full" or _is_trained(backbone, name, how)}
    if how == "lora":
        trained |= _add_lora(backbone, frozen, rank)
    require(
        how == "head" or bool(trained) or freeze == len(network.stages),
        f"--model.adapt {how} finds nothing to train in this backbone; type --model.adapt lora, or full",
    )
    network.frozen = frozenset(name for name, _ in backbone.named_parameters() if name not in trained)
    network.freeze()
    hold = batchnorm == "frozen" or (batchnorm == "auto" and how in ("lora", "bitfit"))
    held = [""] if how == "head" else [name for name, part in backbone.named_modules() if _is_held(name, part, frozen)]
    held += [name for name, part in backbone.named_modules() if hold and isinstance(part, _BatchNorm)]
    network.held = tuple(dict.fromkeys(held))
    network.train(network.training)


def _is_trained(backbone: nn.Module, name: str, how: Adapt) -> bool:
    owner, _, parameter = name.rpartition(".")
    if how == "bitfit":
        return parameter.endswith("bias")
    return how == "norm" and isinstance(backbone.get_submodule(owner), NORMS)


def _is_held(name: str, part: nn.Module, frozen: set[str]) -> bool:
    """Whether all of a part's parameters are in frozen stages."""
    own = [f"{name}.{each}" if name else each for each, _ in part.named_parameters()]
    return bool(own) and all(plain(each) in frozen for each in own)


def _add_lora(backbone: nn.Module, frozen: set[str], rank: int) -> set[str]:
    """Gives the weights that are matrices at heart a change of low rank, and returns the names of what it trains."""
    added = set()
    for name, part in list(backbone.named_modules()):
        matrices = ["weight"] if isinstance(part, nn.Linear) else []
        if isinstance(part, nn.Conv2d) and part.groups == 1:
            matrices = ["weight"]
        elif isinstance(part, nn.MultiheadAttention) and part.in_proj_weight is not None:
            matrices = ["in_proj_weight"]
        for matrix in matrices:
            full, weight = f"{name}.{matrix}".lstrip("."), getattr(part, matrix)
            if full not in frozen and rank < min(len(weight), weight[0].numel()):
                parametrize.register_parametrization(part, matrix, LoRA(weight.detach(), rank))
                added |= {f"{name}.parametrizations.{matrix}.0.{each}".lstrip(".") for each in ("up", "down")}
    return added


def plain(name: str) -> str:
    """The name that a tensor has in the network without LoRA; of LoRA's own, that of the weight that they change."""
    return _PARAMETRIZED.sub(r".\1", name)


def merged(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a network as one without LoRA has them, its changes added to its weights."""
    combined = {}
    for name, value in tensors.items():
        if name.endswith(".original"):
            up, down = (tensors[name.removesuffix("original") + f"0.{each}"] for each in ("up", "down"))
            combined[plain(name)] = value + (up @ down).view(value.shape)
        elif plain(name) == name:
            combined[name] = value
    return combined


# ---- stages


def stages(backbone: nn.Module) -> tuple[tuple[str, ...], ...]:
    """The names of a backbone's parameters in the order in which images pass them, in stages.

    Of networks of timm they are those that timm has, of others the layers that hold the weights, each with the
    normalisation behind it; blocks that lie in a sequence or list are stages of their own.
    """
    if isinstance(backbone, from_timm.Timm):
        return tuple(tuple(f"network.{name}" for name in stage) for stage in from_timm.stages(backbone.network))
    whole = sum(p.numel() for p in backbone.parameters())
    groups: list[list[str]] = [[]]

    def walk(module: nn.Module, prefix: str) -> None:
        groups[0] += [prefix + name for name, _ in module.named_parameters(recurse=False)]
        for name, part in module.named_children():
            own = [f"{prefix}{name}.{each}" for each, _ in part.named_parameters()]
            if isinstance(part, nn.Sequential | nn.ModuleList) or (
                2 * sum(p.numel() for p in part.parameters()) > whole and any(part.children())
            ):
                walk(part, f"{prefix}{name}.")
            elif isinstance(part, NORMS):
                groups[-1].extend(own)
            elif own:
                groups.append(own)

    walk(backbone, "")
    first, *others = groups
    if others:
        others[0] = [*first, *others[0]]  # class tokens and position embeddings belong to the first
    return tuple(map(tuple, others or [first]))


def scales(network: Network, decay: float) -> dict[nn.Parameter, float]:
    """What the learning rate of each parameter of the backbone is multiplied by, less the nearer it is to the input.

    decay ** (n - i) in stage i of n, counted from 0 (Bao et al. 2022, BEiT, arXiv 2106.08254); empty for a decay of 1.
    """
    if decay == 1:
        return {}
    count = len(network.stages)
    power = {name: count - i for i, stage in enumerate(network.stages) for name in stage}
    return {p: decay ** power[plain(name)] for name, p in network.backbone.named_parameters()}


def trained_parameters(module: nn.Module) -> int:
    """How many numbers are trained."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)
