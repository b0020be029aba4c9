"""The end of a run: the best and the last checkpoint are scored, and what they came to is written and told."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import ProgressBar
from pytorch_lightning.profilers import PassThroughProfiler

from semisup.classifier import Classifier
from semisup.cli.predictions import write_confusion, write_predictions
from semisup.data.datamodule import DataModule
from semisup.models.adapt import trained_parameters
from semisup.runtime.console import say, typed
from semisup.tracking.record import MetricsCSV
from semisup.training.added_callbacks import is_lightnings


@dataclass(frozen=True)
class Result:
    """What a checkpoint came to.

    Attributes:
        epoch: epochs of training that it has had.
        scores: `val_accuracy`, `test_accuracy` and every other score of `semisup.metrics.Evaluation`, those that there
            are.
    """

    epoch: int
    scores: dict[str, float]


def report(trainer: pl.Trainer, module: Classifier, data: DataModule, run_dir: Path, cost: dict[str, float]) -> None:
    """Scores the best and the last checkpoint on validation and test, and writes the best one's predictions.

    Args:
        trainer: that has trained.
        module: the classifier.
        data: its data.
        run_dir: the run's directory.
        cost: what the training took: `images` and `seconds`.
    """
    loggers, trainer.loggers = trainer.loggers, []  # what follows is logged once, below, under names of its own
    # Lightning's own callbacks and profilers act on a training; what they would do here is not what they were asked.
    here = [each for each in trainer.callbacks if isinstance(each, ProgressBar) or not is_lightnings(each)]  # type: ignore[attr-defined]
    trainer.callbacks, trainer.profiler = here, PassThroughProfiler()  # type: ignore[attr-defined]
    # Before the best checkpoint restores its own:
    notes = [part.summary() for part in module.strategy.parts.values()]
    if module.network.frozen:
        every = sum(p.numel() for p in module.network.parameters())
        notes.append(f"{trained_parameters(module.network):,} of {every:,} parameters trained")
    results = {}
    for which in ("last", "best"):
        path = run_dir / "checkpoints" / f"{which}.ckpt"
        trainer.strategy.barrier()
        if path.exists():
            results[which] = _score(trainer, module, data, path)
    if not results:  # no checkpoint was kept, so the weights in memory are the last ones
        results["last"] = _score(trainer, module, data, None)
    trainer.loggers = loggers
    if not trainer.is_global_zero:
        return
    final = {f"{which}/{name}": value for which, result in results.items() for name, value in result.scores.items()}
    rate = cost["images"] / max(cost["seconds"], 1e-9)
    final |= {**cost, "labels": len(data.pools.labeled)}
    for logger in loggers:  # the record holds what the rate is made of; W&B can't divide
        derived = {} if isinstance(logger, MetricsCSV) else {"images_per_second": rate}
        logger.log_metrics(final | derived, step=trainer.global_step)
    if data.pools.test:
        write_predictions(run_dir / "predictions.csv", module, data.pools.test, data.eval_batch_size)
    if "test" in module.scores:
        write_confusion(run_dir / "confusion.csv", module.scores["test"].confusion, module.spec.class_names)
    say(_table(results, notes, cost["seconds"], rate))
    if any((run_dir / "checkpoints").glob("*.ckpt")):  # none is kept of a training without a step, or of fast_dev_run
        say(f"look further: {typed('test', '--ckpt_path', run_dir)}")


def _score(trainer: pl.Trainer, module: Classifier, data: DataModule, path: Path | None) -> Result:
    module.scores.clear()
    epochs = Classifier.saved(path, sealed=True)["epochs"] if path else module.epoch
    restored: dict[str, Any] = {"ckpt_path": path, "weights_only": True} if path else {}
    for pool, evaluate in ((data.pools.val, trainer.validate), (data.pools.test, trainer.test)):
        if pool and pool.scorable:
            evaluate(module, datamodule=data, verbose=False, **restored)
    scores = {f"{stage}_{name}": x for stage, scored in module.scores.items() for name, x in scored.scalars.items()}
    return Result(epochs, scores)


def _table(results: dict[str, Result], notes: Iterable[str], seconds: float, images_per_second: float) -> str:
    """The accuracy of the best and the last checkpoint in percent, of images and of classes, and the training's cost.

    Args:
        results: `"best"` and `"last"`, those that there are.
        notes: what the strategies add, a line each; empty ones are left out.
        seconds: of training, validation included.
        images_per_second: training images over those seconds.
    """
    lines = [f"{'accuracy in %':<24}{'validation':>12}{'test':>8}"]
    for which in ("best", "last"):
        if which in results:
            result = results[which]
            rows = {f"{which} (epoch {result.epoch})": "accuracy", "  every class alike": "balanced_accuracy"}
            for title, score in rows.items():
                cells = [result.scores.get(f"{stage}_{score}") for stage in ("val", "test")]
                val, test = ("-" if cell is None else f"{100 * cell:.1f}" for cell in cells)
                if score == "accuracy" or any(cells):
                    lines.append(f"{title:<24}{val:>12}{test:>8}")
    lines += [note for note in notes if note]
    lines.append(f"{seconds:.1f} s of training, {images_per_second:,.0f} images/s")
    width = max(map(len, lines))
    return "\n".join(["-" * width, *lines, "-" * width])
