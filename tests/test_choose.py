"""Runs that can't be compared: `semisup compare` and `semisup report` refuse the same ones, in the same words."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from comparable_runs import write_run

from semisup.cli.front import main

Damage = Callable[[Path], object]


def edited(name: str, pattern: str, replacement: str) -> Damage:
    """Writes something else into a file of a run."""

    def edit(run: Path) -> None:
        text = (run / name).read_text()
        changed = re.sub(pattern, replacement, text)
        assert changed != text
        (run / name).write_text(changed)

    return edit


REFUSED: dict[str, Damage] = {  # what is said of the odd run -> what is done to it
    "has data.name stl10, the others digits": edited("config.yaml", "name: digits", "name: stl10"),
    "has data.imbalance 10.0, the others 1.0": edited("config.yaml", "  imbalance: 1.0", "  imbalance: 10.0"),
    "has data.root /b, the others not an option": edited("config.yaml", "name: digits", "name: digits\n  root: /b"),
    "has classes 0, 1, 2, 3, 4, 5, 6, 7, 8, x, the others": edited("confusion.csv", "(?m)9$|^9", "x"),
    "has test images 360 (": edited("predictions.csv", "\n0,0", "\n999,0"),
    "has steps trained 99, the others 100": edited("metrics.csv", "\n,100,", "\n,99,"),
    "it has not finished": edited("metrics.csv", "\n,100,.*\n", "\n"),
    "it was scored on nothing": edited("metrics.csv", "/(val|test)_accuracy", r"/\1_unknown"),
    "the last line of its metrics.csv is damaged": edited("metrics.csv", "6400.0", "inf"),
    "metrics.csv is damaged": edited("metrics.csv", "\n0,9,", "\n0,nine,"),
    "it has no config.yaml": lambda run: (run / "config.yaml").unlink(),
    "doesn't say strategy, data.name": lambda run: (run / "config.yaml").write_text("seed: 3\n"),
    "config.yaml is not valid YAML": lambda run: (run / "config.yaml").write_text("seed: [3\n"),
    "holds a number that is not finite": edited("config.yaml", "batch_size: 24", "batch_size: .inf"),
    "its environment.txt can't be read": lambda run: (run / "environment.txt").write_bytes(b"\xff\xfe"),
    "its predictions.csv is damaged": edited("predictions.csv", "\n3,0,", "\n3,0,0,"),
    "its confusion.csv is damaged": edited("confusion.csv", "\n3,", "\n5,"),
}
DIFFERING = {  # what is said of the odd run -> its options
    "has trainer.max_epochs 60, the others 30": ("--trainer.max_epochs", "60"),
    "has model.backbone wrn-28-2, the others auto": ("--model.backbone", "wrn-28-2"),
    "has data.batch_size 32, the others 24": ("--data.batch_size", "32"),
    "has trainer.precision bf16-mixed, the others 32-true": ("--trainer.precision", "bf16-mixed"),
    "has trainer.devices 2 without trainer.sync_batchnorm": ("--trainer.devices", "2"),
}


def refused(said: str, runs: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    """Both verbs refuse the runs, with this among one and the same line."""
    errors = []
    for verb in ("compare", "report"):
        assert main([verb, *map(str, runs)]) == 2
        errors.append(capsys.readouterr().err)
    assert said in errors[0] and errors[0].count("\n") == 1
    assert errors[1] == errors[0]


@pytest.fixture
def usual(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Two runs that can be compared."""
    monkeypatch.chdir(tmp_path)
    return [write_run(tmp_path, seed=seed) for seed in (0, 1)]


@pytest.mark.parametrize("said", REFUSED)
def test_a_run_that_is_damaged_or_of_other_data(
    said: str, usual: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    odd = write_run(tmp_path, "fixmatch")
    REFUSED[said](odd)
    refused(said, [odd, *usual], capsys)
    assert not (tmp_path / "report").exists() and not (tmp_path / "runs").exists()


@pytest.mark.parametrize("said", DIFFERING)
def test_a_run_that_was_trained_otherwise(
    said: str, usual: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    refused(said, [*usual, write_run(tmp_path, "fixmatch", options=DIFFERING[said])], capsys)


def test_a_run_that_was_made_twice(usual: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    refused("is the same run again, and newer", [*usual, write_run(tmp_path, seed=0)], capsys)
