"""The framework knows no strategy by name: what is drawn, logged and reported of one, it brings itself."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from semisup import plugins

ROOT = Path(__file__).parents[1] / "semisup"
# The strategy that the others are measured against, and whose loss is trained where none owns it: a role, not a method.
REFERENCE = {"supervised"}
OURS = {name: point.value.partition(":")[2] for name, point in plugins.installed(plugins.STRATEGIES).items()}
NAMES = OURS.keys() - REFERENCE - sys.stdlib_module_names  # `abc` is both
# Commands to be typed, which a verb's help shows.
EXAMPLES = {"cli/compare.py", "cli/sweep.py", "cli/verbs.py"}


def documentation(tree: ast.Module) -> set[ast.AST]:
    """The docstrings, which may cite papers and show examples."""
    owners = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    firsts = [node.body[0] for node in ast.walk(tree) if isinstance(node, owners) and node.body]
    return {node.value for node in firsts if isinstance(node, ast.Expr)}


def named(text: str) -> Iterator[str]:
    """The strategies that a file of Python names in its code: as words of its texts, or as identifiers."""
    tree = ast.parse(text)
    told = documentation(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in told:
            yield from NAMES & set(re.findall(r"\w[\w-]*", node.value))
        for field in ("id", "attr", "arg", "name", "asname"):
            found = getattr(node, field, None)
            if isinstance(found, str):
                yield from {name for name in NAMES if found in (name, OURS[name])}


def test_no_file_names_a_strategy() -> None:
    found = {
        path.relative_to(ROOT).as_posix(): names
        for path in sorted(ROOT.rglob("*.py"))
        if (names := set(named(path.read_text(encoding="utf-8"))))
    }
    assert found.keys() <= EXAMPLES, found


@pytest.mark.parametrize("file", sorted(EXAMPLES))
def test_examples_are_of_commands(file: str) -> None:
    """What names a strategy there is a text of help, and each name is an option's value or a group of options."""
    for node in ast.walk(ast.parse((ROOT / file).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            for name in NAMES & set(re.findall(r"\w[\w-]*", node.value)):
                assert re.search(rf"(--strateg(y|ies) \S*|--){name}\b", node.value), (file, node.value)


@pytest.mark.parametrize(
    "line",
    [
        'x = "train with --strategy fixmatch"',
        'if name == "kmeans": pass',
        "from semisup.losses import fixmatch",
        "module.exemplar()",
        "def pseudolabel(): pass",
        'row["pseudolabel/count"]',
        "isinstance(x, KMeans)",
    ],
)
def test_a_name_is_found(line: str) -> None:
    assert list(named(line))


@pytest.mark.parametrize("line", ['"""Like fixmatch."""', "from abc import ABC", 'x = "kmeans-features"', "# fixmatch"])
def test_what_names_none(line: str) -> None:
    assert not list(named(line))
