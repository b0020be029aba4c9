"""Files that name a class which leaves a mark when it is imported (the fixture `mark`)."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import yaml

from semisup.cli.config import parse
from semisup.errors import InputError

MARK = "class_that_marks.Marks"
NAMED = {"class_path": MARK, "init_args": {"x": {"class_path": MARK}}}
FORMS: dict[str, Any] = {
    "class path": {"class_path": MARK},
    "init_args": {"class_path": "torch.nn.Linear", "init_args": {"in_features": NAMED, "out_features": 1}},
    "list": [NAMED, MARK],
    "mapping": {"a": NAMED, "b": [NAMED]},
    "text": MARK,
}


def was_imported(mark: Path) -> bool:
    """Whether the module was imported since the last time."""
    found = mark.exists()
    mark.unlink(missing_ok=True)
    sys.modules.pop("class_that_marks", None)
    return found


def written(chosen: dict[str, str], option: str, value: Any, path: Path) -> Path:
    """A YAML file that names classes, and gives one option a value."""
    path.write_text(yaml.safe_dump({**chosen, option: value}))
    return path


def refused(verb: str, *argv: str) -> str:
    """What a verb says of arguments that it may refuse, and empty where it takes them."""
    try:
        parse(verb, [*argv])
    except InputError as error:
        return str(error)
    return ""
