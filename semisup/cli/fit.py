"""`semisup fit`: trains, chooses on validation, reports on test, once.

python -m semisup fit --strategy pseudolabel
"""

from __future__ import annotations

import os
import shutil
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import yaml
from pytorch_lightning.callbacks import ProgressBar
from pytorch_lightning.profilers import PassThroughProfiler
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from semisup.batch import Batch
from semisup.classifier import Classifier, OptimizerOptions
from semisup.cli import resume
from semisup.cli.build import as_list, build_data, build_trainer, first_line
from semisup.cli.config import Config
from semisup.cli.config_file import left_out
from semisup.cli.lightning_errors import Refused, lightning_errors
from semisup.cli.predictions import write_confusion, write_predictions
from semisup.cli.same_data import Remap
from semisup.cli.summary import Result, table
from semisup.cli.yaml_files import with_places
from semisup.data.datamodule import DataModule
from semisup.errors import InputError
from semisup.figures.callback import LogFigures
from semisup.runs.directory import current_run_dir, write_atomically
from semisup.runs.environment import write_environment
from semisup.runs.lock import LOCK, Lock
from semisup.runs.reading import METRICS_FILE
from semisup.runtime import signals
from semisup.runtime.console import say, typed
from semisup.runtime.launch import losing_ranks
from semisup.strategy import Composition
from semisup.tracking import finish, make_loggers
from semisup.tracking.record import ContinueRecord, MetricsCSV
from semisup.training.added_callbacks import Rewind, Watched, is_lightnings, prepare
from semisup.training.checkpoints import Checkpoints
from semisup.training.continue_loops import ContinueLoops


def run(config: Config) -> None:
    """Trains in a new run directory, or goes on in that of `--resume`.

    Raises:
        InputError: an option or the data is wrong; no run directory is left behind. Or another process trains the run.
    """
    say(first_line(config))
    with ExitStack() as held:
        _run(config, held)


def _run(config: Config, held: ExitStack) -> None:
    """The same, in a run directory that is `held` from its beginning or resumption on."""
    run_dir = resumed = resume.run_to_resume(config, held)
    data = build_data(config)
    optimizer = OptimizerOptions(*config.optimizer)
    strategy = Composition(config.plugins)
    module = Classifier(data.spec, strategy, config.model, optimizer, config.lr_scheduler, config.seed)
    if run_dir is None:
        root = Path(config.trainer.get("default_root_dir") or "runs")
        run_dir = current_run_dir(root, config.data_name, config.strategy, config.seed)
        rank_zero_only(held.enter_context)(Lock(run_dir / LOCK))
    loggers = _loggers(config, run_dir, data)
    stop = signals.Signals(signals.requeue_signals(as_list(config.trainer.get("plugins"))))
    exit_code = 1
    try:
        with stop.handled(), lightning_errors(), losing_ranks(run_dir):
            _train(config, module, data, run_dir, loggers, stop, bool(resumed))
        exit_code = 0
    except InputError as error:
        if not resumed:
            _remove(run_dir, begun=not isinstance(error, Refused))
        raise
    except signals.Stopped as stopped:
        exit_code = stopped.exit_code
        trust = ["--trust"] if "class_path:" in config.yaml else []
        say(f"stopped by {stopped.name}; go on with: {typed('fit', '--resume', run_dir, *trust)}")
        if module.global_rank > 0:
            raise SystemExit(0) from None  # where Lightning started it, a failure would kill rank 0 while it closes
        if stopped.number in stop.besides:
            say(signals.requeue())
        raise
    finally:
        finish(loggers, exit_code)


def _train(
    config: Config,
    module: Classifier,
    data: DataModule,
    run_dir: Path,
    loggers: list[Any],
    stop: signals.Signals,
    resumed: bool,
) -> None:
    """Fits and reports, or goes on with it; a run killed before its first checkpoint begins anew in its directory."""
    point, places = resume.checkpoint(config, run_dir, module, data) if resumed else (None, None)
    progress = Progress()
    callbacks = _callbacks(config, run_dir, module.strategy, progress, stop)
    callbacks = [*([] if places is None else [Remap(places)]), *callbacks]
    # What Lightning leaves stays in the run.
    trainer = build_trainer(config, logger=loggers, callbacks=callbacks, default_root_dir=run_dir)
    if trainer.is_global_zero:
        for left in (*run_dir.glob(".*.tmp"), *([] if point else [run_dir / METRICS_FILE])):  # by a run that was killed
            left.unlink(missing_ok=True)
        write_environment(run_dir, data.fingerprint.digest)
        write_atomically(run_dir / "config.yaml", with_places(config.yaml))
        for line in left_out(config.yaml):
            say(f"config.yaml: {line}")
    begins = ", which has saved nothing yet and begins anew" if resumed else ""
    say(f"run: {os.path.relpath(run_dir)}{f', from {point.name}' if point else begins}")
    with resume.restoring(point):
        trainer.fit(module, datamodule=data, ckpt_path=point, weights_only=True)
    if not progress.began:  # the training had ended; what follows its last step may not have
        for logger in loggers:
            if isinstance(logger, MetricsCSV):
                logger.truncate(trainer.global_step)
        for part in module.strategy.parts.values():
            part.on_train_end(trainer, module)
    _report(config, trainer, module, data, run_dir)


