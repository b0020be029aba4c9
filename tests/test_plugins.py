"""Plugins, with distributions that are made up: a folder on the path that holds a module and a *.dist-info."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from semisup import plugins
from semisup.cli import listing
from semisup.errors import InputError

Install = Callable[..., Path]
NESTED = "[" * 100_000
STEERS = r'{"theirs": {"accuracy": "\u001b[2J"}}'


# ---- entry points


def test_ours_are_found() -> None:
    assert plugins.find(plugins.STRATEGIES, "pseudolabel").value == "strategies.pseudolabel:PseudoLabel"
    assert list(plugins.installed(plugins.BACKBONES)) == sorted(plugins.installed(plugins.BACKBONES))


def test_only_the_named_plugin_is_imported(install: Install) -> None:
    points = ["one_a = one_a:A", "one_b = one_b:B"]
    install("one", {plugins.STRATEGIES: points}, one_a="class A: pass", one_b="raise SystemError")
    assert plugins.load(plugins.STRATEGIES, "one_a").__name__ == "A"
    assert "one_b" not in sys.modules


def test_a_name_taken_twice_names_both_distributions(install: Install) -> None:
    install("first", {plugins.STRATEGIES: ["mine = first_m:A"]}, first_m="class A: pass")
    install("second", {plugins.STRATEGIES: ["mine = second_m:B"]}, second_m="class B: pass")
    with pytest.raises(InputError) as caught:
        plugins.find(plugins.STRATEGIES, "supervised")
    for words in ("'mine' is taken twice", "first (first_m:A)", "second (second_m:B)"):
        assert words in str(caught.value)


def test_one_distribution_found_through_two_folders_is_no_clash(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = install("again", {plugins.STRATEGIES: ["mine = again_m:A"]}, again_m="class A: pass")
    monkeypatch.syspath_prepend(str(folder.parent / "." / "again"))
    assert plugins.find(plugins.STRATEGIES, "mine").value == "again_m:A"


@pytest.mark.parametrize("name", ["trainer", "seed", "two.words", "a+b", "fix-match"])
def test_a_strategy_that_cannot_be_a_group_of_options(install: Install, name: str) -> None:
    install("badname", {plugins.STRATEGIES: [f"{name} = m:A"]})
    with pytest.raises(InputError, match="badname names a strategy"):
        plugins.installed(plugins.STRATEGIES)


@pytest.mark.parametrize(
    ("source", "cause"),
    [
        ("import a_module_that_is_missing", "ModuleNotFoundError: No module named 'a_module_that_is_missing'"),
        ("class Other: pass", "AttributeError"),
        ("def broken(:", "SyntaxError"),
        ("raise RuntimeError('no such GPU')", "RuntimeError: no such GPU"),
        ("A = 3", "is not a class but 3"),
    ],
)
def test_a_plugin_that_cannot_be_imported_names_its_distribution(install: Install, source: str, cause: str) -> None:
    module = f"broken_{abs(hash(source))}"
    install("brokendist", {plugins.STRATEGIES: [f"broken = {module}:A"]}, **{module: source})
    with pytest.raises(InputError) as caught:
        plugins.load(plugins.STRATEGIES, "broken")
    assert f"the strategy 'broken' ({module}:A, brought by brokendist)" in str(caught.value)
    assert cause in str(caught.value)


@pytest.mark.parametrize(
    ("group", "name", "message"),
    [
        (plugins.STRATEGIES, "psuedolabel", "there is no strategy 'psuedolabel'; did you mean 'pseudolabel'?"),
        (plugins.DATAMODULES, "sl10", "there is no datamodule 'sl10'; did you mean 'stl10'?"),
        (plugins.BACKBONES, "smal", "there is no backbone 'smal'; did you mean 'small'?"),
        (plugins.STRATEGIES, "ddp", "to run on several devices type --trainer.strategy ddp"),
    ],
)
def test_a_mistyped_name(group: str, name: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        plugins.find(group, name)
    assert message in str(caught.value)


def test_split_names() -> None:
    assert plugins.split_names("kmeans+pseudolabel") == ["kmeans", "pseudolabel"]
    assert plugins.split_names("combined") == ["kmeans", "pseudolabel"]
    assert plugins.split_names("supervised") == ["supervised"]
    for wrong in ("", "a+", "+a", "a++b", "a+a"):
        with pytest.raises(InputError, match="distinct names joined by"):
            plugins.split_names(wrong)


# ---- what a source says


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "[]", "null", '"x"', NESTED, '{"theirs": 3}', '{"theirs": {"cost": "3"}}'),
        *('{"theirs": {"cost": true}}', '{"theirs": {"cost": NaN}}', '{"theirs": {"accuracy": 90}}'),
        *('{"theirs": {"measured_as": null}}', '{"other": {"difference": ["+1"]}}', STEERS, b"\xff\xfe"),
    ],
)
def test_figures_that_are_none_are_left_out_with_a_line(
    text: str | bytes, install: Install, capsys: pytest.CaptureFixture[str]
) -> None:
    strategy = '"""Theirs (Doe 2030)."""\n\nclass Theirs:\n    """Does what it does."""\n'
    folder = install("theirs", {plugins.STRATEGIES: ["theirs = their_strategy:Theirs"]}, their_strategy=strategy)
    path = folder / "measured.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    listed = listing.lines("strategies")
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 1 and said[0].startswith(f"warning: {path} is left out, which is not what was measured")
    assert any(line.split()[:2] == ["theirs", "2030"] and "not measured" in line for line in listed)
    assert any(line.split()[:1] == ["fixmatch"] and "96.67" in line for line in listed)


def test_figures_of_a_package_are_shown_as_far_as_it_gives_them(install: Install) -> None:
    strategy = '"""Theirs (Doe 2030)."""\n\nclass Theirs:\n    """Does what it does."""\n'
    folder = install("some", {plugins.STRATEGIES: ["some = some_strategy:Theirs"]}, some_strategy=strategy)
    (folder / "measured.json").write_text('{"some": {"cost": 2.5, "accuracy": "91.0 ± 1.2", "more": [1]}, "other": {}}')
    assert any("2.5" in line and "91.0 ± 1.2 ()" in line for line in listing.lines("strategies"))
