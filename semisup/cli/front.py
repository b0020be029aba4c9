"""The front door: verbs, help and errors, standard library only. What a verb needs is imported when it runs.

A user's mistake is one line on stderr and exit code 2; Ctrl-C is exit code 130.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from importlib import import_module
from typing import NoReturn

from semisup import __version__
from semisup.cli import expand, help, listing
from semisup.errors import InputError, did_you_mean
from semisup.escape import printable

_MODULES = {"fit": "fit", "validate": "evaluate", "test": "evaluate", "predict": "predict"}  # in semisup.cli
_OF_RUNS = {
    "figures": "Draws the pictures of one or more runs.",
    "report": "Writes the report of one or more runs as LaTeX, HTML and Markdown.",
    "dashboard": "Builds a W&B workspace and a report of what runs logged.",
}
_HELP = ("-h", "--help")


def main(argv: list[str] | None = None) -> int:
    """Runs the command line.

    Args:
        argv: what follows the program's name; the process's own by default.

    Returns:
        The exit code.
    """
    try:
        _run(sys.argv[1:] if argv is None else argv)
    except InputError as error:
        if os.environ.get("SEMISUP_DEBUG"):
            raise
        print(f"semisup: error: {_on_one_line(str(error))}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except SystemExit as leaving:  # Lightning ends the process itself after a Ctrl-C
        if isinstance(leaving.__context__, KeyboardInterrupt):
            return 130
        raise
    return 0


def _on_one_line(message: str) -> str:
    """Lines joined, but spaces kept: what is to be pasted may hold several side by side."""
    return printable(re.sub(r"\s*\n\s*", " ", message.strip()))


def _run(argv: list[str]) -> None:
    verb, rest = (argv[0], argv[1:]) if argv else ("--help", [])
    if verb in _HELP:
        print(help.overview(), end="")
    elif verb == "--version":
        print(__version__)
    elif verb == "list":
        _list(rest)
    elif verb == "data":
        _data(rest)
    elif verb in _OF_RUNS:
        _of_runs(verb, rest)
    elif verb == "compare":
        _compare(rest)
    elif verb == "sweep":
        _sweep(rest)
    elif verb == "kmeans-features":
        _kmeans_features(rest)
    elif verb in _MODULES:
        _work(verb, expand(rest))
    elif verb.startswith("-"):
        raise InputError(f"the verb comes first: semisup VERB {verb}; there are: {', '.join(help.VERBS)}")
    else:
        raise InputError(f"there is no verb {verb!r}{did_you_mean(verb, help.VERBS)}")


def _work(verb: str, argv: list[str]) -> None:
    """A verb that trains or evaluates."""
    asked = next((place for place, argument in enumerate(argv) if argument in _HELP), None)
    if asked is not None:
        topic = next((a for a in argv[asked + 1 : asked + 2] if not a.startswith("-")), None)
        print(help.of_verb(verb, argv[:asked] + argv[asked + 1 + (topic is not None) :], topic), end="")
        return
    from semisup.cli import config
    from semisup.cli.lightning_errors import lightning_errors

    with lightning_errors():
        parsed = config.parse(verb, [argument for argument in argv if argument != "--print_config"])
        if "--print_config" in argv:
            print(parsed.yaml, end="")
        else:
            import_module(f"semisup.cli.{_MODULES[verb]}").run(parsed)


class _Parser(argparse.ArgumentParser):
    """Reports a mistake as every other one is reported."""

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}; `{self.prog} --help` tells more")


def _list(argv: list[str]) -> None:
    parser = _Parser("semisup list", description="Lists what is installed.", allow_abbrev=False)
    parser.add_argument("kind", nargs="?", help="strategies, datamodules or backbones; all of them by default")
    print("\n".join(listing.lines(parser.parse_args(argv).kind)))


def _data(argv: list[str]) -> None:
    module = import_module("semisup.cli.data")
    parser = _Parser("semisup data", description="Downloads a dataset, or removes old caches.", allow_abbrev=False)
    module.add_options(parser)
    module.run(parser.parse_args(argv))


def _of_runs(verb: str, argv: list[str]) -> None:
    module = import_module(f"semisup.cli.{verb}")
    parser = _Parser(f"semisup {verb}", description=_OF_RUNS[verb], allow_abbrev=False)
    module.add_options(parser)
    module.run(parser.parse_args(argv))


def _compare(argv: list[str]) -> None:
    module = import_module("semisup.cli.compare")
    parser = _Parser("semisup compare", description="Compares strategies over seeds and labels.", allow_abbrev=False)
    module.add_options(parser, argv)
    module.run(*parser.parse_known_args(argv))


def _sweep(argv: list[str]) -> None:
    module = import_module("semisup.cli.sweep")
    parser = _Parser("semisup sweep", description="Varies the options of a strategy.", allow_abbrev=False)
    module.add_options(parser)
    module.run(*parser.parse_known_args(argv))


def _kmeans_features(argv: list[str]) -> None:
    module = import_module("semisup.cli.kmeans_features")
    parser = _Parser(
        "semisup kmeans-features", description="Scores k-means features with a linear SVM.", allow_abbrev=False
    )
    module.add_options(parser)
    module.run(*parser.parse_known_args(argv))