def _loggers(config: Config, run_dir: Path, data: DataModule) -> list[Any]:
    """Ours, and those that `--trainer.logger` adds; none where it is false."""
    asked = config.trainer.get("logger")
    if asked is False:
        return []
    ours = make_loggers(
        config.tracking,
        run_dir,
        data=config.data_name,
        labels=str(len(data.pools.labeled)),
        strategy=config.strategy,
        seed=config.seed,
        config=yaml.safe_load(config.yaml) | {"labels": len(data.pools.labeled)},
        tags=[config.data_name, config.strategy, *(["default data"] if config.data_why else [])],
    )
    return [*ours, *(as_list(asked) if asked is not True else [])]


def _callbacks(
    config: Config, run_dir: Path, strategy: Composition, progress: Progress, stop: signals.Signals
) -> list[pl.Callback]:
    """The record first, then the user's, then the checkpoints."""
    added = as_list(config.trainer.get("callbacks"))
    prepare(added, run_dir, averages=bool(strategy.owner and strategy.owner.ema_decay))
    callbacks = [ContinueLoops(), ContinueRecord(), progress, LogFigures(), Rewind(run_dir), Watched(added), *added]
    if config.trainer.get("enable_checkpointing") is not False:
        callbacks.append(Checkpoints(run_dir / "checkpoints", stop))
    return callbacks


class Progress(pl.Callback):
    """Counts images and seconds of training, and says every epoch's accuracy where there is no progress bar.

    Attributes:
        began: whether this process took a step, or was about to; not where the training had ended before.
    """

    def __init__(self) -> None:
        self.images, self.seconds = 0, 0.0
        self.began, self._since = False, 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Starts the clock, also in the middle of an epoch that a run resumes in."""
        self.began, self._since = True, time.monotonic()

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Batch, idx: int) -> None:
        """Counts a batch's images, over all ranks."""
        unlabeled = 0 if batch.unlabeled is None else len(batch.unlabeled)
        self.images += (len(batch.labeled) + unlabeled) * trainer.world_size
        self._count_seconds()

    def _count_seconds(self) -> None:
        now = time.monotonic()
        self.seconds, self._since = self.seconds + now - self._since, now

    def state_dict(self) -> dict[str, Any]:
        """What was counted, so that a resumed run counts on."""
        return {"images": self.images, "seconds": self.seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes up the count of the run that is resumed."""
        self.images, self.seconds = state_dict["images"], state_dict["seconds"]

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Says how far it is, after epochs that were validated."""
        self._count_seconds()
        validated = (trainer.current_epoch + 1) % (trainer.check_val_every_n_epoch or 1) == 0
        if validated and trainer.progress_bar_callback is None and "val/accuracy" in trainer.callback_metrics:
            assert isinstance(pl_module, Classifier)
            accuracy, epochs = 100 * trainer.callback_metrics["val/accuracy"].item(), pl_module.phases.max_epochs
            name = "" if pl_module.phase.name == "training" else f"{pl_module.phase.name}: "
            say(f"{name}epoch {pl_module.epoch + 1} of {epochs}: validation accuracy {accuracy:.1f} %")


def _report(config: Config, trainer: pl.Trainer, module: Classifier, data: DataModule, run_dir: Path) -> None:
    """Scores the best and the last checkpoint on validation and test, and writes the best one's predictions."""
    progress = next(callback for callback in trainer.callbacks if isinstance(callback, Progress))  # type: ignore[attr-defined]
    loggers, trainer.loggers = trainer.loggers, []  # what follows is logged once, below, under names of its own
    # Lightning's own callbacks and profilers act on a training; what they would do here is not what they were asked.
    here = [each for each in trainer.callbacks if isinstance(each, ProgressBar) or not is_lightnings(each)]  # type: ignore[attr-defined]
    trainer.callbacks, trainer.profiler = here, PassThroughProfiler()  # type: ignore[attr-defined]
    # Before the best checkpoint restores its own:
    notes, cost = [part.summary() for part in module.strategy.parts.values()], progress.state_dict()
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
    say(table(results, notes, cost["seconds"], rate))
    if (run_dir / "checkpoints").exists():
        say(f"look further: {typed('test', '--ckpt_path', run_dir)}")
    say(first_line(config).replace("semisup fit:", "done:"))


def _score(trainer: pl.Trainer, module: Classifier, data: DataModule, path: Path | None) -> Result:
    module.scores.clear()
    epochs = Classifier.saved(path, sealed=True)["epochs"] if path else module.epoch
    restored: dict[str, Any] = {"ckpt_path": path, "weights_only": True} if path else {}
    for pool, evaluate in ((data.pools.val, trainer.validate), (data.pools.test, trainer.test)):
        if pool and pool.scorable:
            evaluate(module, datamodule=data, verbose=False, **restored)
    scores = {f"{stage}_{name}": x for stage, found in module.scores.items() for name, x in found.scalars.items()}
    return Result(epochs, scores)


@rank_zero_only
def _remove(run_dir: Path, begun: bool) -> None:
    """Removes the directory of a run that never began, and the folders above it that are empty now.

    Args:
        run_dir: the directory; it stays where it holds a checkpoint.
        begun: it also stays where metrics were logged.
    """
    if not any(run_dir.glob("checkpoints/*")) and not (begun and (run_dir / METRICS_FILE).exists()):
        shutil.rmtree(run_dir, ignore_errors=True)
        with suppress(OSError):  # a folder that holds something else stays
            for folder in run_dir.parents[:3]:  # strategy, data, root
                folder.rmdir()
