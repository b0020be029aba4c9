"""Optimisers by name, and learning-rate schedules as pure functions of the step."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from semisup.errors import InputError, did_you_mean, require

NORMS = (
    *(nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm),
    *(nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d),
    *(nn.LayerNorm, nn.GroupNorm, nn.RMSNorm),
)


def build_optimizer(
    name: str,
    module: nn.Module,
    options: dict[str, Any],
    decay_norm_and_bias: bool,
    scales: Mapping[nn.Parameter, float] | None = None,
) -> torch.optim.Optimizer:
    """Builds any optimiser of `torch.optim` for a module's trainable parameters.

    Args:
        name: its class name; upper and lower case are the same.
        module: whose parameters to train; those with `requires_grad=False` are left out.
        options: its options, by the names that PyTorch gives them (`lr`, `momentum`, `weight_decay`, ...).
        decay_norm_and_bias: False keeps weight decay off every parameter of a normalisation layer and every parameter
            with at most one dimension (biases), by a second parameter group with `weight_decay` 0.
        scales: what the learning rate of a parameter is multiplied by, in groups of their own; 1 where it is not in it.

    Raises:
        InputError: there is no such optimiser or option, nothing is trainable, or the optimiser can't train this: it
            refuses a value, or wants gradients, parameters or a device of another kind.
    """
    known = {
        member.__name__.lower(): member
        for _, member in inspect.getmembers(torch.optim, inspect.isclass)
        if issubclass(member, torch.optim.Optimizer) and member is not torch.optim.Optimizer
    }
    if name.lower() not in known:
        raise InputError(f"torch.optim has no optimizer {name!r}{did_you_mean(name.lower(), known)}")
    cls: Any = known[name.lower()]
    accepted = [option for option in inspect.signature(cls).parameters if option != "params"]
    for option in options:
        if option not in accepted:
            raise InputError(f"the optimizer {cls.__name__} has no option {option!r}{did_you_mean(option, accepted)}")
    decay, no_decay = _split(module)
    require(bool(decay or no_decay), "nothing to train: no parameter of the model requires a gradient")
    if decay_norm_and_bias or "weight_decay" not in accepted:
        groups: list[dict[str, Any]] = [
            {"params": [parameter for parameter in module.parameters() if parameter.requires_grad]}
        ]
    else:
        groups = [{"params": decay}, {"params": no_decay, "weight_decay": 0.0}]
    groups = [group for group in groups if group["params"]]
    if scales:
        usual = options.get("lr", inspect.signature(cls).parameters["lr"].default)
        groups = [part for group in groups for part in _scaled(group, scales, usual)]
    if cls is torch.optim.LBFGS:  # it views every gradient as a vector, which one in channels-last order can't be
        module.to(memory_format=torch.contiguous_format)
    try:
        optimizer: torch.optim.Optimizer = cls(groups, **options)
        _try_a_step(cls, groups, options)
    except Exception as error:  # optimisers refuse parameters, gradients, devices and options in many ways
        words = str(error) or type(error).__name__
        raise InputError(
            f"the optimizer {cls.__name__} can't train this network: {words}; type another --optimizer, or other "
            f"options than {options}"
        ) from error
    return optimizer


def _scaled(group: dict[str, Any], scales: Mapping[nn.Parameter, float], usual: float) -> list[dict[str, Any]]:
    """A parameter group in parts that have learning rates of their own."""
    parts: dict[float, list[nn.Parameter]] = {}
    for parameter in group["params"]:
        parts.setdefault(scales.get(parameter, 1.0), []).append(parameter)
    return [{**group, "params": part, "lr": usual * scale} for scale, part in parts.items()]


def _try_a_step(cls: Any, groups: list[dict[str, Any]], options: dict[str, Any]) -> None:
    """Takes a step of small parameters of the same kinds: most optimisers refuse what they can't do in a step only."""
    kinds = [{(p.ndim, p.dtype, p.device, _order(p)): p for p in group["params"]} for group in groups]
    small = [[nn.Parameter(_small(p)) for p in kind.values()] for kind in kinds]
    optimizer = cls([{**group, "params": like} for group, like in zip(groups, small, strict=True)], **options)

    def closure() -> Tensor:
        for parameter in (p for like in small for p in like):
            parameter.grad = torch.ones_like(parameter)
        return torch.ones(())

    optimizer.step(closure)


def _small(parameter: Tensor) -> Tensor:
    ones = torch.ones([2] * parameter.ndim, dtype=parameter.dtype, device=parameter.device)
    return ones.contiguous(memory_format=_order(parameter))


def _order(parameter: Tensor) -> torch.memory_format:
    """The order in memory of a parameter's axes, of those orders that a network's parameters have."""
    last = parameter.ndim == 4 and not parameter.is_contiguous()
    return torch.channels_last if last else torch.contiguous_format


