"""The texts of `--help`, written from the sources of what they describe; standard library only."""

from __future__ import annotations

import ast
import re
import shutil
import textwrap
from collections.abc import Collection
from dataclasses import replace

from semisup import plugins
from semisup.cli import DEFAULTS, ROOT, last, resolve_data
from semisup.cli.verbs import VERBS
from semisup.errors import InputError, did_you_mean
from semisup.models import SGD_OPTIONS
from semisup.plugins import source
from semisup.plugins.source import Option

_MAIN = (
    Option("strategy", "NAME[+NAME]", DEFAULTS["strategy"], "what to learn from unlabeled images (semisup list)"),
    Option("data", "NAME", f"stl10 where it is in {ROOT}, else digits", "the dataset (semisup list)"),
    Option("config", "FILE", "", "options from YAML; several files add up, and the command line beats them all"),
    Option("trust", "", "", "import the classes that files, also a run that goes on, name in their trainer group"),
    Option("print_config", "", "", "print all options as YAML, to give to --config, and do nothing else"),
    Option("seed", "N", str(DEFAULTS["seed"]), "of every random draw; 0 or more"),
)
_COLUMN = 42  # where an option's help begins
_MOST_USED = (
    *("max_epochs", "max_steps", "accelerator", "devices", "strategy", "precision", "accumulate_grad_batches"),
    *("gradient_clip_val", "limit_train_batches", "limit_val_batches", "check_val_every_n_epoch"),
    *("default_root_dir", "fast_dev_run"),
)
_OF_TRAINING = ("batch_size", "sampler", "steps_per_epoch", "augmentation", "labeled_in_unlabeled")  # of data


def overview() -> str:
    """What `semisup --help` prints."""
    verbs = "\n".join(f"  {name:17}{verb.help}" for name, verb in VERBS.items())
    return (
        "usage: semisup VERB [OPTION]...\n\nSemi-supervised image classification: few labels, many unlabeled pictures."
        f"\n\nverbs:\n{verbs}\n\n`semisup VERB --help` tells of one verb. An error is one line; with SEMISUP_DEBUG=1 "
        "in the\nenvironment it comes with its traceback.\n"
    )


def of_verb(verb: str, argv: list[str], topic: str | None) -> str:
    """What `semisup fit --help [topic]` and the like print.

    Args:
        verb: a verb that trains or evaluates.
        argv: the other arguments, short options written out; the strategy and the dataset named there are described.
        topic: one group of options to describe in full, such as `trainer`, or the name of a strategy or datamodule.

    Raises:
        InputError: the topic, or what `argv` names, doesn't exist.
    """
    if topic:
        return _topic(topic, argv)
    trains = verb == "fit"  # others score what was trained, on its data, by its options
    usage = f"usage: semisup {verb} {'[--strategy NAME] [--data NAME]' if trains else 'RUN'} [--GROUP.OPTION VALUE]..."
    parts = [
        f"{usage}\n\n{VERBS[verb].sentence}",
        "\n".join(["examples:", *(f"  {example}" for example in VERBS[verb].examples)]),
        _section("main options:", "", (*VERBS[verb].options, *(_MAIN if trains else ()))),
    ]
    for name in plugins.split_names(last(argv, "strategy") or DEFAULTS["strategy"]) if trains else ():
        parts.append(_plugin(plugins.STRATEGIES, name, name))
    data, why = resolve_data(last(argv, "data.name"), last(argv, "data.root") or ROOT)
    why = f" ({why.partition(';')[0]})" if why else ""
    parts.append(_plugin(plugins.DATAMODULES, data, "data", why, without=() if trains else _OF_TRAINING))
    parts += [_topic(group, argv) for group in ("model", "optimizer", "lr_scheduler", "tracking") if trains]
    trainer = {o.name: replace(o, help=re.split(r"(?<=[^.]\.)\s", o.help)[0]) for o in _trainer()}
    most_used = _MOST_USED if trains else ("accelerator", "devices", "precision")
    parts.append(_section("trainer, most used:", "trainer.", tuple(trainer[n] for n in most_used if n in trainer)))
    parts.append(
        f"More:\n  semisup {verb} --help trainer       every option of Lightning's Trainer\n"
        f"  semisup {verb} --help NAME          the options of one strategy, dataset or group"
    )
    return "\n\n".join(parts) + "\n"


