"""Keeps keys, tokens and passwords out of what a run writes. Standard library only.

A command line is redacted generously: nobody reads it back. Of options, which are read back from a run's `config.yaml`,
only what is named as a secret or is known to be one is replaced, so that no path or column name is lost.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from typing import Any

HIDDEN = "***"
_NAME = re.compile(r"(?i)(?:^|[._-])\w*(?:key|token|password|passwd|passphrase|secret|credentials?|auth)$")
_OPTION = re.compile(  # not every key: `image_key` names a column
    r"(?i)(?:\w*(?:api|access|secret|private|account|signing)_?)?key"
    r"|\w*(?:token|password|passwd|passphrase|secret|credentials?|auth)"
)
_IN_ADDRESS = re.compile(r"(?<=://)[^/@\s]+(?=@)")  # user:password@
_VALUE = re.compile(
    _IN_ADDRESS.pattern
    + r"|\b(?:sk-|hf_|gh[a-z]_|github_pat_|glpat-|xox[a-z]-|AKIA|wandb_v\d_)[\w-]{8,}"  # of well-known services
    + r"|(?<![A-Za-z0-9])(?=[A-Za-z]*\d)[A-Za-z0-9]{40,}"  # W&B's own keys, and whatever else is as long and as random
)
_MIN_LENGTH = 8  # characters of an environment variable's value that is looked for: a shorter one may be any word


def redacted(argv: Iterable[str]) -> list[str]:
    """A command line's words, with `***` for every value that is, or is named as, a key, a token or a password."""
    words, hide = [], False
    for word in argv:
        name, equals, _ = word.partition("=")
        secret = _NAME.search(name) is not None and (bool(equals) or name.startswith("-"))
        if hide and not word.startswith("--"):
            words.append(HIDDEN)
        elif secret and equals:
            words.append(f"{name}={HIDDEN}")
        else:
            words.append(_VALUE.sub(HIDDEN, without_known(word)))
        hide = secret and not equals
    return words


def without_known(text: str) -> str:
    """The text, with `***` for every value of an environment variable that is named as a secret."""
    known = [value for name, value in os.environ.items() if len(value) >= _MIN_LENGTH and _NAME.search(name)]
    for value in sorted(known, key=len, reverse=True):  # one may begin as another does
        text = text.replace(value, HIDDEN)
    return text


def shown(name: str, value: Any) -> Any:
    """The value of an option as others may read it, redacted as generously as a command line."""
    if isinstance(value, list):
        return [shown(name, inner) for inner in value]
    if isinstance(value, dict):
        return {key: shown(f"{name}.{key}", inner) for key, inner in value.items()}
    (word,) = redacted([f"{name}={value}"])
    return value if word == f"{name}={value}" else word.removeprefix(f"{name}=")


def without_secrets(options: Any, name: str = "") -> Any:
    """Options as they may be written to a file: a mapping, a list, or the value of the option `name`."""
    if isinstance(options, dict):
        return {key: without_secrets(value, str(key)) for key, value in options.items()}
    if isinstance(options, list):
        return [without_secrets(value, name) for value in options]
    if not isinstance(options, str):
        return options
    return HIDDEN if _OPTION.fullmatch(name) else _IN_ADDRESS.sub(HIDDEN, without_known(options))


def without_hidden(options: Any) -> Any:
    """Options as read back: what was hidden counts as not given."""
    if isinstance(options, dict):
        return {key: without_hidden(value) for key, value in options.items() if not is_hidden(value)}
    if isinstance(options, list):
        return [without_hidden(value) for value in options if not is_hidden(value)]
    return options


def is_hidden(value: Any) -> bool:
    """Whether an option's value, or a part of it, was hidden when it was written."""
    return isinstance(value, str) and HIDDEN in value