def _split(module: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Trainable parameters with and without weight decay, each once, in the module's order."""
    decay: list[nn.Parameter] = []
    no_decay: list[nn.Parameter] = []
    seen: set[nn.Parameter] = set()
    for owner in module.modules():
        for parameter in owner.parameters(recurse=False):
            if parameter.requires_grad and parameter not in seen:
                seen.add(parameter)
                (no_decay if isinstance(owner, NORMS) or parameter.ndim <= 1 else decay).append(parameter)
    return decay, no_decay


def cosine(step: int, total_steps: int, cycles: float = 7 / 16) -> float:
    """cos(pi * cycles * step / total_steps); with 7/16 it is FixMatch's cos(7 pi k / 16 K), which ends at 0.195.

    Args:
        step: counted from 0; after `total_steps` the factor stays at its last value.
        total_steps: of the whole training, 1 or more.
        cycles: how much of a cosine's period is passed, times 2: .5 falls to 0, 7/16 not quite.
    """
    return math.cos(math.pi * cycles * min(step, total_steps) / total_steps)


def halving(step: int, steps_per_epoch: int, every_epochs: int = 25, factor: float = 0.5, decay: float = 1e-7) -> float:
    """factor ** (epoch // every_epochs) / (1 + step * decay), with epochs counted from 1: the course's schedule.

    So the first change comes before the epoch of that number: with 25 before epochs 25, 50, 75, and so on.

    Args:
        step: counted from 0.
        steps_per_epoch: 1 or more.
        every_epochs: epochs between two changes, 1 for a change before every epoch, the first one too.
        factor: of each change.
        decay: Torch7's `learningRateDecay`, per step.
    """
    epoch = step // steps_per_epoch + 1
    return factor ** (epoch // every_epochs) / (1 + step * decay)


def constant(step: int) -> float:
    """1 at every step."""
    return 1.0


class Schedule(Protocol):
    """What a learning-rate schedule is: a pure function of the step."""

    def factor(self, step: int, total_steps: int, steps_per_epoch: int) -> float:
        """What the learning rate is multiplied by at a step (counted from 0)."""
        ...


@dataclass(frozen=True)
class Cosine:
    """Falls along a cosine to the end of the training (FixMatch, arXiv 2001.07685), after an optional linear warm-up.

    Args:
        cycles: pi times this is the cosine's last angle; 7/16 is FixMatch's, .5 ends at 0. In (0, .5].
        warmup_steps: steps over which the learning rate rises linearly from 0; 0 for none.
        warmup_share: the same as a share of the training, where warmup_steps is 0; in [0, 1).

    Raises:
        InputError: a value is out of its range; from `factor`, when the training is not longer than the warm-up.
    """

    cycles: float = 7 / 16
    warmup_steps: int = 0
    warmup_share: float = 0.0

    def __post_init__(self) -> None:
        require(0 < self.cycles <= 0.5, f"lr_scheduler.cycles is {self.cycles}; it must be over 0 and at most 0.5")
        require(self.warmup_steps >= 0, f"lr_scheduler.warmup_steps is {self.warmup_steps}; it must be 0 or more")
        share = self.warmup_share
        require(0 <= share < 1, f"lr_scheduler.warmup_share is {share}; it must be at least 0 and less than 1")

    def factor(self, step: int, total_steps: int, steps_per_epoch: int) -> float:
        """step / (steps of the warm-up) while warming up, then `cosine` over the steps that are left."""
        require(
            total_steps > self.warmup_steps,
            f"lr_scheduler.warmup_steps is {self.warmup_steps} but the training has {total_steps} steps; it must have "
            "more, and their number must be known: see --trainer.max_steps and --trainer.max_epochs",
        )
        warmup = self.warmup_steps or int(self.warmup_share * total_steps)
        if step < warmup:
            return step / warmup
        return cosine(step - warmup, total_steps - warmup, self.cycles)


@dataclass(frozen=True)
class Halving:
    """Halves every few epochs and decays a little every step, as the course's baseline did.

    Args:
        every_epochs: 25 for a change before epochs 25, 50, 75 and so on, counted from 1; 1 or more.
        gamma: what each change multiplies the learning rate by, in (0, 1].
        decay: the learning rate is also divided by 1 + step * decay; 0 or more.

    Raises:
        InputError: a value is out of its range.
    """

    every_epochs: int = 25
    gamma: float = 0.5
    decay: float = 1e-7

    def __post_init__(self) -> None:
        require(self.every_epochs >= 1, f"lr_scheduler.every_epochs is {self.every_epochs}; it must be 1 or more")
        require(0 < self.gamma <= 1, f"lr_scheduler.gamma is {self.gamma}; it must be over 0 and at most 1")
        require(self.decay >= 0, f"lr_scheduler.decay is {self.decay}; it must be 0 or more")

    def factor(self, step: int, total_steps: int, steps_per_epoch: int) -> float:
        """`halving` at a step."""
        return halving(step, steps_per_epoch, self.every_epochs, self.gamma, self.decay)


@dataclass(frozen=True)
class Constant:
    """Leaves the learning rate as it is."""

    def factor(self, step: int, total_steps: int, steps_per_epoch: int) -> float:
        """1 at every step."""
        return constant(step)


SCHEDULES: dict[str, type[Schedule]] = {"cosine": Cosine, "halving": Halving, "constant": Constant}
