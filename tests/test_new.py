"""`semisup new`: what it writes installs without a network, trains, and passes its own test."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from helpers import HANG

from semisup.cli.front import main

NAMES = {"strategy": "twowords_3", "dataset": "two-words", "backbone": "mynet"}


@pytest.mark.slow
def test_what_it_writes_installs_and_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their own tests run here, on packages that pip has installed into a folder of the path."""
    monkeypatch.chdir(tmp_path)
    for kind, name in NAMES.items():
        assert main(["new", kind, name, "--out", f"made/{kind}"]) == 0
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-build-isolation", "--no-deps", "--no-index"]
    command = [*pip, "--target", "site", *(f"./made/{kind}" for kind in NAMES)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=HANG)
    assert done.returncode == 0, done.stderr
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    for kind in NAMES:
        (test,) = (tmp_path / "made" / kind).glob("test_*.py")
        there = tmp_path / f"ran-{kind}"
        there.mkdir()
        scope: dict[str, object] = {}
        exec(compile(test.read_text(), str(test), "exec"), scope)
        with monkeypatch.context() as patch:
            scope["test_it_trains"](there, patch)  # type: ignore[operator]


@pytest.mark.parametrize("kind", NAMES)
def test_it_is_short_and_says_what_comes_next(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["new", kind, "mine"]) == 0
    assert sorted(path.name for path in Path("semisup-mine").iterdir()) == [
        "pyproject.toml",
        "semisup_mine.py",
        "test_semisup_mine.py",
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["semisup-mine"]
    module = Path("semisup-mine/semisup_mine.py").read_text()
    assert "$" not in module and len(module.splitlines()) <= 40
    assert "next: pip install -e semisup-mine && semisup fit --" in capsys.readouterr().out
    assert main(["new", kind, "mine"]) == 2
    assert "semisup-mine is there already" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("kind", "name", "words"),
    [
        ("strategy", "fixmatch", "there is a strategy 'fixmatch' already"),
        ("strategy", "combined", "there is a strategy 'combined' already"),
        ("dataset", "digits", "there is a dataset 'digits' already"),
        ("backbone", "wrn-28-2", "there is a backbone 'wrn-28-2' already"),
        ("strategy", "trainer", "can't be the name of a strategy"),
        ("strategy", "two-words", "can't be the name of a strategy"),
        ("dataset", "two_words", "can't be the name of a dataset"),
        ("backbone", "Mine", "can't be the name of a backbone"),
        ("backbone", "2nd", "can't be the name of a backbone"),
        ("dataset", "../mine", "can't be the name of a dataset"),
        ("dataset", "none", "can't be the name of a dataset"),
        ("dataset", "", "can't be the name of a dataset"),
        ("figure", "mine", "invalid choice: 'figure'"),
    ],
)
def test_names_that_cannot_be(
    kind: str,
    name: str,
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["new", kind, name]) == 2
    assert words in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_nothing_half_written_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("a file")
    assert main(["new", "backbone", "mine", "--out", "file/mine"]) == 2
    assert "file/mine can't be written" in capsys.readouterr().err
    assert (tmp_path / "file").read_text() == "a file"
    monkeypatch.setattr("semisup.cli.new.Template.substitute", lambda *_: (_ for _ in ()).throw(OSError(28, "full")))
    assert main(["new", "backbone", "mine"]) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
