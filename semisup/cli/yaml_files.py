"""Options in YAML: reading a file with its short names written out, and dotted keys to nested mappings and back."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import get_loader

from semisup.cli import SHORT
from semisup.errors import require
from semisup.runs import safe_yaml
from semisup.runs.directory import place
from semisup.runs.options import LABELS_CSV, ROOT
from semisup.runs.redaction import is_hidden, without_hidden
from semisup.runtime.console import say

# Classes that configurations name by the modules they used to lie in.
_MOVED = {
    "semisup.probe.": "semisup.training.probe.",
    "semisup.sync_batchnorm.": "semisup.runtime.sync_batchnorm.",
    "semisup.tracking.train_accuracy.": "semisup.training.train_accuracy.",
}


class Dumper(yaml.SafeDumper):
    """Quotes what PyYAML takes for a string and the parser's own loader for a number, such as 1e3.

    And what ends a line in Unicode, which PyYAML else writes as it is and reads back as a space.
    """


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    if any(end in text for end in "\x85\u2028\u2029"):
        return dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"')
    try:
        float(text)
    except ValueError:
        return dumper.represent_str(text)
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="'")


Dumper.add_representer(str, _represent_text)


def read(path: str, of_run: bool = False) -> dict[str, Any]:
    """A YAML file, its short names written out; a secret that was hidden when it was written counts as not given.

    Args:
        path: the file.
        of_run: it is a run's own, and not one that was typed.
    """
    tree = safe_yaml.read(Path(path), get_loader("yaml"), of_run)
    tree = {} if tree is None else tree
    text = str(tree)[:60]
    require(isinstance(tree, dict), f"{path} must hold options, such as `seed: 1`, not {text!r}")
    tree = without_hidden(tree)
    if "trainer" in tree:  # the group that names classes
        tree["trainer"] = follow_moves(tree["trainer"])
    return {
        key: {SHORT[key]: value} if key in SHORT and isinstance(value, str) else value for key, value in tree.items()
    }


def with_places(text: str) -> str:
    """A run's options with the absolute paths of its data, and what was typed beside each.

    So a run goes on, is scored and compared from any working directory.
    """
    tree = safe_yaml.loads(text)
    data, typed = tree.get("data", {}), {}
    for option in (ROOT, LABELS_CSV):
        name = option.removeprefix("data.")
        path = data.get(name)
        if isinstance(path, str) and not is_hidden(path) and place(path) != path and os.path.exists(place(path)):
            typed[name], data[name] = path, place(path)
    if not typed:
        return text
    lines = _written(tree, text).splitlines(keepends=True)
    for name, path in typed.items():
        here = next(k for k in range(lines.index("data:\n"), len(lines)) if lines[k].startswith(f"  {name}: "))
        lines.insert(here, f"  # typed as {json.dumps(path)}\n")
    return "".join(lines)


def with_precision(text: str, precision: str) -> str:
    """A run's options with the precision that none asked for and the machine has decided."""
    tree = safe_yaml.loads(text)
    tree["trainer"]["precision"] = precision
    return _written(tree, text)


def _written(tree: dict[str, Any], text: str) -> str:
    """Options as YAML, behind the comments of the text that they were read from."""
    comments = [line for line in text.splitlines(keepends=True) if line.startswith("#")]
    return "".join(comments) + yaml.dump(tree, Dumper=Dumper, sort_keys=False, allow_unicode=True)


def lookup(tree: dict[str, Any], key: str) -> Any:
    group, _, name = key.partition(".")
    inner = tree.get(group)
    return tree.get(key, inner.get(name) if isinstance(inner, dict) else None)


def flatten(tree: dict[str, Any], options: Iterable[str], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested mappings -> dotted keys, down to the options; their values may be mappings themselves."""
    for key, value in tree.items():
        if isinstance(value, dict) and value and f"{prefix}{key}" not in options:
            yield from flatten(value, options, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def nest(flat: dict[str, Any]) -> dict[str, Any]:
    """Dotted keys -> nested mappings."""
    tree: dict[str, Any] = {}
    for key, value in flat.items():
        *groups, name = key.split(".")
        inner = tree
        for group in groups:
            inner = inner.setdefault(group, {})
        inner[name] = value
    return tree


def follow_moves(value: Any) -> Any:
    """The value, or the dict or list of them, with every class named by where it lies now; says each that has moved."""
    if isinstance(value, dict):
        return {key: follow_moves(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [follow_moves(inner) for inner in value]
    if isinstance(value, str):
        for old, new in _MOVED.items():
            if value.startswith(old):
                now = new + value.removeprefix(old)
                say(f"{value} lies in {now} now; write that instead")
                return now
    return value
