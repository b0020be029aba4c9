"""From arguments and YAML files to a `Config`: one parser, with one group of options for every plugin that is named.

    config = parse("fit", ["--strategy", "pseudolabel", "--pseudolabel.top_k", "1000", "--trainer.max_epochs", "5"])

The command line beats files, and a later file an earlier one. Where a later one names another strategy, dataset,
optimiser or schedule than a file does, those of the file's options that the other one doesn't have are left out.

A class is named in the trainer's group alone. A file that names one is believed where `--trust` is typed.
"""

from __future__ import annotations

import inspect
import math
import re
import sys
from argparse import Action, ArgumentError
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import NoneType
from typing import Any, get_args

import torch
import yaml
from jsonargparse import ArgumentParser, Namespace
from pytorch_lightning import Trainer
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from semisup import plugins
from semisup.classifier import ModelOptions
from semisup.cli import DEFAULTS, ROOT, SHORT, expand, last, resolve_data, take
from semisup.cli.config_file import config_text
from semisup.cli.moved import follow_moves
from semisup.cli.plain import imported, outside, plain
from semisup.cli.verbs import VERBS
from semisup.cli.yaml_files import Dumper, flatten, lookup, nest, read
from semisup.errors import InputError, did_you_mean, require, unknown_option, wrong_value
from semisup.escape import shell
from semisup.models import SGD_OPTIONS
from semisup.models.optim import SCHEDULES, Schedule
from semisup.randomness import seed_libraries
from semisup.runs import run_files
from semisup.runs.directory import run_of
from semisup.runs.options import LATER
from semisup.runs.paths import local
from semisup.strategy import Strategy
from semisup.tracking import TrackingOptions

__all__ = ["Config", "parse", "resolve_data"]
_NAMES = ("strategy", "data.name", "optimizer.name", "lr_scheduler.name")  # the options that name classes
_OPTIMIZERS = {
    cls.__name__.lower(): cls
    for cls in vars(torch.optim).values()
    if isinstance(cls, type) and issubclass(cls, torch.optim.Optimizer) and cls is not torch.optim.Optimizer
}
_PATH = re.compile(r"[._](root|path|dir|folder|file)$")  # the options that are paths
# What torch and Lightning take without a word and stumble over later; what isn't here must not be negative.
_RANGES: dict[str, tuple[float, float]] = {
    **dict.fromkeys(("trainer.max_epochs", "trainer.max_steps", "trainer.num_sanity_val_steps"), (-1, math.inf)),
    **dict.fromkeys(("trainer.accumulate_grad_batches", "trainer.check_val_every_n_epoch"), (1, math.inf)),
    **{"trainer.devices": (-1, 4096), "trainer.num_nodes": (1, 65_536)},
    **{"optimizer.history_size": (1, math.inf), "optimizer.beta2_decay": (-math.inf, math.inf)},
}


@dataclass
class Config:
    """Everything that a verb needs to know.

    Attributes:
        verb: fit, validate, test or predict.
        strategy: as typed, such as `kmeans+pseudolabel`.
        plugins: name -> strategy, in that order.
        seed: of every random draw.
        data_name: the datamodule's name, `--data` or what it stood for.
        data_why: why that one was chosen, empty where it was named.
        data: its arguments without the seed.
        model: the network.
        optimizer: name and arguments of a class of torch.optim.
        lr_scheduler: the schedule.
        tracking: where metrics go.
        trainer: arguments of Lightning's Trainer.
        resume: of fit: the run to go on with, or auto.
        resume_data: of fit: whether a resumed run may go on with other data (remap), or must not (same).
        ckpt_path: of the other verbs: the run or checkpoint to evaluate.
        out: where to write predictions.
        format: csv or kaggle.
        on: the images to predict: test, val or unlabeled.
        force: whether `out` may replace what it did not write.
        yaml: what `--print_config` prints and a run's config.yaml holds: all of the above that says what to train and
            how, with secrets hidden, but not what this one invocation reads or writes (resume, resume_data, ckpt_path,
            out, format, on, force).
    """

    verb: str
    strategy: str
    plugins: dict[str, Strategy]
    seed: int
    data_name: str
    data_why: str
    data: dict[str, Any]
    model: ModelOptions
    optimizer: tuple[str, dict[str, Any]]
    lr_scheduler: Schedule
    tracking: TrackingOptions
    trainer: dict[str, Any]
    yaml: str
    resume: str | None = None
    resume_data: str = "same"
    ckpt_path: str | None = None
    out: str | None = None
    format: str = "csv"
    on: str = "test"
    force: bool = False


