"""Figures while training: which ones reach W&B, and that they change nothing and stop nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from PIL import Image
from pytorch_lightning.loggers import Logger

from semisup.figures import style
from semisup.figures.artifacts import Parts
from semisup.figures.callback import LogFigures
from semisup.tracking import TrackingOptions, finish, make_loggers
from strategies.pseudolabel import PseudoLabel
from tests.helpers import Blobs, alone_with_wandb, classifier, same, trainer, weights


@pytest.fixture(autouse=True)
def nobody(tmp_path: Path) -> Iterator[None]:
    """No login, no settings and no W&B process from outside of the test."""
    with alone_with_wandb(tmp_path):
        yield


def train(run: Path, mode: str, *callbacks: LogFigures) -> dict[str, torch.Tensor]:
    """Four epochs with a round of pseudo-labels after the second, the third and the fourth."""
    run.mkdir()
    strategy = PseudoLabel("top_k_overall", top_k=30, warmup_epochs=2, every_n_epochs=1)
    module = classifier(Blobs(), strategy)
    loggers: list[Logger] = make_loggers(TrackingOptions(mode), run, "blobs", "12", "x", 0, {}, [])  # type: ignore[arg-type]
    options = {"reload_dataloaders_every_n_epochs": 1, "log_every_n_steps": 1}
    trainer(4, logger=loggers, callbacks=[*callbacks], **options).fit(module, datamodule=Blobs())
    finish(loggers)
    return weights(module)


def images(run: Path) -> dict[str, list[int]]:
    """Figure -> the steps at which it was logged, which W&B has in the names of its files."""
    found: dict[str, list[int]] = {}
    for path in run.glob("wandb/offline-run-*/files/media/images/figures/*.png"):
        with Image.open(path) as image:
            image.load()
            assert image.size[0] >= 600
        name, number, _ = path.stem.split("_")
        found.setdefault(name, []).append(int(number))
    return {name: sorted(steps) for name, steps in found.items()}


def test_figures_reach_wandb_when_they_are_due_and_change_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trained = train(tmp_path / "run", "offline", LogFigures(every_n_epochs=2))
    logged = images(tmp_path / "run")
    assert {name: len(steps) for name, steps in logged.items()} == {
        "filters": 2,
        "confusion": 2,
        "calibration": 2,
        "pseudolabels": 3,
        "augmentations": 1,
        "embedding": 1,
    }
    assert "figures:" not in capsys.readouterr().out
    assert same(trained, train(tmp_path / "other", "disabled"))


def test_the_network_is_judged_on_the_validation_images_alone(tmp_path: Path) -> None:
    titles: dict[str, str] = {}
    accuracy = 0.0

    class Look(LogFigures):
        def _log(self, trainer: pl.Trainer, figures: Parts) -> None:
            nonlocal accuracy
            accuracy = 100 * float(trainer.callback_metrics.get("val/accuracy", 0))
            titles.update((name, figure.axes[0].get_title("left")) for name, figure in figures)

    train(tmp_path / "run", "disabled", Look(every_n_epochs=4))
    assert titles["filters"] == "after 4 epochs"
    assert titles["confusion"] == f"{accuracy:.1f} % of 30 validation images rightly classified"
    assert titles["calibration"].startswith("30 validation images") and f"y {accuracy:.1f} %" in titles["calibration"]


@pytest.mark.parametrize(("mode", "lines"), [("offline", 1), ("disabled", 0)])  # without W&B nothing is drawn
def test_a_figure_that_fails_is_one_line(
    mode: str, lines: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*args: object) -> None:
        raise RuntimeError("no canvas\nat all")

    monkeypatch.setattr(style, "rendered", broken)
    train(tmp_path / "run", mode, LogFigures(every_n_epochs=1))
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("figures:")]
    assert said == ["figures: not all are logged (RuntimeError: no canvas); training goes on"] * lines
