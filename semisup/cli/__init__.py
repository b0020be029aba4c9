"""The command line. In this file: what its parts share about arguments, standard library only.

An option is `--group.option VALUE`; the groups are `data`, `model`, `optimizer`, `lr_scheduler`, `tracking`, `trainer`
and one for every strategy that is named.
"""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Iterable
from itertools import takewhile
from pathlib import Path
from typing import Any

from semisup.errors import InputError
from semisup.escape import shell

# Groups that one word stands for, on the command line (--data stl10) as in YAML (data: stl10), and for which option.
SHORT = {"data": "name", "model": "backbone", "optimizer": "name", "lr_scheduler": "name"}

DEFAULTS: dict[str, Any] = {
    "strategy": "supervised",
    "seed": 0,
    "data.name": None,
    "optimizer.name": "sgd",
    "lr_scheduler.name": "cosine",
    "trainer.max_epochs": 30,
    "trainer.default_root_dir": "runs",
    "trainer.log_every_n_steps": 10,
}
ROOT = "./data"  # where datasets are looked for


def add_output(parser: ArgumentParser, metavar: str, help: str) -> None:
    """The options of where a verb writes, and over what."""
    parser.add_argument("--out", metavar=metavar, help=help)
    parser.add_argument("--force", action="store_true", help="replace files there that semisup did not write as well")


def add_may_differ(parser: ArgumentParser) -> None:
    """The option that names what may differ between runs that are shown side by side."""
    help = "options in which the arms may differ besides"
    add_names(parser, "--may_differ", "OPTION,OPTION", help)


def add_names(parser: ArgumentParser, option: str, metavar: str, help: str) -> None:
    """An option that takes names, as one word with commas or each behind the option anew; an empty list by default."""
    parser.add_argument(option, type=_names, action="extend", default=[], metavar=metavar, help=help)


def _names(text: str) -> list[str]:
    return [name.strip().removeprefix("--") for name in text.split(",") if name.strip()]


def expand(argv: Iterable[str]) -> list[str]:
    """Writes short options out: `--data X` becomes `--data.name X`, `--model=X` becomes `--model.backbone=X`."""
    expanded = []
    for argument in argv:
        option, equals, value = argument.partition("=")
        group = option.removeprefix("--")
        short = option != group and group in SHORT
        expanded.append(f"{option}.{SHORT[group]}{equals}{value}" if short else argument)
    return expanded


def leading(argv: Iterable[str]) -> list[str]:
    """What stands before the first option; `-` alone is none."""
    return list(takewhile(lambda argument: argument == "-" or not argument.startswith("-"), argv))


def take(argv: list[str], name: str) -> tuple[list[str], list[str]]:
    """Values of every `--name VALUE` and `--name=VALUE`, and the other arguments.

    Raises:
        InputError: a value is missing.
    """
    values, rest = [], []
    arguments = iter(argv)
    for argument in arguments:
        option, equals, value = argument.partition("=")
        if option != f"--{name}":
            rest.append(argument)
            continue
        given = value if equals else next(arguments, None)
        if not given or (not equals and given.startswith("--")):
            raise InputError(f"--{name.removesuffix('.name')} expects a value")
        values.append(given)
    return values, rest


def last(argv: list[str], name: str) -> str | None:
    """The value of the last `--name VALUE`, which is the one that holds, or None."""
    values, _ = take(argv, name)
    return values[-1] if values else None


def resolve_data(name: str | None, root: str = ROOT) -> tuple[str, str]:
    """The datamodule that `--data` means, and why it was chosen.

    Args:
        name: what `--data` says; None stands for STL-10 where its files are found, else for the digits.
        root: the folder that STL-10's files are looked for in.

    Returns:
        The name, and the reason on one line, empty where the name was given.
    """
    if name is not None:
        return name, ""
    for folder in (Path(root) / "stl10_binary", Path(root)):
        if (folder / "train_X.bin").is_file():
            return "stl10", f"STL-10 was found in {folder}"
    return "digits", f"there is no STL-10 in {root}; `semisup data download stl10 --root {shell(Path(root))}` brings it"