def parse(verb: str, argv: list[str]) -> Config:
    """Parses what follows a verb.

    The config.yaml of the run that `--resume` or `--ckpt_path` names counts as the first file, so that `fit` goes on as
    it began. To validate, test and predict, its trainer group is left out: how many batches or devices a training had
    must not decide what it is scored on, and nothing that it names is imported.

    Raises:
        InputError: an option, a value or a file is wrong.
    """
    own, args = _verb_options(verb, expand(follow_moves(argv)))
    paths, args = take(args, "config")
    trust, args = "--trust" in args, [argument for argument in args if argument != "--trust"]
    files = [(path, read(str(local(path)))) for path in paths]
    named = own["resume"] if verb == "fit" else own["ckpt_path"]
    run = run_of(Path(named)) if named and named != "auto" else None
    of_run = run is not None and run_files.is_there(run / "config.yaml")
    if run is not None and of_run:
        tree = read(str(run / "config.yaml"), of_run=True)
        kept = {key: tree[key] for key in tree if verb == "fit" or key.partition(".")[0] != "trainer"}
        files.insert(0, (str(run / "config.yaml"), kept))

    chosen, why = _choose([tree for _, tree in files], args)
    given = {argument[2:].partition("=")[0] for argument in args if argument.startswith("--")}
    parser = _parser(chosen[-1])
    options = {action.dest: hint for action in parser._actions if (hint := _hint(action))}
    if of_run:
        missing = {name: then for name, then in LATER.items() if name in options and lookup(files[0][1], name) is None}
        files[0] = (files[0][0], {**files[0][1], **missing})
    for argument in args:
        key, _, value = argument.removeprefix("--").partition("=")
        require(value != "--", f"--{key}: expected a value, got --")
        require(key != "ckpt_path", "--ckpt_path is not of fit; type --resume RUN to go on with a run")
        if argument.startswith("--") and not _exists(key, options):
            valid = (
                *options,
                *SHORT,
                *(option.name for option in VERBS[verb].options),
                "config",
                "trust",
                "print_config",
                "help",
            )
            raise InputError(_unknown(key, valid, chosen[-1], "--"))
    merged = {key: found for key, found in _merge(files, chosen, options).items() if key not in given}
    _close(parser, merged, given, trust)
    tree = nest({key: value for key, (_, value) in merged.items()})
    try:
        parsed = parser.parse_args([f"--config={yaml.dump(tree, Dumper=Dumper)}", *args])
    except ArgumentError as error:
        key, message = wrong_value(str(error))
        where = f"{merged[key][0]}: {key}: " if key in merged else f"--{key}: " if key else ""
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
    for name, value in chosen[-1].items():
        parsed[name] = value
    # Read back once, so that torch's `dampening: float = 0` is what it is for whoever reads the file: 0.0.
    text = config_text(parser, parsed)
    _stay_inside(merged, yaml.safe_load(text)["trainer"], given, run)
    parsed = parser.parse_args([f"--config={text}"])
    return _config(verb, parser, parsed, why, own)


