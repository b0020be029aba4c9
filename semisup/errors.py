"""The one kind of error that a user's mistake raises, and the words that help to repair it."""

from __future__ import annotations

from argparse import ArgumentTypeError
from collections.abc import Iterable
from difflib import get_close_matches


class InputError(ArgumentTypeError, ValueError):
    """Something the user gave is wrong: a file, an option, a name.

    The message says what was found, what was expected and what to type. The command line prints it as one line and
    exits with code 2, without a traceback. (It is also an `ArgumentTypeError`, because the parser reports only those
    as errors of the option they belong to.)
    """


def did_you_mean(name: str, valid: Iterable[str]) -> str:
    """`"; did you mean 'pseudolabel'?"` where a valid name is close to `name`, else the list of the valid names."""
    names = sorted(valid)
    close = get_close_matches(name, names, n=1, cutoff=0.6)
    return f"; did you mean '{close[0]}'?" if close else f"; there are: {', '.join(names)}"


def require(condition: bool, message: str) -> None:
    """Raises `InputError(message)` unless `condition` holds."""
    if not condition:
        raise InputError(message)
