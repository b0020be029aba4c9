"""Callbacks that `--trainer.callbacks` adds: which of Lightning's a run can have, what they watch, where they write.

python -m semisup fit --trainer.callbacks EarlyStopping --trainer.callbacks.monitor val/loss
python -m semisup fit --trainer.callbacks ModelCheckpoint --trainer.callbacks.filename '{epoch}-{val/accuracy:.2f}'
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import pytorch_lightning as pl
from pytorch_lightning.callbacks import (
    BatchSizeFinder,
    LearningRateFinder,
    ModelCheckpoint,
    OnExceptionCheckpoint,
    SpikeDetection,
    StochasticWeightAveraging,
    WeightAveraging,
)

from semisup.classifier import Classifier
from semisup.errors import InputError, did_you_mean, require
from semisup.metrics import Evaluation
from semisup.runs import checkpoint_file

FOLDER = "model_checkpoints"  # in a run directory: those of the user's own ModelCheckpoint
_REFUSED: dict[type[pl.Callback], str] = {
    BatchSizeFinder: "it trains with another batch size than the run's config.yaml says; type --data.batch_size N",
    LearningRateFinder: "it trains with another learning rate than the run's config.yaml says; type --optimizer.lr X",
    OnExceptionCheckpoint: "it makes a new run begin where another one failed; every run keeps checkpoints, and "
    "--resume goes on with one",
    SpikeDetection: "Lightning can't restore what it remembers, and the run could not be resumed; a loss that is not "
    "finite ends a run without it",
}


def prepare(callbacks: Iterable[pl.Callback], run_dir: Path, averages: bool) -> None:
    """Makes the callbacks that a user adds fit in with the run's own.

    A `ModelCheckpoint` that names no folder, or the run's own, writes into `model_checkpoints/` beside it: the names of
    its files could be those of the run's own. And the slash of a metric's name in its `filename` becomes an underscore,
    `epoch=3-val_accuracy=0.91.ckpt`: Lightning would make a folder for every file.

    Args:
        callbacks: the user's.
        run_dir: the run directory.
        averages: whether the strategy has a moving average of the network evaluate.

    Raises:
        InputError: one of them doesn't go with a run that can be resumed, or averages the weights a second time.
    """
    for callback in callbacks:
        name = type(callback).__name__
        for kind, reason in _REFUSED.items():
            require(not isinstance(callback, kind), f"{name} can't be a callback of a run: {reason}")
        require(
            not (averages and isinstance(callback, WeightAveraging | StochasticWeightAveraging)),
            f"{name} averages the weights, and the strategy has a moving average of its own evaluate; leave the "
            f"callback out, or the strategy's average (its option ema_decay, where it has one, at 0)",
        )
        if isinstance(callback, ModelCheckpoint):
            _place(callback, run_dir)


def _place(callback: ModelCheckpoint, run_dir: Path) -> None:
    folder = str(callback.dirpath or "")
    require("://" not in folder, f"ModelCheckpoint's dirpath is {folder}; it must be a folder of this machine")
    if not folder or Path(folder).absolute() == run_dir.absolute() / "checkpoints":
        callback.dirpath = str(run_dir / FOLDER)
    if callback.auto_insert_metric_name and callback.filename:
        callback.filename = re.sub(
            r"\{([^:}]*)", lambda field: f"{field[1].replace('/', '_')}={field[0]}", callback.filename
        )
        callback.auto_insert_metric_name = False


class Watched(pl.Callback):
    """Looks before a training that what callbacks watch (`monitor`) will be there.

    What is logged under `val/` is known from the start. What a strategy logs beside is under its own name or `train/`,
    and what other callbacks log is theirs to know: a name that may be one of those is left to Lightning, which looks
    for it when it is wanted first.

    Args:
        callbacks: that may watch a metric.
    """

    def __init__(self, callbacks: Iterable[pl.Callback]) -> None:
        self.callbacks = list(callbacks)

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Refuses a name that is no metric."""
        if stage != "fit" or not all(is_lightnings(callback) for callback in self.callbacks):
            return
        assert isinstance(pl_module, Classifier)
        for callback in self.callbacks:
            name = getattr(callback, "monitor", None)
            if isinstance(name, str) and name:
                self._look(type(callback).__name__, name, trainer, pl_module)

    def _look(self, owner: str, name: str, trainer: pl.Trainer, module: Classifier) -> None:
        group, slash, _ = name.partition("/")
        pool = module.datamodule.pools.val if trainer.limit_val_batches else None
        evaluation = Evaluation(module.spec.class_names)
        evaluation.group(module.datamodule.pools.labeled.labels)
        scores = evaluation.names(pool.labels) if pool else []
        there = [*(f"val/{score}" for score in scores), "train/loss"]
        if name in there or (slash and group not in ("val", "test")):
            return
        shown = [metric for metric in there if not metric.startswith("val/accuracy/")]
        shown += ["val/accuracy/CLASS"] if pool else []
        close = did_you_mean(name, there).partition("; there are:")[0]
        none = "" if pool else " (no image is validated)"
        raise InputError(f"{owner} watches {name!r}, which is not logged{none}{close}; there are: {', '.join(shown)}")


class Rewind(pl.Callback):
    """Removes what a killed process let a user's `ModelCheckpoint` write after the checkpoint that a run goes on from.

    The run takes those steps again and writes the same files: Lightning would give them other names beside the ones
    that are there. Only in the run's own folder: in another one the files may be those of other runs.

    Args:
        run_dir: the run directory.
    """

    def __init__(self, run_dir: Path) -> None:
        self.folder = run_dir / FOLDER

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Knows the step that was restored, and what the callbacks had written until then."""
        if not trainer.is_global_zero:
            return
        known: set[str] = set()
        for callback in trainer.checkpoint_callbacks:
            if isinstance(callback, ModelCheckpoint):
                known |= {*callback.best_k_models, callback.best_model_path, callback.last_model_path}
        names = {Path(path).name for path in known}
        for left in self.folder.glob(".*.tmp"):
            left.unlink()
        for path in self.folder.glob("*.ckpt"):
            if path.name not in names and _step(path) >= trainer.global_step:
                path.unlink()


def _step(path: Path) -> int:
    """The step that a checkpoint was written after; -1 where it is none that semisup has written."""
    try:
        return int(checkpoint_file.read(path)["global_step"])
    except InputError:
        return -1


def is_lightnings(callback: pl.Callback) -> bool:
    """Whether a callback's class is one that Lightning ships."""
    return type(callback).__module__.startswith("pytorch_lightning.")