def _close(parser: ArgumentParser, merged: dict[str, tuple[str, Any]], typed: Iterable[str], trust: bool) -> None:
    """Takes the classes out of the types of options, but for those of the trainer that were typed, or are trusted.

    Raises:
        InputError: a file names a class, and is not trusted.
    """
    for action in parser._actions:
        hint, option = _hint(action), action.dest
        if hint is None or (part := plain(hint)) == hint:
            continue
        path, value = merged.get(option, ("", None))
        trainers = option.startswith("trainer.")
        names = ", ".join(dict.fromkeys(imported(value, part))) if trainers and path else ""
        advice = f"type --trust where you trust that file, or type --{option} yourself"
        require(trust or not names, f"{path}: {option} asks to import {names}; {advice}")
        if names:
            rank_zero_only(print)(f"{path}: {option} imports {names}", file=sys.stderr)
        elif not (trainers and any(_exists(key, [option]) for key in typed)):
            action._typehint = NoneType if part is None else part  # type: ignore[attr-defined]


def _stay_inside(
    merged: dict[str, tuple[str, Any]], trainer: dict[str, Any], given: Iterable[str], run: Path | None
) -> None:
    """Refuses a logger or a profiler of a file that would write outside the run, unless that place was typed."""
    for name in ("logger", "profiler"):
        key = f"trainer.{name}"
        path, _ = merged.get(key, ("", None))
        for argument, place in outside(trainer[name], run) if path else ():
            typed = {f"{key}.{argument}", f"{key}.init_args.{argument}"} & {*given}
            advice = f"type --{key}.{argument} {place} where it should"
            require(bool(typed), f"{path}: {key} would write to {place}, outside the run; {advice}")


def _is_in_range(value: Any) -> bool:
    """Whether a value, or all in it, can be reckoned with: not nan, infinite, or more than 64 bits hold."""
    if isinstance(value, dict | list | tuple):
        return all(map(_is_in_range, value.values() if isinstance(value, dict) else value))
    return (
        not isinstance(value, int | float)
        or -(2**63) <= value < 2**63
        or (isinstance(value, float) and math.isfinite(value))
    )


def _verb_options(verb: str, args: list[str]) -> tuple[dict[str, Any], list[str]]:
    """What this one invocation reads and writes, and the other arguments."""
    own: dict[str, Any] = {}
    for option in VERBS[verb].options:
        name, choices = option.name, option.type.split("|") if option.type.islower() else ()
        if not option.type:
            own[name], args = f"--{name}" in args, [argument for argument in args if argument != f"--{name}"]
            continue
        values, args = take(args, name)
        own[name] = values[-1] if values else option.default if choices else None
        require(not choices or own[name] in choices, f"--{name}: expected {' or '.join(choices)}, got {own[name]!r}")
    for name in ("resume", "ckpt_path", "out"):
        if own.get(name) and own[name] != "auto":
            own[name] = str(local(own[name]))
    require(own.get("resume_data") != "remap" or own["resume"], "--resume_data remap goes with --resume RUN")
    require(verb == "fit" or own["ckpt_path"], f"type semisup {verb} --ckpt_path PATH, of a run or a checkpoint")
    return own, args


def _choose(trees: list[dict[str, Any]], args: list[str]) -> tuple[list[dict[str, str]], str]:
    """The classes that are named after each file and, as the last element, in the end; and why this dataset."""
    chosen = [{name: DEFAULTS[name] for name in _NAMES}]
    for tree in [*trees, nest({name: last(args, name) for name in (*_NAMES, "data.root")})]:
        found = {name: lookup(tree, name) for name in _NAMES}
        chosen.append(chosen[-1] | {name: str(value) for name, value in found.items() if value is not None})
    roots = [last(args, "data.root"), *(lookup(tree, "data.root") for tree in reversed(trees)), ROOT]
    root = next(str(local(str(root))) if str(root) != ROOT else ROOT for root in roots if root)
    data, why = resolve_data(chosen[-1]["data.name"], root)
    require(
        not why or data == "stl10" or root == ROOT,
        f"there is no STL-10 in {root}; type --data folder --data.root {shell(Path(root))} for a folder of your own "
        f"pictures",
    )
    for names in chosen:
        names["data.name"] = names["data.name"] or data
        names["optimizer.name"] = names["optimizer.name"].lower()
    return chosen[1:], why


