"""`semisup.fit`: the run of the command line, from a program whose process stays as it was."""

from __future__ import annotations

import logging
import os
import random
import signal
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
import yaml
from helpers import same

import semisup
from semisup.cli.front import main
from semisup.errors import InputError
from semisup.runs.lock import LOCK, Held, Lock
from semisup.runtime.signals import STOPPING

TRAINER: dict[str, Any] = {"max_epochs": 2, "accelerator": "cpu", "devices": 1, "log_every_n_steps": 1}
BRIEF: dict[str, Any] = {"model": "small", "tracking": {"mode": "disabled"}}
DIGITS = {"name": "digits", "steps_per_epoch": 3}


def state(folder: Path, name: str = "last") -> dict[str, torch.Tensor]:
    saved: dict[str, torch.Tensor] = torch.load(folder / f"checkpoints/{name}.ckpt", weights_only=True)["state_dict"]
    return saved


def rows(folder: Path) -> list[str]:
    """What was logged, but for the seconds at the end."""
    return (folder / "metrics.csv").read_text().splitlines()[:-1]


class StopsAt(pl.Callback):
    """Sends this process a signal in a step."""

    def __init__(self, step: int, number: int = signal.SIGINT) -> None:
        self.step, self.number = step, number

    def on_before_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: torch.Tensor) -> None:
        if trainer.global_step == self.step:
            signal.raise_signal(self.number)


def process() -> dict[str, Any]:
    """What a program may count on in its own process, and a training changes."""
    return {
        "handlers": [signal.getsignal(number) for number in STOPPING],
        "filters": [*warnings.filters],
        "levels": [logging.getLogger(name).level for name in ("pytorch_lightning", "lightning_fabric")],
        "torch": (torch.get_num_threads(), torch.get_default_dtype(), torch.is_grad_enabled()),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "environment": dict(os.environ),
        "drawn": (random.random(), float(np.random.rand()), float(torch.rand(()))),
    }


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> semisup.Model:
    """A FixMatch run from Python, to be read only; in a program that has its own ideas of random numbers and torch."""
    root = str(tmp_path_factory.mktemp("python"))
    with torch.no_grad():
        default = torch.get_default_dtype()
        torch.set_default_dtype(torch.float64)
        random.seed(1), np.random.seed(2), torch.manual_seed(3)
        before = process()
        random.seed(1), np.random.seed(2), torch.manual_seed(3)
        options = {**TRAINER, "default_root_dir": root, "deterministic": True}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            filters = [*warnings.filters]
            model = semisup.fit(DIGITS, "fixmatch", seed=5, trainer=options, **BRIEF)
            assert [*warnings.filters] == filters
        after = process()
        torch.set_default_dtype(default)
    assert before == after
    return model


def test_it_is_the_run_of_the_command_line_to_the_bit(whole: semisup.Model, tmp_path: Path) -> None:
    words = "--data digits --data.steps_per_epoch 3 --strategy fixmatch --seed 5 --model small --tracking.mode disabled"
    words += " --trainer.max_epochs 2 --trainer.accelerator cpu --trainer.devices 1 --trainer.log_every_n_steps 1"
    words += " --trainer.deterministic true --trainer.default_root_dir"
    assert main(["fit", *words.split(), str(tmp_path)]) == 0
    (run,) = (tmp_path / "digits/fixmatch").iterdir()
    assert whole.directory is not None
    assert {path.name for path in run.iterdir()} == {path.name for path in whole.directory.iterdir()}
    for name in ("best", "last"):
        assert same(state(run, name), state(whole.directory, name))
    assert rows(run) == rows(whole.directory)
    assert (run / "predictions.csv").read_text() == (whole.directory / "predictions.csv").read_text()
    typed, called = (yaml.safe_load((folder / "config.yaml").read_text()) for folder in (run, whole.directory))
    assert typed["trainer"].pop("default_root_dir") != called["trainer"].pop("default_root_dir")
    assert typed == called
    loaded = semisup.load(run, "cpu")
    assert loaded.scores == whole.scores and 0 < whole.scores["best/test_accuracy"] < 1
    pictures = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 1), dtype=np.uint8)
    assert torch.equal(loaded.predict(pictures).probabilities, whole.predict(pictures).probabilities)
    assert "10 classes" in repr(whole) and "right on test" in repr(whole)


