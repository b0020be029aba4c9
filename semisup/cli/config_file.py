"""The text of a run's config.yaml: all options, so that reading them back gives the same run.

What was typed is text, numbers and import paths, and can be written. A default may be an object that can't, such as a
`torch.device`: it stays out, a comment in the file's first lines says so, and whoever reads the file back takes the
default again.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from enum import Enum
from typing import Any

import yaml
from jsonargparse import ArgumentParser, Namespace, set_dumper

from semisup.cli.yaml_files import Dumper
from semisup.runs import safe_yaml
from semisup.runs.redaction import without_secrets

_FAILED = "Unable to serialize instance "  # what jsonargparse writes in place of such an object
LEFT_OUT = "# left out, because it can't be written as YAML: "
_PLAIN = bool | int | float | str


class _Plain(Dumper):
    """Writes a choice by its value, and of other objects the text that jsonargparse has for them."""


_Plain.add_multi_representer(object, lambda dumper, value: dumper.represent_data(f"{_FAILED}{value}"))
_Plain.add_multi_representer(Enum, lambda dumper, choice: dumper.represent_data(choice.value))
set_dumper("plain", lambda tree: yaml.dump(tree, Dumper=_Plain, sort_keys=False))


def config_text(parser: ArgumentParser, parsed: Namespace, hide: bool = False) -> str:
    """All options as YAML.

    Args:
        parser: that parsed them.
        parsed: the options.
        hide: whether secrets among them are hidden.
    """
    parsed.pop("config", None)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", rf"\s*{_FAILED}")
        dumped = parser.dump(parsed, format="plain", skip_unset=False, skip_validation=True)
    left_out: list[str] = []
    tree = _writable(safe_yaml.loads(dumped), parsed.as_dict(), "", left_out)
    tree = without_secrets(tree) if hide else tree
    return "".join(left_out) + yaml.dump(tree, Dumper=Dumper, sort_keys=False, allow_unicode=True)


def left_out(text: str) -> Iterator[str]:
    """What the comments of a config.yaml say of options that are not in it, a line each."""
    return (line.removeprefix("# ") for line in text.splitlines() if line.startswith(LEFT_OUT))


def _writable(dumped: Any, original: Any, name: str, left_out: list[str]) -> Any:
    """What was dumped, without the text that stands for an object, and with what became text and was none."""
    if isinstance(dumped, dict) and isinstance(original, dict):
        kept = {}
        for key, before in original.items():
            value, inner = dumped.get(key, dumped.get(str(key))), f"{name}.{key}".lstrip(".")
            if _failed(value) and not isinstance(before, _PLAIN):
                left_out.append(f"{LEFT_OUT}{inner}, {str(value).removeprefix(_FAILED)}\n")
            else:
                kept[key] = _writable(value, before, inner, left_out)
        return kept
    if isinstance(dumped, list) and isinstance(original, list | tuple) and len(dumped) == len(original):
        both = enumerate(zip(dumped, original, strict=True))
        return [_writable(value, before, f"{name}.{number}", left_out) for number, (value, before) in both]
    return original if _failed(dumped) and isinstance(original, _PLAIN) else dumped


def _failed(value: Any) -> bool:
    return isinstance(value, str) and value.startswith(_FAILED)
