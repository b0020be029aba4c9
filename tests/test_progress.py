"""How a training says how far it is: lines in a log, a bar where a person watches."""

from __future__ import annotations

import re
from itertools import count
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from helpers import Blobs, classifier, trainer

from semisup.cli.front import main
from semisup.runtime import console
from semisup.training import progress
from semisup.training.progress import Progress


def slow_clock(monkeypatch: pytest.MonkeyPatch, module: ModuleType, seconds: int) -> list[str]:
    """What a module says from now on, by a clock that goes on by so much whenever somebody looks."""
    said: list[str] = []
    monkeypatch.setattr(module, "say", said.append)
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=count(0, seconds).__next__))
    return said


def test_half_a_minute_without_a_word_ends_with_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line after every second step, of 32 s."""
    said = slow_clock(monkeypatch, progress, 16)
    data = Blobs(batch_size=60)
    trainer(1, callbacks=[Progress()], limit_val_batches=0).fit(classifier(data), data)
    lines = [re.sub(r"loss [\d.]+", "loss L", line) for line in said]
    assert lines == [
        "epoch 1 of 1, step 2 of 4: loss L, 4 images/s, about 32 s left",
        "epoch 1 of 1, step 4 of 4: loss L, 4 images/s, about 0 s left",
    ]


def test_a_long_validation_says_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    said = slow_clock(monkeypatch, progress, 40)
    data = Blobs()  # 30 validation images in batches of 16
    trainer(1, callbacks=[Progress()]).fit(classifier(data), data)
    assert [line for line in said if line.startswith("validation")] == [
        "validation: batch 1 of 2",
        "validation: batch 2 of 2",
    ]


def test_a_log_is_told_every_half_minute_how_far_work_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Five batches of 16 s; nothing is left to be told at the end."""
    said = slow_clock(monkeypatch, console, 16)
    assert list(console.watched("abcde", "predicting", 5)) == [*"abcde"]
    assert said == [
        "predicting: 2 of 5 batches, about 48 s left",
        "predicting: 4 of 5 batches, about 16 s left",
    ]
    said.clear()
    assert list(console.watched("abc", "predicting")) == [*"abc"]  # of an unknown number
    assert said == ["predicting: 2 batches"]
    said.clear()
    assert list(console.watched("abcde", "predicting", 5, disable=True)) == [*"abcde"] and said == []


def test_the_bar_counts_the_steps_of_the_training(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And goes on where a resumed run goes on; the lines of a log are not said beside it."""
    monkeypatch.chdir(tmp_path)
    words = ["fit", "--data", "digits", "--strategy", "pseudolabel", "--pseudolabel.warmup_epochs", "1"]
    words += ["--trainer.max_epochs", "2", "--data.steps_per_epoch", "4", "--trainer.log_every_n_steps", "1"]
    words += ["--tracking.mode", "disabled", "--trainer.enable_progress_bar", "true", "--trainer.accelerator", "cpu"]
    assert main([*words, "--lr_scheduler", "constant"]) == 0
    drawn = capsys.readouterr().out
    (run,) = tmp_path.glob("runs/digits/pseudolabel/*")
    last = [part for part in re.split(r"[\r\n]", drawn) if "step 8 of 8" in part][-1]
    assert last.startswith("epoch 2 of 2 100% |")
    for word in ("images/s, loss ", "validation accuracy ", " %", "pseudolabel count "):
        assert word in last
    assert "epoch 1 of 2:  50%" not in drawn and "epoch 2 of 2: validation" not in drawn
    assert main(["fit", "--resume", str(run), "--trainer.max_epochs", "3"]) == 0
    drawn = capsys.readouterr().out
    assert "goes on after step 8 of 12, in epoch 3\n" in drawn
    assert "step 9 of 12" in drawn and "step 12 of 12" in drawn and "step 1 of" not in drawn