def _topic(topic: str, argv: list[str]) -> str:
    """The section of one group of options, or of one plugin."""
    if topic == "trainer":
        return _section("trainer (Lightning's Trainer):", "trainer.", _trainer())
    if topic == "model":
        return _section("model:", "model.", source.describe("semisup.models.options:ModelOptions").options)
    if topic == "tracking":
        return _section("tracking:", "tracking.", source.describe("semisup.tracking:TrackingOptions").options)
    if topic == "optimizer":
        return _optimizer(last(argv, "optimizer.name") or DEFAULTS["optimizer.name"])
    if topic == "lr_scheduler":
        return _schedule(last(argv, "lr_scheduler.name") or DEFAULTS["lr_scheduler.name"])
    if topic == "data":
        topic, _ = resolve_data(last(argv, "data.name"), last(argv, "data.root") or ROOT)
    strategies, datamodules = plugins.installed(plugins.STRATEGIES), plugins.installed(plugins.DATAMODULES)
    if topic in strategies:
        return _plugin(plugins.STRATEGIES, topic, topic)
    if topic in datamodules:
        return _plugin(plugins.DATAMODULES, topic, "data")
    topics = ("trainer", "model", "tracking", "optimizer", "lr_scheduler", "data", *strategies, *datamodules)
    raise InputError(f"there is no help on {topic!r}{did_you_mean(topic, topics)}")


def _plugin(group: str, name: str, prefix: str, why: str = "", without: Collection[str] = ()) -> str:
    description = source.describe(plugins.find(group, name).value)
    kind = "strategy" if group == plugins.STRATEGIES else "data"
    hidden = {*without, *(["seed"] if prefix == "data" else [])}
    options = tuple(option for option in description.options if option.name not in hidden)
    return _section(f"{kind} {name}{why}: {description.summary}", f"{prefix}.", options)


def _trainer() -> tuple[Option, ...]:
    options = source.describe("pytorch_lightning.trainer.trainer:Trainer").options
    return tuple(replace(o, default=str(DEFAULTS.get(f"trainer.{o.name}", o.default))) for o in options)


def _optimizer(name: str) -> str:
    tree = source.syntax_tree("torch.optim") or ast.Module([], [])
    imported = [alias.name for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names]
    classes = {cls.lower(): cls for cls in imported if cls[:1].isupper() and cls != "Optimizer"}
    if name.lower() not in classes:
        raise InputError(f"torch.optim has no optimizer {name!r}{did_you_mean(name.lower(), classes)}")
    ours = SGD_OPTIONS if name.lower() == "sgd" else {}
    options = source.describe(f"torch.optim:{classes[name.lower()]}").options
    own = tuple(replace(o, default=str(ours.get(o.name, o.default))) for o in options if o.name != "params")
    return _section(f"optimizer {name} (--optimizer NAME takes any of torch.optim):", "optimizer.", own)


def _schedule(name: str) -> str:
    tree = source.syntax_tree("semisup.models.optim") or ast.Module([], [])
    tables = (n.value for n in tree.body if isinstance(n, ast.AnnAssign) and ast.unparse(n.target) == "SCHEDULES")
    table = next((value for value in tables if isinstance(value, ast.Dict)), ast.Dict([], []))
    classes = {ast.literal_eval(k): ast.unparse(v) for k, v in zip(table.keys, table.values, strict=True) if k}
    if name not in classes:
        raise InputError(f"there is no lr_scheduler {name!r}{did_you_mean(name, classes)}")
    description = source.describe(f"semisup.models.optim:{classes[name]}")
    title = f"lr_scheduler {name} (--lr_scheduler {'|'.join(classes)}): {description.summary}"
    return _section(title, "lr_scheduler.", description.options)


def _section(title: str, prefix: str, options: tuple[Option, ...]) -> str:
    """A heading and a row for every option: its name and type on the left, its help and default on the right."""
    width = min(max(60, shutil.get_terminal_size((110, 24)).columns), 120)
    rows = [textwrap.fill(title, width, subsequent_indent="    ")]
    for option in options:
        kind = re.sub(r" \| Tensor\b|\b_(?=[A-Z])|_INPUT\b", "", option.type)
        left = f"  --{prefix}{option.name} {kind}".rstrip()
        words = re.sub(r"\s*Defaults?:? (to )?``[^`]*``\.?", "", option.help).replace("``", "`")
        default = option.default.strip("'\"")
        right = textwrap.wrap(f"{words} [{default}]".strip() if default else words, width - _COLUMN) or [""]
        first = f"{left:{_COLUMN}}{right.pop(0)}" if len(left) < _COLUMN else left
        rows += [first, *(f"{'':{_COLUMN}}{line}" for line in right)]
    return "\n".join(rows if options else [*rows, "  (no options)"])
