"""From arguments and YAML files to a `Config`: one parser, with one group of options for every plugin that is named.

    config = parse("fit", ["--strategy", "pseudolabel", "--pseudolabel.top_k", "1000", "--trainer.max_epochs", "5"])

The command line beats files, and a later file an earlier one. Where a later one names another strategy, dataset,
optimiser or schedule than a file does, those of the file's options that the other one doesn't have are left out.

A class is named in the trainer's group alone. A file that names one is believed where `--trust` is typed.
"""

from __future__ import annotations

from argparse import Namespace
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from semisup import plugins
from semisup.cli import SHORT, expand, leading, merging, take
from semisup.cli.build import DataOptions, arguments, instantiate
from semisup.cli.config_file import config_text
from semisup.cli.parsing import exists, gathered, option_parser, parse_args, types, unknown
from semisup.cli.trust import close, stay_inside
from semisup.cli.verbs import VERBS
from semisup.cli.yaml_files import Dumper, follow_moves, nest, with_precision
from semisup.errors import InputError, require
from semisup.models.optim import SCHEDULES, Schedule
from semisup.models.options import ModelOptions, OptimizerOptions
from semisup.randomness import seed_libraries
from semisup.runs import safe_yaml
from semisup.runs.directory import run_of
from semisup.runs.paths import local
from semisup.strategy import Strategy
from semisup.tracking import TrackingOptions


@dataclass
class Config:
    """Everything that a verb needs to know; it takes this apart, and hands each room its part.

    Attributes:
        verb: fit, validate, test or predict.
        strategy: as typed, such as `kmeans+pseudolabel`.
        plugins: name -> strategy, in that order.
        seed: of every random draw.
        data: the dataset.
        model: the network.
        optimizer: name and arguments of a class of torch.optim.
        lr_scheduler: the schedule.
        tracking: where metrics go.
        trainer: arguments of Lightning's Trainer.
        own: the verb's own options (`semisup.cli.verbs`): what this one invocation reads and writes.
        yaml: what `--print_config` prints and a run's config.yaml holds: all of the above that says what to train and
            how, with secrets hidden, but not the verb's own options.
    """

    verb: str
    strategy: str
    plugins: dict[str, Strategy]
    seed: int
    data: DataOptions
    model: ModelOptions
    optimizer: OptimizerOptions
    lr_scheduler: Schedule
    tracking: TrackingOptions
    trainer: dict[str, Any]
    own: Namespace
    yaml: str

    @property
    def options(self) -> dict[str, Any]:
        """The options that `yaml` writes down."""
        options: dict[str, Any] = safe_yaml.loads(self.yaml)
        return options

    def in_precision(self, precision: str) -> Config:
        """The same in a precision that the machine decides, since none was asked for."""
        flags = {**self.trainer, "precision": precision}
        return replace(self, trainer=flags, yaml=with_precision(self.yaml, precision))

    @property
    def title(self) -> str:
        """What is trained on which data, and why on these."""
        why = f" ({self.data.why})" if self.data.why else ""
        return f"{self.strategy} on {self.data.name}, seed {self.seed}{why}"


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
    named = own["resume"] if verb == "fit" else own["ckpt_path"]
    run = run_of(Path(named)) if named and named != "auto" else None
    files = merging.files(paths, run, with_trainer=verb == "fit")

    chosen, why, by_backbone = merging.choose(files, args)
    typed = {argument[2:].partition("=")[0] for argument in args if argument.startswith("--")}
    parser = option_parser(chosen[-1], by_backbone)
    options = types(parser)
    args = gathered(args, options)
    for argument in args:
        key, _, value = argument.removeprefix("--").partition("=")
        require(value != "--", f"--{key}: expected a value, got --")
        require(key != "ckpt_path", "--ckpt_path is not of fit; type --resume RUN to go on with a run")
        if argument.startswith("--") and not exists(key, options):
            valid = (*options, *SHORT, *own, "config", "trust", "print_config", "help")
            raise InputError(unknown(key, valid, chosen[-1]["strategy"], "--"))
    merged = {key: one for key, one in merging.merge(files, chosen, options).items() if key not in typed}
    close(parser, merged, typed, trust)
    tree = yaml.dump(nest({key: one.value for key, one in merged.items()}), Dumper=Dumper)
    parsed = parse_args(parser, [f"--config={tree}", *args], {key: one.path for key, one in merged.items()})
    for name, value in chosen[-1].items():
        parsed[name] = value
    # Read back once, so that torch's `dampening: float = 0` is what it is for whoever reads the file: 0.0.
    text = config_text(parser, parsed)
    stay_inside(merged, safe_yaml.loads(text)["trainer"], typed, run)
    parsed = parser.parse_args([f"--config={text}"])

    seed = int(parsed.seed)
    seed_libraries(seed, "options")  # what is instantiated may make layers
    text, built = config_text(parser, parsed, hide=True), instantiate(parser, parsed)
    names = plugins.split_names(parsed.strategy)
    return Config(
        verb=verb,
        strategy=parsed.strategy,
        plugins={name: plugins.load(plugins.STRATEGIES, name)(**arguments(built, name)) for name in names},
        seed=seed,
        data=DataOptions(parsed["data.name"], arguments(built, "data"), seed, why),
        model=ModelOptions(**arguments(built, "model")),
        optimizer=OptimizerOptions(parsed["optimizer.name"], arguments(built, "optimizer")),
        lr_scheduler=SCHEDULES[parsed["lr_scheduler.name"]](**arguments(built, "lr_scheduler")),
        tracking=TrackingOptions(**vars(built.tracking)),
        trainer=arguments(built, "trainer"),
        own=Namespace(**own),
        yaml=text,
    )


def _verb_options(verb: str, args: list[str]) -> tuple[dict[str, Any], list[str]]:
    """What this one invocation reads and writes, and the other arguments."""
    own: dict[str, Any] = {}
    if verb != "fit" and (named := leading(args)):
        alone = len(named) == 1 and not take(args, "ckpt_path")[0]
        require(alone, f"type one RUN to {verb}, and options behind it; found {' '.join(named)}")
        args = ["--ckpt_path", *args]
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
    require(verb == "fit" or own["ckpt_path"], f"type semisup {verb} RUN, with the path of a run or of a checkpoint")
    return own, args
