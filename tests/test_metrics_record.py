"""metrics.csv: every value comes back, and a run that was resumed leaves what an undisturbed one does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.rank_zero import rank_zero_only
from wandb_runs import loggers_of

from semisup.runs.reading import read_metrics
from semisup.tracking import TrackingOptions, finish
from semisup.tracking.guarded_wandb import GuardedWandb
from semisup.tracking.record import ContinueRecord, MetricsCSV

pytestmark = pytest.mark.usefixtures("without_login")


# The record


def test_values_come_back_exactly(run_dir: Path) -> None:
    values = [1 / 3, float(np.float32(0.1)), 1e-300, -0.0, float("inf")]
    logger = MetricsCSV(run_dir)
    for step, value in enumerate(values):
        logger.log_metrics({"epoch": 0, "loss": value}, step)
    logger.log_metrics({"epoch": 0, "loss": torch.tensor(0.1), "acc": float("nan")}, 5)
    rows = read_metrics(run_dir)
    assert [(row["epoch"], row["step"]) for row in rows] == [(0, step) for step in range(6)]
    assert [row["loss"] for row in rows] == [*values, torch.tensor(0.1).item()]
    assert str(rows[3]["loss"]) == "-0.0"
    assert np.isnan(rows[5]["acc"])
    assert "acc" not in rows[4]


def test_rows_of_one_step_are_merged_and_columns_are_added_in_order(run_dir: Path) -> None:
    logger = MetricsCSV(run_dir)
    logger.log_metrics({"lr": 0.1}, 0)  # such as LearningRateMonitor, which gives no epoch
    logger.log_metrics({"epoch": 0, "loss": 2.0}, 0)
    logger.log_metrics({"lr": 0.1}, 1)
    logger.log_metrics({"epoch": 0, "loss": 1.0}, 1)  # every column known: merged in place
    logger.log_metrics({"epoch": 0, "val, acc": 0.5}, 1)
    logger.log_metrics({"epoch": 0, "loss": 1.5}, 1)  # contradicts: a row of its own
    logger.log_metrics({"epoch": 0, "loss": 1.5}, 1)  # says the same again: nothing
    logger.log_metrics({"epoch": 1, "loss": 0.25}, 2)
    assert (run_dir / "metrics.csv").read_text() == (
        'epoch,step,lr,loss,"val, acc"\n0,0,0.1,2.0,\n0,1,0.1,1.0,0.5\n0,1,,1.5,\n1,2,,0.25,\n'
    )


def test_something_that_is_no_number_is_an_error(run_dir: Path) -> None:
    with pytest.raises(ValueError, match="could not convert"):
        MetricsCSV(run_dir).log_metrics({"loss": "high"}, 0)  # type: ignore[dict-item]


def log_steps(logger: MetricsCSV, start: int, stop: int) -> None:
    for step in range(start, stop):
        logger.log_metrics({"epoch": step // 4, "loss": 1 / (step + 1)}, step)
        if step % 4 == 3:
            logger.log_metrics({"epoch": step // 4, "val": step / 7}, step)
        if step > 8:
            logger.log_metrics({"late": float(step)}, step)


@pytest.mark.parametrize("restored", [0, 2, 4, 8, 10])
def test_a_resumed_record_equals_an_uninterrupted_one(tmp_path: Path, restored: int) -> None:
    for name in ("whole", "broken", "short"):
        (tmp_path / name).mkdir()
    log_steps(MetricsCSV(tmp_path / "whole"), 0, 12)
    log_steps(MetricsCSV(tmp_path / "short"), 0, restored)
    log_steps(MetricsCSV(tmp_path / "broken"), 0, 11)
    path = tmp_path / "broken" / "metrics.csv"
    path.write_bytes(path.read_bytes()[:-3])  # killed in the middle of a line
    resumed = MetricsCSV(tmp_path / "broken")
    resumed.truncate(restored)
    if restored:
        assert path.read_bytes() == (tmp_path / "short" / "metrics.csv").read_bytes()
    else:
        assert path.read_text() == "epoch,step\n"
    log_steps(resumed, restored, 12)
    assert path.read_bytes() == (tmp_path / "whole" / "metrics.csv").read_bytes()


def test_a_line_cut_short_is_dropped_without_a_truncation_too(run_dir: Path) -> None:
    log_steps(MetricsCSV(run_dir), 0, 2)
    with (run_dir / "metrics.csv").open("a") as file:
        file.write("0,2,0.33")
    log_steps(MetricsCSV(run_dir), 2, 3)
    assert [row["loss"] for row in read_metrics(run_dir)] == [1.0, 1 / 2, 1 / 3]


class Net(pl.LightningModule):
    """A weight, and metrics that depend on it."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor(1.0))

    def training_step(self, batch: torch.Tensor, index: int) -> torch.Tensor:
        loss = (self.weight * batch - 2).square().mean()
        self.log("loss", loss, on_step=True, on_epoch=True)
        return loss

    def validation_step(self, batch: torch.Tensor, index: int) -> None:
        self.log("val", self.weight * batch.mean())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.01)


class Killed(Exception):
    """Stands for whatever ends a run."""


class Kill(pl.Callback):
    """Ends a run after a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_start(self, trainer: pl.Trainer, *args: Any) -> None:
        if trainer.global_step == self.step:
            raise Killed


def fit(folder: Path, kill: int | None = None, resume: bool = False) -> None:
    """Trains 4 epochs of 5 steps with a checkpoint after every epoch."""
    folder.mkdir(exist_ok=True)
    save = pl.callbacks.ModelCheckpoint(folder / "checkpoints", "last", enable_version_counter=False)
    trainer = pl.Trainer(
        max_epochs=4,
        accelerator="cpu",
        logger=MetricsCSV(folder),
        log_every_n_steps=2,
        callbacks=[ContinueRecord(), pl.callbacks.LearningRateMonitor("step"), save, *([Kill(kill)] if kill else [])],
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    data: Any = torch.utils.data.DataLoader(list(torch.arange(1.0, 6.0)))  # type: ignore[arg-type]
    trainer.fit(Net(), data, data, ckpt_path=folder / "checkpoints" / "last.ckpt" if resume else None)


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")
def test_lightning_interrupted_and_resumed_leaves_the_same_file(tmp_path: Path) -> None:
    fit(tmp_path / "whole")
    with pytest.raises(Killed):
        fit(tmp_path / "broken", kill=13)
    assert read_metrics(tmp_path / "broken")[-1]["step"] > 9  # it had gone beyond its last checkpoint, after step 9
    fit(tmp_path / "broken", resume=True)
    whole = (tmp_path / "whole" / "metrics.csv").read_bytes()
    assert (tmp_path / "broken" / "metrics.csv").read_bytes() == whole
    rows = read_metrics(tmp_path / "whole")
    assert [row["step"] for row in rows if "val" in row] == [4, 9, 14, 19]
    assert [row["step"] for row in rows if "loss_step" in row] == list(range(1, 20, 2))


def test_other_ranks_write_nothing(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    loggers = loggers_of(run_dir, TrackingOptions("offline"))
    assert [type(logger) for logger in loggers] == [MetricsCSV, GuardedWandb]
    for logger in loggers:
        logger.log_hyperparams({"a": 1})
        logger.log_metrics({"loss": 1.0}, 0)
    loggers[1].experiment.summary["test/acc"] = 0.5  # type: ignore[attr-defined]
    finish(loggers)
    assert list(run_dir.iterdir()) == []
