"""The phases of a fit: one loop, whose optimiser, images, loss and weights change at an epoch's end."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from helpers import Blobs, SaveAt, classifier, in_two_processes, same, trainer, weights
from outside import InPhases
from pytorch_lightning.callbacks import EarlyStopping, LearningRateMonitor
from torch import Tensor

from semisup.classifier import Classifier
from semisup.composition import Composition
from semisup.errors import InputError
from semisup.runs.reading import read_metrics
from semisup.runtime.sync_batchnorm import CPUSync
from semisup.strategy import Phase
from semisup.tracking.record import ContinueRecord, MetricsCSV
from semisup.training.checkpoints import Checkpoints

# Two epochs of two batches, two of four, and two over 12 labeled and 90 other images in eight batches.
STEPS = [(step, 4, step // 2) for step in range(4)]
STEPS += [(step, 8, step // 4) for step in range(8)]
STEPS += [(step, 16, step // 8) for step in range(16)]


def fitted(ours: InPhases, ckpt_path: Path | None = None, epochs: int = 2, **options: Any) -> Classifier:
    data = Blobs(augmentation="weak", labeled_in_unlabeled=False)
    module = classifier(data, ours)
    trainer(epochs, **options).fit(module, data, ckpt_path=ckpt_path, weights_only=True)
    return module


def everything(module: Classifier, strategy: InPhases) -> dict[str, Tensor]:
    return weights(module) | {"labels": strategy.labels_, "steps": torch.stack(strategy.steps_)}


def test_a_phase_counts_its_own_steps_and_epochs() -> None:
    module = fitted(strategy := InPhases())
    assert torch.stack(strategy.steps_).tolist() == [list(each) for each in STEPS]
    assert (module.trainer.global_step, module.trainer.current_epoch, module.trainer.max_epochs) == (28, 6, 2)
    assert "network.extra.rows.weight" not in weights(module) and module.ema is not None and module.ema.updates == 16


@pytest.mark.parametrize("restart", [True, False])
def test_a_resumed_run_ends_as_if_it_had_not_stopped(restart: bool, tmp_path: Path) -> None:
    """Within each phase, and at each border."""
    steps = [1, 3, 4, 6, 8, 12, 14, 20]
    saving = [SaveAt(step, tmp_path / f"{step}.ckpt") for step in steps]
    module = fitted(strategy := InPhases(restart), enable_checkpointing=True, callbacks=saving)
    whole = everything(module, strategy)
    for step in steps:
        torch.rand(7)
        module = fitted(strategy := InPhases(restart), tmp_path / f"{step}.ckpt")
        assert same(everything(module, strategy), whole), step


def test_a_phase_that_restarts_is_a_training_from_the_beginning() -> None:
    """To the bit that of a run which is given the same images, as the trained weights do not matter."""

    class Alone(InPhases):
        def __init__(self, labels: Tensor) -> None:
            super().__init__()
            self.labels_ = labels

        def phases(self, module: Any) -> list[Phase]:
            return [Phase(labeled=self.union)]

    module = fitted(strategy := InPhases())
    again = fitted(Alone(strategy.labels_))
    assert same(weights(module), weights(again))
    assert not same(weights(fitted(InPhases(restart=False))), weights(again))


def test_what_a_strategy_began_with_is_there_again_after_a_restart(tmp_path: Path) -> None:
    from semisup.strategy import Strategy

    class Ones(Strategy):
        def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
            self.initialize(pl_module)

        def initialize(self, module: Any) -> None:
            torch.nn.init.ones_(module.network.head.weight)

    seen: list[bool] = []

    class Look(pl.Callback):
        def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
            if pl_module.epoch == 0:
                seen.append(bool((pl_module.network.head.weight == 1).all()))

    data = Blobs(labeled_in_unlabeled=False)
    module = Classifier(data.spec, Composition({"ones": Ones(), "phases": InPhases()}))
    trainer(1, callbacks=[Look()]).fit(module, data)
    assert seen == [True, True, True]  # the first phase trains no head


def test_optimiser_schedule_and_parameters_are_the_phases(tmp_path: Path) -> None:
    found: list[Any] = []

    class Look(pl.Callback):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, *args: Any) -> None:
            (optimizer,) = trainer.optimizers
            count = sum(x.numel() for group in optimizer.param_groups for x in group["params"])
            found.append((type(optimizer).__name__, optimizer.param_groups[0]["lr"], count, len(trainer.callbacks)))

    fitted(
        InPhases(),
        callbacks=[Look(), EarlyStopping("val/loss"), LearningRateMonitor()],
        logger=pl.loggers.CSVLogger(tmp_path),
    )
    kinds = [name for name, *_ in found]
    assert kinds == ["Adam"] * 4 + ["SGD"] * 24
    rates = [rate for _, rate, *_ in found]
    assert rates[:4] == [0.001] * 4 and rates[12 - 1] < rates[4] and rates[12] > rates[11]  # falls, and begins anew
    assert found[0][2] - found[4][2] == (12 - 3) * (128 + 1)  # the heads, of 128 features
    assert {callbacks for *_, callbacks in found[4:]} == {
        found[0][3] + 1
    }  # who watches what is not there rests at first


def test_the_record_counts_from_the_beginning_of_the_last_phase(tmp_path: Path) -> None:
    options = {"logger": MetricsCSV(tmp_path), "enable_checkpointing": True, "log_every_n_steps": 1}
    fitted(InPhases(), callbacks=[ContinueRecord(), Checkpoints(tmp_path)], **options)
    rows = read_metrics(tmp_path)
    logged = {
        name: [row["step"] for row in rows if name in row] for name in ("rows/loss", "train/loss", "val/accuracy")
    }
    assert logged["rows/loss"] == [-12, -11, -10, -9] and logged["train/loss"] == [*range(-8, 16)]
    assert logged["val/accuracy"] == [-5, -1, 7, 15]
    assert [row.get("epoch") for row in rows if "train/loss" in row] == [None] * 8 + [0] * 8 + [1] * 8
    for name, epochs in (("last", 2), ("best", None)):
        saved = Classifier.saved(tmp_path / f"{name}.ckpt")
        assert saved["phase"] == {"index": 2, "first_epoch": 4, "first_step": 12}
        assert epochs in (None, saved["epochs"])


def test_the_best_checkpoint_is_of_the_last_phase(tmp_path: Path) -> None:
    """Also where a phase before was better, and where the last one has not been validated yet."""

    class Stop(pl.Callback):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, *args: Any) -> None:
            if trainer.global_step == 15:
                raise KeyboardInterrupt

    with pytest.raises((KeyboardInterrupt, SystemExit)):
        fitted(InPhases(), callbacks=[Checkpoints(tmp_path), Stop()], enable_checkpointing=True)
    assert sorted(path.name for path in tmp_path.glob("*.ckpt")) == ["last.ckpt", "previous.ckpt"]
    assert Classifier.saved(tmp_path / "last.ckpt")["epochs"] == 0


def test_steps_count_from_the_beginning_of_the_last_phase() -> None:
    module = fitted(InPhases(), epochs=3, max_steps=10)
    assert module.trainer.global_step == 4 + 3 * 4 + 10 and module.trainer.max_steps == 10


def test_what_one_phase_needs_is_refused_before_the_first() -> None:
    from semisup.batch import Needs

    class Later(InPhases):
        def phases(self, module: Any) -> list[Phase]:
            return [*super().phases(module), Phase(needs=Needs(unlabeled_views=("weak",), unlabeled_ratio=1))]

    data = Blobs()
    data.pools.unlabeled = None
    with pytest.raises(InputError, match="needs unlabeled images and blobs has none"):
        trainer(1).fit(classifier(data, strategy := Later()), data)
    assert strategy.steps_ == []


# ---- two processes


def rank(number: int, folder: str, port: int) -> None:
    os.environ |= {"LOCAL_RANK": str(number), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    two: dict[str, Any] = {"devices": 2, "strategy": "ddp", "plugins": [CPUSync()], "precision": "64-true"}
    saving = [SaveAt(step, Path(folder, f"{step}.ckpt")) for step in (3, 4)]
    found = [everything(fitted(s := InPhases(), enable_checkpointing=True, callbacks=saving, **two), s)]
    found += [everything(fitted(s := InPhases(), Path(folder, f"{step}.ckpt"), **two), s) for step in (3, 4)]
    torch.save(found, Path(folder, f"{number}.pt"))


@pytest.mark.slow
def test_two_processes_do_what_one_does_also_when_they_are_resumed(tmp_path: Path) -> None:
    in_two_processes(rank, tmp_path)
    first, second = (torch.load(tmp_path / f"{number}.pt", weights_only=True) for number in range(2))
    alone = everything(fitted(strategy := InPhases(), precision="64-true"), strategy)
    for one, other in zip(first, second, strict=True):
        assert same(one, other) and same(one, first[0])
    for name, x in alone.items():
        torch.testing.assert_close(first[0][name], x, rtol=1e-6, atol=1e-8, msg=name)