def test_ctrl_c_saves_and_is_the_callers_and_resume_goes_on(whole: semisup.Model, tmp_path: Path) -> None:
    options = {**TRAINER, "default_root_dir": tmp_path, "deterministic": True}
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell's job in the background ignores
    try:
        with pytest.raises(KeyboardInterrupt):
            stopping = {**options, "callbacks": [StopsAt(4)]}
            semisup.fit(DIGITS, "fixmatch", seed=5, trainer=stopping, **BRIEF)
    finally:
        signal.signal(signal.SIGINT, before)
    (run,) = (tmp_path / "digits/fixmatch").iterdir()
    assert "# left out, because it can't be written as YAML: trainer.callbacks" in (run / "config.yaml").read_text()
    with Lock(run / LOCK), pytest.raises(Held):
        semisup.fit(resume=run)
    model = semisup.fit(DIGITS, "fixmatch", seed=5, trainer=options, resume="auto", **BRIEF)
    assert model.directory == run and whole.directory is not None
    assert same(state(run), state(whole.directory)) and rows(run) == rows(whole.directory)


def test_another_signal_is_the_callers_too(tmp_path: Path) -> None:
    got: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: got.append(number))
    try:
        with pytest.raises(InputError, match="SIGTERM has stopped the training; resume goes on with it"):
            stopping = {**TRAINER, "default_root_dir": tmp_path, "callbacks": [StopsAt(1, signal.SIGTERM)]}
            semisup.fit(DIGITS, trainer=stopping, **BRIEF)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert got == [signal.SIGTERM] and [*tmp_path.glob("digits/supervised/*/checkpoints/last.ckpt")]


def test_a_run_that_keeps_no_checkpoint_is_a_model_all_the_same(tmp_path: Path) -> None:
    options = {**TRAINER, "max_epochs": 1, "default_root_dir": tmp_path, "enable_checkpointing": False}
    model = semisup.fit(DIGITS, trainer=options, **BRIEF)
    assert set(model.scores) >= {"last/val_accuracy", "last/test_accuracy"}
    assert model.predict(np.zeros((2, 8, 8, 1), np.uint8)).probabilities.sum(1).tolist() == pytest.approx([1, 1])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"data": "digit"}, "there is no datamodule 'digit'; did you mean 'digits'?"),
        ({"data": 3}, "labeled is int; give pictures"),
        ({"strategy": "fixmach"}, "there is no strategy 'fixmach'; did you mean 'fixmatch'?"),
        ({"epochs": 3}, "there is no option --epochs"),
        ({"trainer": {"max_epoch": 3}}, "there is no option --trainer.max_epoch; did you mean --trainer.max_epochs?"),
        ({"trainer": {"max_epochs": "many"}}, r"--trainer.max_epochs: expected int or None, got 'many'"),
        ({"trainer": {"max_epochs": -7}}, "--trainer.max_epochs: expected -1 or more, got -7"),
        ({"fixmatch": {"threshold": 0.9}}, "--fixmatch.threshold is an option of a strategy that is not selected"),
        ({"strategy": "fixmatch", "fixmatch": {"threshold": 2}}, "fixmatch.threshold is 2"),
        ({"model": {"backbone": object()}}, "--model.backbone: expected numbers, text, choices"),
        ({"data": {"name": "digits", "labels_per_class": 0}}, "data.labels_per_class is 0"),
        ({"data": "no/such/folder"}, "there is no folder no/such/folder"),
        ({"data": Path("digits")}, "there is no folder digits"),
        ({"resume": "nowhere"}, "--resume: nowhere does not exist"),
    ],
)
def test_a_mistake_is_the_command_lines_error(
    arguments: dict[str, Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as caught:
        semisup.fit(**{"data": "digits", **BRIEF, **arguments})
    assert message in str(caught.value) and not [*tmp_path.iterdir()]
