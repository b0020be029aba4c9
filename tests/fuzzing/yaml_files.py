"""YAML of any kind, and the options of a run in it."""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import comparable_runs
import yaml
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from fuzzing.damage import TEXT, damaged, distorted
from fuzzing.judging import Case, Property
from semisup.cli.config import parse
from semisup.cli.yaml_files import Dumper
from semisup.runs import safe_yaml

# ---- YAML

_TREES: SearchStrategy[Any] = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), TEXT),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXT, inner, max_size=3)),
    max_leaves=8,
)
_HOSTILE = (
    *("!!python/object/apply:os.system ['touch x']", "!!python/name:os.system", "a: !!binary aGk=", "!!set {a, b}"),
    *("a: &a [*a]", "&a {a: *a}", "a: 1\na: 2", "? [1, 2]\n: 3", "1: 2", "a: 2020-02-30", "a: 2020-01-01 10:00:00"),
    *("--- 1\n--- 2", "%YAML 9.9\n---\na: 1", "[" * 3000, "{a: " * 3000, "a: " + "9" * 5000, "a: 1:1:1:1", "*a"),
    "a: &a [x, x]\n" + "".join(f"{b}: &{b} [*{a}, *{a}, *{a}, *{a}]\n" for a, b in pairwise("abcdefghij")),
    *("<<: 1", "<<: {a: 1}\na: 2", "a: .nan", "a: 1e999", "a: 0o777", "a: 0xfff", "a: 1_000", "\ufeffa: 1", "\0", "\t"),
    *(
        "a: |\n x\n  y",
        "a: !<tag:yaml.org,2002:int> x",
        "a: !!float 1_",
        "a: !!float ",
        "a: !!timestamp x",
        "a: !!int ",
        "a: !!bool x",
        "a: '\\ud800'",
        'a: "\\ud800"',
        "=: 1",
        "a: =",
    ),
)


@st.composite
def yaml_cases(draw: DrawFn) -> Case:
    tree = draw(_TREES)
    text = yaml.dump(tree, Dumper=Dumper, allow_unicode=True).encode()
    if draw(st.booleans()):
        return Case({"x.yaml": text}, tree, valid=True)
    hostile = st.sampled_from(_HOSTILE).map(lambda words: words.encode("utf-8", "surrogatepass"))
    return Case({"x.yaml": draw(st.one_of(damaged(text), hostile, hostile.flatmap(damaged)))}, None)


def check_yaml(case: Case) -> None:
    """What is written comes back; whatever else comes out is options, and not more than there are in the file."""
    found = safe_yaml.read(Path("x.yaml"))
    assert _plain(found)
    if case.valid:
        assert found == case.given


def _plain(tree: Any) -> bool:
    if isinstance(tree, dict):
        return all(type(key) in (str, int, float) and _plain(value) for key, value in tree.items())
    return all(map(_plain, tree)) if isinstance(tree, list) else tree is None or type(tree) in (bool, int, float, str)


# ---- a configuration


@cache
def _options(strategy: str) -> dict[str, Any]:
    tree: dict[str, Any] = yaml.safe_load(comparable_runs.config("--strategy", strategy))
    return tree


@st.composite
def config_cases(draw: DrawFn) -> Case:
    tree = _options(draw(st.sampled_from(("supervised", "pseudolabel", "fixmatch", "combined", "exemplar"))))
    text = yaml.safe_dump(tree).encode()
    match draw(st.integers(0, 5)):
        case 0:
            return Case({"x.yaml": text}, tree, valid=True)
        case 1:
            return Case({"x.yaml": draw(damaged(text))})
    return Case({"x.yaml": yaml.dump(draw(distorted(tree)), allow_unicode=True).encode("utf-8", "surrogatepass")})


def check_config(case: Case) -> None:
    """What is accepted is printed as it was meant, and reads back the same."""
    config = parse("fit", ["--config", "x.yaml"])
    if case.valid:
        assert yaml.safe_load(config.yaml) == case.given
    Path("x.yaml").write_text(config.yaml, encoding="utf-8")
    assert parse("fit", ["--config", "x.yaml"]).yaml == config.yaml


PROPERTIES = (
    Property("YAML", yaml_cases(), check_yaml, ("x.yaml",)),
    Property("a configuration", config_cases(), check_config, share=0.25),
)
