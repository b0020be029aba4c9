"""The parser: which options there are with the classes that are named, of which types, and within which bounds."""

from __future__ import annotations

import inspect
import json
import math
from argparse import Action, ArgumentError
from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from dataclasses import MISSING, fields, is_dataclass
from functools import cache, lru_cache
from typing import Any, get_args

import torch
from jsonargparse import ArgumentParser, Namespace
from pytorch_lightning import Trainer

from semisup import plugins
from semisup.cli import DEFAULTS
from semisup.cli.plain import plain
from semisup.data.datamodule import DataModule
from semisup.errors import InputError, did_you_mean, require, unknown_option, wrong_value
from semisup.models import ADAMW_OPTIONS, ADAMW_WARMUP, SGD_OPTIONS
from semisup.models.optim import SCHEDULES
from semisup.models.options import ModelOptions
from semisup.strategy import Strategy
from semisup.tracking import TrackingOptions

OPTIMIZERS = {
    cls.__name__.lower(): cls
    for cls in vars(torch.optim).values()
    if isinstance(cls, type) and issubclass(cls, torch.optim.Optimizer) and cls is not torch.optim.Optimizer
}
# What torch and Lightning take without a word and stumble over later; what isn't here must not be negative.
_RANGES: dict[str, tuple[float, float]] = {
    **dict.fromkeys(("trainer.max_epochs", "trainer.max_steps", "trainer.num_sanity_val_steps"), (-1, math.inf)),
    **dict.fromkeys(("trainer.accumulate_grad_batches", "trainer.check_val_every_n_epoch"), (1, math.inf)),
    **{"trainer.devices": (-1, 4096), "trainer.num_nodes": (1, 65_536)},
    **{"optimizer.history_size": (1, math.inf), "optimizer.beta2_decay": (-math.inf, math.inf)},
}


def option_parser(chosen: dict[str, str], by_backbone: bool = False) -> ArgumentParser:
    """The parser of all options that there are with these classes.

    Args:
        chosen: `strategy`, `data.name`, `optimizer.name` and `lr_scheduler.name`.
        by_backbone: whether nobody has named the optimiser, and it is that of transformers.

    Raises:
        InputError: one of them doesn't exist.
    """
    strategies = {name: plugins.load(plugins.STRATEGIES, name) for name in plugins.split_names(chosen["strategy"])}
    for name, cls in strategies.items():
        require(issubclass(cls, Strategy), f"the strategy {name!r} is {cls!r}, not a subclass of semisup's Strategy")
    data = plugins.load(plugins.DATAMODULES, chosen["data.name"])
    require(issubclass(data, DataModule), f"the dataset {chosen['data.name']!r} is {data!r}, no subclass of DataModule")
    optimizer = _lookup(OPTIMIZERS, chosen["optimizer.name"], "optimizer")
    schedule = _lookup(SCHEDULES, chosen["lr_scheduler.name"], "lr_scheduler")
    made = _option_parser(tuple(strategies.items()), data, optimizer, schedule, by_backbone)
    parser = deepcopy(made)  # whoever parses changes its types
    groups = {**strategies, "data": data, "model": ModelOptions, "lr_scheduler": schedule, "tracking": TrackingOptions}
    options = types(parser)
    parser.set_defaults({name: value for name, value in _made_anew(groups) if name in options})
    return parser


def _made_anew(groups: Mapping[str, type]) -> Iterator[tuple[str, Any]]:
    """Options whose defaults are made of what may have changed, such as the environment, and those defaults."""
    for group, cls in groups.items():
        for field in fields(cls) if is_dataclass(cls) else ():
            if field.default_factory is not MISSING:
                yield f"{group}.{field.name}", field.default_factory()


@lru_cache(32)  # reading the parameters of all these classes takes a tenth of a second
def _option_parser(
    strategies: tuple[tuple[str, type], ...], data: type, optimizer: type, schedule: type, by_backbone: bool
) -> ArgumentParser:
    parser = ArgumentParser(prog="semisup", exit_on_error=False, allow_abbrev=False, add_help=False)
    parser.add_argument("--config", action="config")
    parser.add_argument("--strategy", type=str)
    parser.add_argument("--seed", type=int)

    def add(group: str, cls: type, skip: tuple[str, ...] = ()) -> None:
        left_out = () if cls is Trainer else _without_plain_values(cls, frozenset(skip))
        parser.add_class_arguments(cls, group, skip={*skip, *left_out}, instantiate=False, fail_untyped=False)

    for name, cls in strategies:
        add(name, cls)
    parser.add_argument("--data.name", type=str)
    add("data", data, ("seed",))
    add("model", ModelOptions)
    parser.add_argument("--optimizer.name", type=str)
    add("optimizer", optimizer, ("params",))
    parser.add_argument("--lr_scheduler.name", type=str)
    add("lr_scheduler", schedule)
    add("tracking", TrackingOptions)
    add("trainer", Trainer)
    own = SGD_OPTIONS if optimizer is torch.optim.SGD else {}
    if optimizer is torch.optim.AdamW and by_backbone:
        own = ADAMW_OPTIONS
    warmup = {"lr_scheduler.warmup_share": ADAMW_WARMUP} if by_backbone and schedule is SCHEDULES["cosine"] else {}
    parser.set_defaults(DEFAULTS | {f"optimizer.{name}": value for name, value in own.items()} | warmup)
    return parser


