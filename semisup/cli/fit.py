"""`semisup fit`: trains, chooses on validation, reports on test, once.

python -m semisup fit --strategy pseudolabel
"""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from semisup.classifier import Classifier
from semisup.cli import resume
from semisup.cli.build import as_list, build_data, build_trainer, default_precision
from semisup.cli.config import Config
from semisup.cli.config_file import left_out
from semisup.cli.lightning_errors import Refused, lightning_errors
from semisup.cli.same_data import Remap
from semisup.cli.summary import report
from semisup.cli.yaml_files import with_places
from semisup.composition import Composition
from semisup.data.datamodule import DataModule
from semisup.errors import InputError
from semisup.escape import nearby
from semisup.figures.callback import LogFigures
from semisup.runs.directory import current_run_dir, write_atomically
from semisup.runs.environment import write_environment
from semisup.runs.lock import LOCK, Lock
from semisup.runs.options import PRECISION, flat
from semisup.runs.reading import METRICS_FILE
from semisup.runtime import signals
from semisup.runtime.console import say, typed
from semisup.runtime.launch import check_program, losing_ranks
from semisup.tracking import finish, make_loggers
from semisup.tracking.record import ContinueRecord, MetricsCSV
from semisup.training.added_callbacks import Rewind, Watched, prepare
from semisup.training.checkpoints import Checkpoints
from semisup.training.continue_loops import ContinueLoops
from semisup.training.forecast import Forecast
from semisup.training.progress import Progress


@dataclass(frozen=True)
class Trained:
    """What a training leaves.

    Attributes:
        run_dir: the run's directory.
        module: the classifier, with the weights that were scored last.
        data: what it was trained with.
    """

    run_dir: Path
    module: Classifier
    data: DataModule


def run(config: Config) -> None:
    """Trains as `train` does."""
    train(config)


def train(config: Config, given: DataModule | None = None, from_python: bool = False) -> Trained:
    """Trains in a new run directory, or goes on in that of `--resume`.

    Here the configuration is taken apart, and everything else is given its part of it.

    Args:
        config: all options.
        given: the data, where it is there already; by default what the options name is opened.
        from_python: whether somebody's own program called; a second Ctrl-C then leaves the training and not Python.

    Raises:
        InputError: an option or the data is wrong; no run directory is left behind. Or another process trains the run.
    """
    say(f"semisup fit: {config.title}")
    root = Path(config.trainer.get("default_root_dir") or "runs")
    with ExitStack() as held:  # the run directory, from its beginning or resumption on
        folder = root / config.data.name / config.strategy
        resumed = resume.run_to_resume(config.own.resume, folder, config.options, held)
        data = given or build_data(config.data)
        strategy = Composition(config.plugins)
        options = (config.model, config.optimizer, config.lr_scheduler, config.seed)
        module = Classifier(data.spec, strategy, *options, restored=resumed is not None)
        began = resumed.config if resumed else None
        precision = flat(began).get(PRECISION) if began else default_precision(config.trainer, module)
        if precision and not config.trainer.get("precision"):
            config = config.in_precision(precision)
        flags = config.trainer
        if resumed is None:
            run_dir = current_run_dir(root, config.data.name, config.strategy, config.seed)
            rank_zero_only(held.enter_context)(Lock(run_dir / LOCK))
        else:
            run_dir = resumed.run
        loggers = list[Any]()
        again = signal.default_int_handler if from_python else signal.SIG_DFL
        stop = signals.Signals(signals.requeue_signals(as_list(flags.get("plugins"))), again)
        trusted = ["--trust"] if "class_path:" in config.yaml else []
        go_on = typed("fit", "--resume", run_dir, *trusted)
        if from_python:
            go_on = f"semisup.fit(..., resume={str(nearby(run_dir))!r})"
        with _ending(run_dir, module, loggers, stop, bool(resumed), go_on):
            loggers += _loggers(config, run_dir, len(data.pools.labeled))
            remap = config.own.resume_data == "remap"
            point, rows = resume.checkpoint(resumed, module, data, remap) if resumed else (None, None)
            if resumed and point is None:
                module.start()
            progress, added = Progress(), as_list(flags.get("callbacks"))
            prepare(added, run_dir, averages=bool(strategy.owner and strategy.owner.ema_decay))
            # The record first, then the user's, then the checkpoints.
            callbacks = [*([] if rows is None else [Remap(rows)]), ContinueLoops(), ContinueRecord(), progress]
            callbacks += [LogFigures(), Rewind(run_dir), Watched(added), Forecast(config.own.yes), *added]
            if flags.get("enable_checkpointing") is not False:
                callbacks.append(Checkpoints(run_dir / "checkpoints", stop))
            # What Lightning leaves stays in the run.
            trainer = build_trainer(flags, logger=loggers, callbacks=callbacks, default_root_dir=run_dir)
            if from_python:
                check_program(trainer.world_size)
            if trainer.is_global_zero:
                _record(run_dir, data, config.yaml, anew=point is None)
            begins = ", which has saved nothing yet and begins anew" if resumed else ""
            say(f"run: {os.path.relpath(run_dir)}{f', from {point.name}' if point else begins}")
            _train(trainer, module, data, point, progress)
            report(trainer, module, data, run_dir, progress.state_dict())
            say(f"done: {config.title}")
    return Trained(run_dir, module, data)


