"""Numeric options, as the parser knows them, and command lines that nobody meant."""

from __future__ import annotations

import math
from contextlib import redirect_stderr
from functools import cache
from itertools import chain
from typing import Any, get_args

import torch
import yaml
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from fuzzing.damage import HUGE, TEXT
from fuzzing.judging import Case, Property, console
from semisup import plugins
from semisup.cli import expand, parsing
from semisup.cli.build import build_trainer
from semisup.cli.config import parse
from semisup.cli.front import main
from semisup.errors import InputError
from semisup.models.optim import SCHEDULES, build_optimizer

_OPTIMIZERS = ("sgd", "adamw", "rmsprop", "adagrad", "lbfgs")
# -1 is everything, or no end.
_MAY_BE_NEGATIVE = ("trainer.devices", "trainer.max_epochs", "trainer.max_steps", "trainer.num_sanity_val_steps")
_AT_MOST_ONE = ("threshold", "ema_decay", "cycles", "gamma")


@cache
def lines() -> tuple[tuple[str, ...], ...]:
    """Command lines that name every plugin, schedule and some optimisers, each at least once."""
    strategies = [*plugins.installed(plugins.STRATEGIES), "exemplar+kmeans+pseudolabel"]
    datamodules, schedules = [*plugins.installed(plugins.DATAMODULES)], [*SCHEDULES]
    count = max(map(len, (strategies, datamodules, schedules, _OPTIMIZERS)))
    groups = {"strategy": strategies, "data": datamodules, "lr_scheduler": schedules, "optimizer": _OPTIMIZERS}
    return tuple(
        tuple(chain(*((f"--{name}", values[k % len(values)]) for name, values in groups.items()))) for k in range(count)
    )


@cache
def numeric(line: tuple[str, ...]) -> tuple[str, ...]:
    """The options that take numbers, by the parser's own type hints."""
    words = dict(zip(*[iter(expand(line))] * 2, strict=True))
    parser = parsing.option_parser({name.removeprefix("--"): value for name, value in words.items()})
    hints = {action.dest: getattr(action, "_typehint", None) for action in parser._actions}
    return tuple(name for name, hint in hints.items() if name[-5:] != ".help" and _numbers(hint))


def _numbers(hint: Any) -> bool:
    return hint in (int, float) or any(map(_numbers, get_args(hint)))


_WORDS = (
    "",
    " 3",
    "0x10",
    "1_000",
    "٣",
    "1e400",
    "-1e400",
    "9" * 5000,
    "--",
    "[1, 2]",
    "{}",
    "true",
    "null",
    "1/3",
    "3j",
)
_VALUES = st.one_of(
    st.integers().map(str),
    st.floats().map(str),
    st.floats(-3, 7).map(str),
    st.integers(-3, 7).map(str),
    st.sampled_from((*map(str, HUGE), *_WORDS, "nan", "inf", "-inf", "-3", "7", "0")),
    TEXT.filter(lambda text: "\0" not in text),
)


@st.composite
def option_cases(draw: DrawFn) -> Case:
    line = draw(st.sampled_from(lines()))
    return Case(given=(line, draw(st.sampled_from(numeric(line))), draw(_VALUES)))


def check_option(case: Case) -> None:
    """A number is taken as it is written, or refused by the option's name before anything begins."""
    line, option, text = case.given
    try:
        _construct([*line, f"--{option}={text}", "--trainer.accelerator", "cpu"], option, text)
    except (InputError, MisconfigurationException) as error:
        name = option.rpartition(".")[2]
        called = {"max_time": "duration"}.get(name, name)  # Lightning's own word
        assert name in str(error) or called in str(error), f"an error that does not name {name}: {error}"
        raise InputError(str(error)) from error


def _construct(argv: list[str], option: str, text: str) -> None:
    """All that is made of options before the first step, but for the network and the pictures."""
    config = parse("fit", argv)
    tree: Any = yaml.safe_load(config.yaml)
    for part in option.split("."):
        tree = tree[part]
    if type(tree) in (int, float):
        expected = tree if text.startswith("0x") else number(text)
        assert math.isfinite(tree) and tree == (float(expected) if type(tree) is float else expected)
    config.data.datamodule()
    build_optimizer(config.optimizer.name, torch.nn.Linear(2, 2), config.optimizer.parameters, False)
    assert 0 <= config.lr_scheduler.factor(0, 10**6, 1000) <= 1
    build_trainer(config.trainer)
    if type(tree) in (int, float):
        assert tree >= 0 or option in _MAY_BE_NEGATIVE, f"{option} may be {tree}"
        assert tree <= 1 or option.rpartition(".")[2] not in _AT_MOST_ONE, f"{option} may be {tree}"


def number(text: str) -> float:
    """The number that a text is."""
    return float(text) if not text.strip().lstrip("+-").isdecimal() else int(text)


# ---- command lines

_VERBS = ("fit", "test", "validate", "predict", "report", "figures", "compare", "kmeans-features", "list", "data")
_OPTIONS = ("--out", "--only", "--resume", "--ckpt_path", "--seeds", "--labels", "--jobs", "--strategies", "--strategy")
_MORE = ("--data", "--data.root", "--config", "--format", "--on", "--patch", "--c", "--centroids", "--oracle", "--seed")


@st.composite
def command_cases(draw: DrawFn) -> Case:
    words = st.one_of(
        st.sampled_from((*_OPTIONS, *_MORE)), TEXT, _VALUES, st.sampled_from((*_VERBS, ".", "/", "~", "x"))
    )
    argv = [draw(st.sampled_from(_VERBS)), *draw(st.lists(words.filter(lambda word: "\0" not in word), max_size=5))]
    # Nothing is trained: what is right is printed, or finds no pictures.
    last = {"fit": "--print_config", "compare": "--dry_run"}.get(argv[0])
    return Case(given=[*argv, *([last] if last else ("--data", "folder") * (argv[0] == "kmeans-features"))])


def check_command(case: Case) -> None:
    """It ends by itself, with nothing on stderr, or with one line there and exit code 2."""
    with redirect_stderr(console()) as errors:
        try:
            code = main(case.given)
        except SystemExit as leaving:  # of help
            code = int(leaving.code or 0)
    errors.flush()
    said = errors.buffer.getvalue().decode()  # type: ignore[attr-defined]
    if code == 2:
        assert said.startswith("semisup: error: ") and said.count("\n") == 1
        raise InputError(said)
    assert code == 0 and "Traceback" not in said


PROPERTIES = (
    Property("numeric options", option_cases(), check_option, share=0.5),
    Property("command lines", command_cases(), check_command, share=0.25),
)
