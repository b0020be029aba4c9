"""Values to try for options, and from them a W&B sweep or a grid of commands.

All options of a strategy are varied, by its own parameters, or those that are named, which may be any of a run's. A
value, and a combination of them, is kept if the strategy takes it beside the options that are given.
"""

from __future__ import annotations

import inspect
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, get_args, get_origin, get_type_hints

import yaml

from semisup import plugins
from semisup.errors import InputError, did_you_mean, require

Value = bool | int | float | str
Changes = Mapping[str, Value]  # option -> another value than it has
Takes = Callable[[Changes], bool]
METRIC = "best/val_accuracy"  # of the checkpoint that validation chose; test has no say


def taker(config: Mapping[str, Any]) -> Takes:
    """Whether the strategy of a `config.yaml`, or all its parts, can be made with some options changed."""
    parts = {name: config.get(name) or {} for name in plugins.split_names(str(config["strategy"]))}

    def takes(changes: Changes) -> bool:
        try:
            for part, given in parts.items():
                own = {n.removeprefix(f"{part}."): v for n, v in changes.items() if n.startswith(f"{part}.")}
                plugins.load(plugins.STRATEGIES, part)(**(given | own))
        except InputError:
            return False
        return True

    return takes


def options(
    strategy: str, fixed: Sequence[str], takes: Takes, over: Sequence[str] = (), run: Mapping[str, Any] | None = None
) -> dict[str, list[Value]]:
    """Option -> the values to try, of every part of a strategy or those that are named, without those that are fixed.

    Args:
        strategy: as typed.
        fixed: arguments of every `semisup fit`.
        takes: whether the strategy takes a value.
        over: only these, with or without their group; empty for all of the strategy. With `=VALUE/VALUE` behind it, an
            option has these values.
        run: the options of the run that is varied, flat; of those beside the strategy's, numbers and switches can be.

    Raises:
        InputError: an option of `over` can't be varied, or there is nothing to vary.
    """
    given = {argument.removeprefix("--").partition("=")[0] for argument in fixed if argument.startswith("--")}
    tried_values: dict[str, list[Value]] = {}
    asked = {name: [_value(x) for x in said.split("/")] for name, _, said in (x.partition("=") for x in over) if said}
    over = [name.partition("=")[0] for name in over]
    own: list[str] = []
    for part in plugins.split_names(strategy):
        cls = plugins.load(plugins.STRATEGIES, part)
        hints = get_type_hints(cls.__init__)
        for name, parameter in inspect.signature(cls).parameters.items():
            option = f"{part}.{name}"
            own += [option] if option not in given else []
            tried = values(hints.get(name, Any), parameter.default)
            if option not in given and len(tried) > 1:
                tried_values[option] = tried
    beside = {name: values(Any, value) for name, value in (run or {}).items() if "." in name and name not in given}
    for name in over:
        if name in asked and (meant := _named(own, name) or _named(beside, name)):
            tried_values |= {option: _taken(option, asked[name], takes) for option in meant}
        if not _named(tried_values, name):
            tried_values |= {option: beside[option] for option in _named(beside, name) if len(beside[option]) > 1}
        known = [*tried_values, *(option.partition(".")[2] for option in tried_values)]
        values_of = f"; type --over {name}=VALUE/VALUE" if _named(own, name) else did_you_mean(name, known)
        require(name in known, f"--over {name}: it is no option that can be varied{values_of}")
    if over:
        tried_values = {option: tried_values[option] for name in over for option in _named(tried_values, name)}
    tried_values = {n: [value for value in v if takes({n: value})] for n, v in tried_values.items()}
    tried_values = {n: v for n, v in tried_values.items() if len(v) > 1}
    advice = f"; it has {', '.join(own)}; type the values, as in --over {own[0]}=VALUE/VALUE" if own else ""
    require(
        bool(tried_values),
        f"the strategy {strategy} has no option to vary by itself: numbers that aren't 0, switches, choices{advice}",
    )
    return tried_values


