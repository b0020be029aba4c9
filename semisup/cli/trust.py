"""What a file may have imported, or written outside its run: nothing but what is typed as well, or trusted (`--trust`).

`plain` says which types of options take no classes.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePath
from types import NoneType
from typing import Any, get_args, get_origin

from jsonargparse import ArgumentParser
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from semisup.cli.merging import Merged
from semisup.cli.parsing import exists, type_of
from semisup.cli.plain import plain
from semisup.errors import require


def close(parser: ArgumentParser, merged: Mapping[str, Merged], typed: Iterable[str], trust: bool) -> None:
    """Takes the classes out of the types of options, but for those of the trainer that were typed, or are trusted.

    Args:
        parser: of all options.
        merged: what files say of them.
        typed: the options that were typed.
        trust: whether files may name classes in the trainer's group.

    Raises:
        InputError: a file names a class, and is not trusted.
    """
    for action in parser._actions:
        hint, option = type_of(action), action.dest
        if hint is None or (part := plain(hint)) == hint:
            continue
        given = merged.get(option)
        trainers = option.startswith("trainer.")
        names = ", ".join(dict.fromkeys(_imported(given.value, part))) if trainers and given else ""
        path = given.path if given else ""
        advice = f"type --trust where you trust that file, or type --{option} yourself"
        require(trust or not names, f"{path}: {option} asks to import {names}; {advice}")
        if names:
            rank_zero_only(print)(f"{path}: {option} imports {names}", file=sys.stderr)
        elif not (trainers and any(exists(key, [option]) for key in typed)):
            action._typehint = NoneType if part is None else part  # type: ignore[attr-defined]


def stay_inside(
    merged: Mapping[str, Merged], trainer: Mapping[str, Any], typed: Iterable[str], run: Path | None
) -> None:
    """Refuses a logger or a profiler of a file that would write outside the run, unless that place was typed.

    Args:
        merged: what files say of options.
        trainer: the options of the trainer, from wherever they are.
        typed: the options that were typed.
        run: the run's directory; None where it is to be made, and nothing can lie in it yet.
    """
    for name in ("logger", "profiler"):
        key = f"trainer.{name}"
        for argument, place in _outside(trainer[name], run) if key in merged else ():
            advice = f"type --{key}.{argument} {place} where it should"
            allowed = bool({f"{key}.{argument}", f"{key}.init_args.{argument}"} & {*typed})
            require(allowed, f"{merged[key].path}: {key} would write to {place}, outside the run; {advice}")


def _imported(value: Any, plain_part: Any) -> list[str]:
    """What a value would have the parser import.

    Args:
        value: of an option, as a file has it.
        plain_part: of the option's type, as `plain` gives it.
    """
    kinds = (plain_part, *get_args(plain_part))
    if isinstance(value, str):
        return [] if str in kinds else [value]
    if isinstance(value, list) and not any(get_origin(kind) in (list, tuple, set) for kind in kinds):
        return [name for inner in value for name in _imported(inner, None)]
    return list(_class_paths(value))


def _class_paths(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if "class_path" in value:
            yield str(value["class_path"])
        for inner in value.values():
            yield from _class_paths(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _class_paths(inner)


def _outside(value: Any, run: Path | None, name: str = "") -> Iterator[tuple[str, str]]:
    """What in the arguments of a class leads out of a run, and by which argument.

    Args:
        value: of an option that a file gave.
        run: the run's directory; None where it is to be made, and nothing can lie in it yet.
        name: of the argument.
    """
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _outside(inner, run, str(key))
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _outside(inner, run, name)
    elif isinstance(value, str | PurePath):
        text = re.sub(r"^file:(//)?", "", str(value))
        if (re.search(r"(dir|directory|folder|path)$", name) and name != "class_path") or text != str(value):
            away = run is None or not Path(text).expanduser().resolve().is_relative_to(run.resolve())
        else:
            away = text.startswith(("/", "~")) or ".." in PurePath(text).parts
        if away:
            yield name, str(value)
