"""Options as they are typed, for tests of what they come to."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from semisup.cli.config import Config, parse
from semisup.errors import InputError

Write = Callable[..., str]  # what the fixture `write` is


def fails(argv: str | list[str], verb: str = "fit") -> str:
    with pytest.raises(InputError) as caught:
        parse(verb, argv.split() if isinstance(argv, str) else argv)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def fit(line: str = "") -> Config:
    return parse("fit", line.split())