def _value(text: str) -> Value:
    """A value as it is typed."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return {"true": True, "false": False}.get(text, text)


def _taken(option: str, asked: list[Value], takes: Takes) -> list[Value]:
    """Values that were asked for, each once, all of which the strategy takes."""
    for value in asked:
        try:
            good = takes({option: value})
        except TypeError:  # of another kind
            good = False
        require(
            good, f"--over {option}: the strategy does not take {value!r}; `semisup fit --help` tells what it takes"
        )
    different = [*dict.fromkeys(asked)]
    require(
        len(different) > 1, f"--over {option}: {asked[0]!r} alone varies nothing; type --{option} {asked[0]} for it"
    )
    return different


def _named(options: Iterable[str], name: str) -> list[str]:
    """Those of some options that a name means, which is one of them with or without its group."""
    return [option for option in options if name in (option, option.partition(".")[2])]


def values(hint: Any, default: Any) -> list[Value]:
    """What to try in place of a default: all choices, both ways of a switch, or half and double of a number.

    A fraction above one half, as a threshold or a decay, has its distance from 1 doubled and halved instead. Nothing is
    known of a good scale where the default is 0, and nothing of free text.
    """
    if get_origin(hint) is Literal:
        return [*get_args(hint)]
    if isinstance(default, bool):
        return [False, True]
    if isinstance(default, int):
        return [*dict.fromkeys([max(1, default // 2), default, 2 * default])] if default > 0 else []
    if not isinstance(default, float) or default == 0 or not math.isfinite(default):
        return []
    if 0.5 < default < 1:
        return [round(1 - factor * (1 - default), 9) for factor in (2, 1, 0.5)]
    return [default / 2, default, 2 * default]


def compatible(tried: Mapping[str, Sequence[Value]], takes: Takes) -> dict[str, list[Value]]:
    """Without values that can't go together with one that is kept: for W&B, which combines all of them.

    Options that are left with a single value are left out.
    """
    kept: dict[str, list[Value]] = {}
    for name, every in tried.items():
        others = [(other, value) for other, its in kept.items() for value in its]
        fits = [value for value in every if all(takes({name: value, other: its}) for other, its in others)]
        if len(fits) > 1:
            kept[name] = fits
    return kept


def size(tried: Mapping[str, Sequence[Value]]) -> int:
    """How many combinations there are."""
    return math.prod(map(len, tried.values()))


def grid(tried: Mapping[str, Sequence[Value]], fixed: Sequence[str], takes: Takes) -> Iterator[list[str]]:
    """The arguments of `semisup fit` for every combination that it takes: no ramp ends before it starts."""
    for combination in itertools.product(*tried.values()):
        changes = dict(zip(tried, combination, strict=True))
        if takes(changes):
            yield [*fixed, *(argument(option, value) for option, value in changes.items())]


def argument(option: str, value: Value) -> str:
    """As it is typed."""
    return f"--{option}={str(value).lower() if isinstance(value, bool) else value}"


def wandb_sweep(strategy: str, tried: Mapping[str, Sequence[Value]], fixed: Sequence[str], method: str) -> str:
    """A sweep as W&B reads it, YAML. With another method than grid, numbers are drawn from the least to the greatest.

    Args:
        strategy: as typed.
        tried: option -> values.
        fixed: arguments of every `semisup fit`.
        method: grid, random or bayes.
    """
    sweep = {
        "name": strategy,
        "method": method,
        "metric": {"name": METRIC, "goal": "maximize"},
        "parameters": {name: _parameter(values, method) for name, values in tried.items()},
        "command": ["${env}", "${interpreter}", "-m", "semisup", "fit", *fixed, "${args}"],
    }
    return str(yaml.safe_dump(sweep, sort_keys=False, allow_unicode=True))


def _parameter(tried: Sequence[Value], method: str) -> dict[str, Any]:
    numbers = [value for value in tried if isinstance(value, int | float) and not isinstance(value, bool)]
    if method == "grid" or len(numbers) < len(tried):
        return {"values": [*tried]}
    return {"min": min(numbers), "max": max(numbers)}