def _parser(chosen: dict[str, str]) -> ArgumentParser:
    """The parser of all options that there are with these classes."""
    parser = ArgumentParser(prog="semisup", exit_on_error=False, allow_abbrev=False, add_help=False)
    parser.add_argument("--config", action="config")
    parser.add_argument("--strategy", type=str)
    parser.add_argument("--seed", type=int)

    def add(group: str, cls: type, skip: tuple[str, ...] = ()) -> None:
        left_out = () if cls is Trainer else _without_plain_values(cls, frozenset(skip))
        parser.add_class_arguments(cls, group, skip={*skip, *left_out}, instantiate=False, fail_untyped=False)

    for name in plugins.split_names(chosen["strategy"]):
        cls = plugins.load(plugins.STRATEGIES, name)
        require(issubclass(cls, Strategy), f"the strategy {name!r} is {cls!r}, not a subclass of semisup's Strategy")
        add(name, cls)
    parser.add_argument("--data.name", type=str)
    add("data", plugins.load(plugins.DATAMODULES, chosen["data.name"]), ("seed",))
    add("model", ModelOptions)
    parser.add_argument("--optimizer.name", type=str)
    add("optimizer", _lookup(_OPTIMIZERS, chosen["optimizer.name"], "optimizer"), ("params",))
    parser.add_argument("--lr_scheduler.name", type=str)
    add("lr_scheduler", _lookup(SCHEDULES, chosen["lr_scheduler.name"], "lr_scheduler"))
    add("tracking", TrackingOptions)
    add("trainer", Trainer)
    sgd = SGD_OPTIONS if chosen["optimizer.name"] == "sgd" else {}
    parser.set_defaults(DEFAULTS | {f"optimizer.{name}": value for name, value in sgd.items()})
    return parser


@cache
def _without_plain_values(cls: type, skip: frozenset[str]) -> frozenset[str]:
    """The parameters of a class that are no options, since only code can make their values.

    Raises:
        InputError: one of them has no default.
    """
    parser = ArgumentParser(exit_on_error=False, add_help=False)
    parser.add_class_arguments(cls, "x", skip={*skip}, instantiate=False, fail_untyped=False)
    hints = {action.dest: hint for action in parser._actions if (hint := _hint(action)) is not None}
    found = {option.removeprefix("x."): hint for option, hint in hints.items() if plain(hint) is None}
    for name, hint in found.items():
        kinds = "options are numbers, text, choices, and lists and mappings of these"
        parameter = inspect.signature(cls).parameters.get(name)
        optional = parameter is None or parameter.default is not inspect.Parameter.empty
        require(optional, f"{cls.__name__} needs a {name} of type {hint}, and {kinds}; give it a default")
    return frozenset(name.partition(".")[0] for name in found)


def _lookup(table: Mapping[str, type], name: str, kind: str) -> type:
    require(name in table, f"there is no {kind} {name!r}{did_you_mean(name, table)}")
    return table[name]


def _hint(action: Action) -> Any:
    """The type of an option; None of what is no option but a group of them, or the help on one."""
    return None if action.dest.endswith(".help") else getattr(action, "_typehint", None)


def _exists(key: str, options: Iterable[str]) -> bool:
    """Whether there is an option, also with `+` to append to a list, or with the parameter of a class behind it."""
    return any(
        key in (option, f"{option}+") or (key.startswith(f"{option}.") and option.startswith("trainer."))
        for option in options
    )


def _unknown(key: str, options: Iterable[str], chosen: dict[str, str], dashes: str = "") -> str:
    group = key.partition(".")[0]
    if group in plugins.installed(plugins.STRATEGIES) and group not in plugins.split_names(chosen["strategy"]):
        return (
            f"{dashes}{key} is an option of a strategy that is not selected (--strategy is {chosen['strategy']}); "
            f"type --strategy {group}, or leave it out"
        )
    return unknown_option(key, options, dashes)