def _loggers(config: Config, run_dir: Path, labels: int) -> list[Any]:
    """Those of the run, and behind them the user's."""
    asked = config.trainer.get("logger")
    if asked is False:
        return []
    ours = make_loggers(
        config.tracking,
        run_dir,
        data=config.data.name,
        labels=str(labels),
        strategy=config.strategy,
        seed=config.seed,
        config=config.options | {"labels": labels},
        tags=[config.data.name, config.strategy, *(["default data"] if config.data.why else [])],
    )
    return [*ours, *([] if asked is True else as_list(asked))]


@contextmanager
def _ending(
    run_dir: Path, module: Classifier, loggers: Sequence[Any], stop: signals.Signals, resumed: bool, go_on: str
) -> Iterator[None]:
    """Ends a run as it must, however it ends: says how to go on with it, or removes what has not begun.

    Args:
        run_dir: the run's directory.
        module: the classifier.
        loggers: to be finished.
        stop: the signals that end it.
        resumed: whether it had begun before.
        go_on: what to type to go on with it.
    """
    exit_code = 1
    try:
        with stop.handled(), lightning_errors(), losing_ranks(run_dir):
            yield
        exit_code = 0
    except InputError as error:
        if not resumed:
            _remove(run_dir, begun=not isinstance(error, Refused))
        raise
    except signals.Stopped as stopped:
        exit_code = stopped.exit_code
        say(f"stopped by {stopped.name}; go on with: {go_on}")
        if module.global_rank > 0:
            raise SystemExit(0) from None  # where Lightning started it, a failure would kill rank 0 while it closes
        if stopped.number in stop.besides:
            say(signals.requeue())
        raise
    finally:
        finish(loggers, exit_code)


def _record(run_dir: Path, data: DataModule, config_yaml: str, anew: bool) -> None:
    """Writes what the run is of, and removes what a process that was killed left of it."""
    for left in (*run_dir.glob(".*.tmp"), *([run_dir / METRICS_FILE] if anew else [])):
        left.unlink(missing_ok=True)
    write_environment(run_dir, data.fingerprint.digest)
    write_atomically(run_dir / "config.yaml", with_places(config_yaml))
    for line in left_out(config_yaml):
        say(f"config.yaml: {line}")


def _train(trainer: pl.Trainer, module: Classifier, data: DataModule, point: Path | None, progress: Progress) -> None:
    """Fits, from a checkpoint where one is given."""
    with resume.restoring(point):
        trainer.fit(module, datamodule=data, ckpt_path=point, weights_only=True)
    if not progress.began:  # the training had ended; what follows its last step may not have
        for logger in trainer.loggers:
            if isinstance(logger, MetricsCSV):
                logger.truncate(trainer.global_step)
        for part in module.strategy.parts.values():
            part.on_train_end(trainer, module)


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