@cache
def _without_plain_values(cls: type, skip: frozenset[str]) -> frozenset[str]:
    """The parameters of a class that are no options, since only code can make their values.

    Raises:
        InputError: one of them has no default.
    """
    parser = ArgumentParser(exit_on_error=False, add_help=False)
    parser.add_class_arguments(cls, "x", skip={*skip}, instantiate=False, fail_untyped=False)
    hints = {option.removeprefix("x."): hint for option, hint in types(parser).items() if plain(hint) is None}
    for name, hint in hints.items():
        kinds = "options are numbers, text, choices, and lists and mappings of these"
        parameter = inspect.signature(cls).parameters.get(name)
        optional = parameter is None or parameter.default is not inspect.Parameter.empty
        require(optional, f"{cls.__name__} needs a {name} of type {hint}, and {kinds}; give it a default")
    return frozenset(name.partition(".")[0] for name in hints)


def _lookup(table: Mapping[str, type], name: str, kind: str) -> type:
    require(name in table, f"there is no {kind} {name!r}{did_you_mean(name, table)}")
    return table[name]


def types(parser: ArgumentParser) -> dict[str, Any]:
    """Every option and its type."""
    return {action.dest: hint for action in parser._actions if (hint := type_of(action)) is not None}


def type_of(action: Action) -> Any:
    """The type of an option; None of what is no option but a group of them, or the help on one."""
    return None if action.dest.endswith(".help") else getattr(action, "_typehint", None)


def exists(key: str, options: Iterable[str]) -> bool:
    """Whether there is an option, also with `+` to append to a list, or with the parameter of a class behind it."""
    return any(
        key in (option, f"{option}+") or (key.startswith(f"{option}.") and option.startswith("trainer."))
        for option in options
    )


def unknown(key: str, options: Iterable[str], strategy: str, dashes: str = "") -> str:
    """What to say of an option that there isn't with the strategy that is selected."""
    group = key.partition(".")[0]
    if group in plugins.installed(plugins.STRATEGIES) and group not in plugins.split_names(strategy):
        return (
            f"{dashes}{key} is an option of a strategy that is not selected (--strategy is {strategy}); "
            f"type --strategy {group}, or leave it out"
        )
    return unknown_option(key, options, dashes)


def gathered(args: Iterable[str], options: Mapping[str, Any]) -> list[str]:
    """Arguments in which the words behind an option that is a list of words are one: `--x.runs=["A", "B"]`.

    Args:
        args: as typed; a list in brackets, and null, stay as they are.
        options: every option and its type.
    """
    joined: list[str] = []
    words: list[str] | None = None  # of the list that is being typed
    for argument in [*args, "--"]:
        if words is not None and not argument.startswith("--"):
            words.append(argument)
            continue
        if words and not (len(words) == 1 and (words[0].startswith("[") or words[0] == "null")):
            joined[-1] += f"={json.dumps(words)}"
        elif words is not None:
            joined += words
        option = argument.removeprefix("--")
        words = [] if list[str] in (options.get(option), *get_args(options.get(option))) else None
        joined.append(argument)
    return joined[:-1]


def parse_args(parser: ArgumentParser, args: list[str], files: Mapping[str, str]) -> Namespace:
    """What is typed and what files say, of the right types and within bounds.

    Args:
        parser: of all options.
        args: what to parse.
        files: option -> the file that it is of, where it is of one.

    Raises:
        InputError: a value is wrong.
    """
    try:
        parsed = parser.parse_args(args)
    except ArgumentError as error:
        key, message = wrong_value(str(error))
        where = f"{files[key]}: {key}: " if key in files else f"--{key}: " if key else ""
        raise InputError(where + message) from error
    require(parsed.seed >= 0, f"--seed: expected 0 or more, got {parsed.seed}")
    for key, value in vars(parsed.as_flat()).items():
        require(_is_in_range(value), f"--{key}: expected a finite number of at most 64 bits, got {value}")
        # Lightning takes "8" for 8 devices.
        number = float(value) if key == "trainer.devices" and str(value).isdecimal() else value
        if key.partition(".")[0] in ("optimizer", "trainer") and isinstance(number, int | float):
            least, most = _RANGES.get(key, (0, math.inf))
            require(number >= least, f"--{key}: expected {least} or more, got {value}")
            require(number <= most, f"--{key}: expected {most} or less, got {value}")
    often = parsed.trainer.val_check_interval
    require(
        often != 0, "--trainer.val_check_interval: expected more than 0; --trainer.limit_val_batches 0 validates never"
    )
    return parsed


def _is_in_range(value: Any) -> bool:
    """Whether a value, or all in it, can be reckoned with: not nan, infinite, or more than 64 bits hold."""
    if isinstance(value, dict | list | tuple):
        return all(map(_is_in_range, value.values() if isinstance(value, dict) else value))
    return (
        not isinstance(value, int | float)
        or -(2**63) <= value < 2**63
        or (isinstance(value, float) and math.isfinite(value))
    )