def _merge(
    files: list[tuple[str, dict[str, Any]]], chosen: list[dict[str, str]], options: dict[str, Any]
) -> dict[str, tuple[str, Any]]:
    """Option -> file and value; a later file beats an earlier one."""
    merged = {}
    groups = {option.partition(".")[0] for option in options} | set(plugins.installed(plugins.STRATEGIES))
    for (path, tree), then in zip(files, chosen, strict=False):
        for key, value in flatten(tree, options):
            if key in options:
                hint = options[key]
                optional = hint is Any or NoneType in get_args(hint) or key in _NAMES
                require(value is not None or optional, f"{path}: {key}: expected a value, got null")
                merged[key] = (path, value)
            elif not (key in groups and value in (None, {})) and not _superseded(key, then, chosen[-1]):
                raise InputError(f"{path}: {_unknown(key, (*options, *SHORT), chosen[-1])}")
    return merged


def _superseded(key: str, then: dict[str, str], chosen: dict[str, str]) -> bool:
    """Whether an option belongs to a class that was named by then, and that another one has replaced since."""
    group = key.partition(".")[0]
    name = f"{group}.name"
    replaced = set(plugins.split_names(then["strategy"])) - set(plugins.split_names(chosen["strategy"]))
    return group in replaced or (name in chosen and then[name] != chosen[name])


def _config(verb: str, parser: ArgumentParser, parsed: Namespace, why: str, own: dict[str, Any]) -> Config:
    """Instantiates what is given by class_path, the strategies and the options that are dataclasses.

    Paths are those of this machine; their text stays as it was typed.
    """
    seed_libraries(int(parsed.seed), "options")  # what is instantiated may make layers
    text, built = config_text(parser, parsed, hide=True), _instantiate(parser, parsed)

    def group(name: str) -> dict[str, Any]:
        found = {key: value for key, value in vars(built.get(name, Namespace())).items() if key != "name"}
        return {key: _local(f"{name}.{key}", value) for key, value in found.items()}

    return Config(
        verb=verb,
        strategy=parsed.strategy,
        plugins={
            name: plugins.load(plugins.STRATEGIES, name)(**group(name)) for name in plugins.split_names(parsed.strategy)
        },
        seed=int(parsed.seed),
        data_name=parsed["data.name"],
        data_why=why,
        data=group("data"),
        model=ModelOptions(**group("model")),
        optimizer=(parsed["optimizer.name"], group("optimizer")),
        lr_scheduler=SCHEDULES[parsed["lr_scheduler.name"]](**group("lr_scheduler")),
        tracking=TrackingOptions(**vars(built.tracking)),
        trainer=group("trainer"),
        yaml=text,
        **own,
    )


def _local(option: str, value: Any) -> Any:
    """The value of an option; of one that is named as a path, the path on this machine."""
    if not isinstance(value, str | Path) or not value or not _PATH.search(option):
        return value
    try:
        return type(value)(local(value))
    except InputError as error:
        raise InputError(f"--{option}: {error}") from error


def _instantiate(parser: ArgumentParser, parsed: Namespace) -> Namespace:
    """The options, with an object in place of each that is given by class_path and init_args.

    Raises:
        InputError: a class refuses what it is given.
    """
    refused: list[tuple[type, Exception]] = []

    def build(cls: type, *args: Any, **kwargs: Any) -> Any:
        try:
            return cls(*args, **kwargs)
        except Exception as error:  # of whatever kind; jsonargparse goes on to try the option's other types
            refused.append((cls, error))
            raise

    try:
        return parser.instantiate(parsed, instantiators=[(build, object, True)])
    except Exception as error:
        if not refused:
            raise
        cls, reason = refused[0]
        said = str(reason) or type(reason).__name__
        raise InputError(f"{cls.__name__} refuses what it is given: {said}; look at its init_args") from error
