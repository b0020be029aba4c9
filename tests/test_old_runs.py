"""A run that was made before the modules moved into rooms is still read, scored, predicted from and resumed.

`old_run/` holds what `semisup fit --strategy pseudolabel --trainer.max_epochs 2` on the digits had left then.
"""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import pytest

from semisup.cli.front import main
from semisup.runs.reading import read_metrics

LEFT = Path(__file__).parent / "old_run"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the run in its place."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = Path("runs/digits/pseudolabel/20250101-120000-s0")
    shutil.copytree(LEFT, path)
    return path


def rows(path: Path) -> list[list[str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def test_it_predicts_what_it_predicted(run: Path, tmp_path: Path) -> None:
    assert main(["predict", "--ckpt_path", str(run), "--out", "again.csv"]) == 0
    before, now = rows(LEFT / "predictions.csv"), rows(tmp_path / "again.csv")
    assert len(now) == len(before) and [row[:2] for row in now[1:]] == [row[:2] for row in before[1:]]


def test_it_is_scored_as_it_was(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["test", "--ckpt_path", str(run)]) == 0
    assert "86.9" in capsys.readouterr().out


@pytest.mark.slow
def test_it_is_resumed(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", "--resume", str(run), "--trainer.max_epochs", "3"]) == 0
    assert "880 have one after the last round" in capsys.readouterr().out
    last = [row for row in read_metrics(run) if "last/val_accuracy" in row][-1]
    assert last["step"] == 150 and last["last/val_accuracy"] == pytest.approx(0.839, abs=0.02)  # as it went on then


def test_a_class_that_has_moved_is_found_with_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "mine.yaml"
    config.write_text("trainer:\n  callbacks:\n  - class_path: semisup.probe.KNN\n", encoding="utf-8")
    assert main(["fit", "--config", str(config), "--trust", "--print_config"]) == 0
    said = capsys.readouterr()
    assert "class_path: semisup.training.probe.KNN" in said.out
    line = "semisup.probe.KNN lies in semisup.training.probe.KNN now; write that instead"
    assert (said.out + said.err).count(line) == 1
    assert main(["fit", "--trainer.callbacks", "semisup.tracking.train_accuracy.TrainAccuracy", "--print_config"]) == 0
    assert "class_path: semisup.training.train_accuracy.TrainAccuracy" in capsys.readouterr().out
