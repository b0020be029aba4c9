"""The front door: verbs, help and errors, standard library only. What a verb needs is imported when it runs.

A user's mistake is one line on stderr and exit code 2; Ctrl-C is exit code 130.
"""

from __future__ import annotations

import os
import re
import sys
from importlib import import_module
from typing import Any

from semisup import __version__
from semisup.cli import expand, help, leading
from semisup.cli.verbs import VERBS, Parser
from semisup.errors import InputError, did_you_mean
from semisup.escape import printable

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
    return re.sub(r"\s*\n\s*", " ", printable(message).strip())


def _run(argv: list[str]) -> None:
    name, rest = (argv[0], argv[1:]) if argv else ("--help", [])
    if name in _HELP:
        print(help.overview(), end="")
    elif name == "--version":
        print(__version__)
    elif name in VERBS:
        of_files = VERBS[name].of_files if len(leading(rest)) > 1 else ""
        if of_files or not VERBS[name].options:
            _parse(name, rest, of_files)
        else:
            _configure(name, rest)
    elif name.startswith("-"):
        raise InputError(f"the verb comes first: semisup VERB {name}; there are: {', '.join(VERBS)}")
    else:
        raise InputError(f"there is no verb {name!r}{did_you_mean(name, VERBS)}")


def _parse(name: str, argv: list[str], of_files: str) -> None:
    """Runs a verb that has a parser of its own, or has one where files are named."""
    verb = VERBS[name]
    module, parser = _module(of_files or name), Parser(f"semisup {name}", description=verb.sentence, allow_abbrev=False)
    parser.given = argv
    module.add_options(parser)
    module.run(*(parser.parse_known_args(argv) if verb.passes_on else (parser.parse_args(argv),)))


def _configure(name: str, argv: list[str]) -> None:
    """Runs a verb that is given a `Config`."""
    argv = expand(argv)
    asked = next((k for k, argument in enumerate(argv) if argument in _HELP), None)
    if asked is not None:
        topic = next((a for a in argv[asked + 1 : asked + 2] if not a.startswith("-")), None)
        print(help.of_verb(name, argv[:asked] + argv[asked + 1 + (topic is not None) :], topic), end="")
        return
    from semisup.cli import config
    from semisup.cli.lightning_errors import lightning_errors

    with lightning_errors():
        parsed = config.parse(name, [argument for argument in argv if argument != "--print_config"])
        if "--print_config" in argv:
            print(parsed.yaml, end="")
        else:
            _module(name).run(parsed)


def _module(name: str) -> Any:
    module = VERBS[name].module if name in VERBS else ""
    return import_module(f"semisup.cli.{module or name.replace('-', '_')}")
