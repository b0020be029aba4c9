"""Killed at a named step and resumed, a run ends to the bit as if nothing had happened, whatever flags it has.

A run of three epochs of four batches goes through once. Before the batches that are named, its directory is copied:
that is what a process that is killed there leaves behind. Each copy is put in the run's place and resumed, and must end
with the checkpoint and the record of the run that nobody disturbed.
"""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from helpers import install_blobs
from killed_runs import CALLBACK, FLAGS, differences

from semisup.cli import fit
from semisup.cli.front import main
from semisup.training import checkpoints
from semisup.training.checkpoints import Checkpoints

BASE = (
    "--data blobs --tracking.mode disabled --trainer.accelerator cpu --trainer.devices 1 --trainer.max_epochs 3 "
    "--trainer.log_every_n_steps 1 --yes"  # however little memory others leave
)
KILLED = (6, 8)  # batches of the whole run before which it is: within the second epoch, and between two
MORE = (7,)  # where it is validated within epochs, or accumulates in the second one: after such a validation or step
END = "the end"  # where it is stopped early: when the training is over and not scored; SWA: as its average is saved
EXEMPLAR = "--strategy exemplar --exemplar.images 20 --exemplar.samples_per_class 4"  # 80 samples
AFTER = "--strategy pseudolabel --pseudolabel.after training --pseudolabel.rule top_k_overall --pseudolabel.top_k 30"
WITH_STRATEGIES = {
    **FLAGS,
    "fixmatch in 64-true": "--strategy fixmatch --fixmatch.ratio 1 --fixmatch.ema_decay .9 --trainer.precision 64-true",
    "exemplar": f"{EXEMPLAR} --exemplar.batch_size 10",
    "exemplar, ends within eight batches": f"{EXEMPLAR} --exemplar.batch_size 12 --trainer.max_epochs 1",
    "exemplar, accumulation": f"{EXEMPLAR} --exemplar.batch_size 10 --trainer.accumulate_grad_batches 3",
    "exemplar, at most six steps": f"{EXEMPLAR} --exemplar.batch_size 10 --trainer.max_steps 6",
    "exemplar, early stopping": f"{EXEMPLAR} --exemplar.batch_size 12 {CALLBACK}EarlyStopping "
    "--trainer.callbacks.monitor val/loss --trainer.callbacks.min_delta 9",
    "exemplar, learning rates, validation by number": f"{EXEMPLAR} --exemplar.batch_size 10 "
    f"--trainer.val_check_interval 3 {CALLBACK}LearningRateMonitor",
    "pseudolabel after two epochs, accumulation by epoch": f"{AFTER} --trainer.max_epochs 2 {CALLBACK}"
    "GradientAccumulationScheduler --trainer.callbacks.scheduling '{1: 2}'",
    "pseudolabel after two epochs": f"{AFTER} --trainer.max_epochs 2",
    "fine-tuning after an epoch": f"{AFTER} --pseudolabel.restart false --trainer.max_epochs 1",
    "pseudolabel": "--strategy pseudolabel --pseudolabel.warmup_epochs 1 --pseudolabel.every_n_epochs 1 "
    "--pseudolabel.threshold .4 --trainer.accumulate_grad_batches 2",
}


@pytest.fixture(autouse=True)
def blobs(monkeypatch: pytest.MonkeyPatch) -> None:
    """`--data blobs`, a checkpoint after every step, and no scoring after the training."""
    install_blobs(monkeypatch)
    monkeypatch.setattr(checkpoints, "SECONDS", 0.0)
    monkeypatch.setattr(fit, "report", lambda *arguments: None)


def ends(run: Path) -> dict[str, Any]:
    """What a run ends with: all of its last checkpoint, the weights of the best one, and the record."""
    found = {path.stem: torch.load(path, weights_only=True) for path in (run / "checkpoints").iterdir()}
    best = found.get("best", {}).get("state_dict")  # none where nothing was validated
    return {**found["last"], "best": best, "metrics.csv": (run / "metrics.csv").read_text()}


@pytest.mark.parametrize("name", WITH_STRATEGIES)
def test_a_run_killed_at_a_step_ends_as_if_nothing_had_happened(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    started, ended, wrote = Checkpoints.on_train_batch_start, Checkpoints.on_fit_end, Checkpoints._write
    batches = iter(range(99))

    def starting(self: Checkpoints, *arguments: Any) -> None:
        if (batch := next(batches)) in (*KILLED, *(MORE if "validation" in name or "by epoch" in name else ())):
            shutil.copytree(self.folder.parent, tmp_path / "killed" / str(batch))
        started(self, *arguments)

    def ending(self: Checkpoints, *arguments: Any) -> None:
        if "stopping" in name:
            shutil.copytree(self.folder.parent, tmp_path / "killed" / END)
        ended(self, *arguments)

    def writing(self: Checkpoints, trainer: pl.Trainer, *names: str) -> None:
        if "SWA" in name and trainer.fit_loop.epoch_progress.total.completed >= (trainer.max_epochs or 0):
            shutil.copytree(self.folder.parent, tmp_path / "killed" / END)
        wrote(self, trainer, *names)

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "on_train_batch_start", starting)
        patch.setattr(Checkpoints, "on_fit_end", ending)
        patch.setattr(Checkpoints, "_write", writing)
        assert main(["fit", *BASE.split(), *shlex.split(WITH_STRATEGIES[name])]) == 0
    (run,) = Path("runs").glob("*/*/*")
    expected = ends(run)
    killed = sorted((tmp_path / "killed").iterdir())
    assert killed
    for left in killed:
        shutil.rmtree(run)
        left.rename(run)
        assert main(["fit", "--resume", str(run), "--trust", "--yes"]) == 0
        assert list(differences(expected, ends(run), f"killed before {left.name}")) == []


def test_steps_are_counted_as_every_epoch_accumulates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four of one batch, and then two and two of two batches; the schedule and the ramps go by their sum."""
    monkeypatch.chdir(tmp_path)
    totals: set[int] = set()
    monkeypatch.setattr(
        Checkpoints, "on_train_batch_start", lambda self, _, module, *more: totals.add(module.total_steps)
    )
    assert main(["fit", *BASE.split(), *shlex.split(FLAGS["accumulation by epoch"])]) == 0
    (run,) = Path("runs").glob("*/*/*")
    assert totals == {8} and ends(run)["global_step"] == 8
