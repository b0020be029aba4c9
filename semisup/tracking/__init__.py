"""Writes what a run measures: always to `metrics.csv`, to W&B unless disabled, to TensorBoard on request.

    loggers = make_loggers(TrackingOptions(), run_dir, data="digits", labels="100", strategy="pseudolabel", seed=0, ...)
    trainer = Trainer(logger=loggers, callbacks=[ContinueRecord(), ...])
    trainer.fit(...)
    finish(loggers)

Nothing heavy is imported before `make_loggers` is called, so that the command line can ask for the options.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from semisup.errors import InputError, require
from semisup.runs import run_files
from semisup.runs.directory import write_atomically
from semisup.tracking import login

if TYPE_CHECKING:
    from pytorch_lightning.loggers import Logger

Mode = Literal["auto", "online", "offline", "disabled"]
ID_FILE = "wandb_id.txt"
_TAG = 64  # characters that W&B takes


@dataclass
class TrackingOptions:
    """Where a run's metrics go beside its `metrics.csv`. W&B's own variables stand in for what is not given.

    Args:
        mode: W&B: `auto` is online when you are logged in and the server answers, else offline; `offline` needs neither
            key nor network, and `wandb sync` uploads later; `disabled` leaves W&B out. `auto` obeys WANDB_MODE.
        project: W&B project; by default WANDB_PROJECT, else semisup.
        entity: W&B user or team; by default your own, or WANDB_ENTITY.
        tensorboard: also write TensorBoard files, into the run directory.
        name: of the run in W&B; by default WANDB_NAME, else strategy and seed.
        tags: of the run in W&B, with commas between them; by default WANDB_TAGS, else dataset and strategy.
        notes: on the run in W&B; by default WANDB_NOTES, else none.
        group: of runs in W&B; by default WANDB_RUN_GROUP, else dataset and number of labels.
    """

    mode: Mode = "auto"
    project: str = field(default_factory=lambda: login.variable("PROJECT") or "semisup")
    entity: str | None = field(default_factory=lambda: login.variable("ENTITY"))
    tensorboard: bool = False
    name: str | None = field(default_factory=lambda: login.variable("NAME"))
    tags: str | list[str] | None = field(default_factory=lambda: login.variable("TAGS"))
    notes: str | None = field(default_factory=lambda: login.variable("NOTES"))
    group: str | None = field(default_factory=lambda: login.variable("RUN_GROUP"))

    def __post_init__(self) -> None:
        words = self.tags.split(",") if isinstance(self.tags, str) else self.tags or []
        self.tag_list = [word.strip() for word in words if word.strip()]
        long = next((tag for tag in self.tag_list if len(tag) > _TAG), None)
        require(
            long is None, f"--tracking.tags, or WANDB_TAGS: W&B takes tags of at most {_TAG} characters, not {long!r}"
        )


def make_loggers(
    options: TrackingOptions,
    run_dir: Path,
    data: str,
    labels: str,
    strategy: str,
    seed: int,
    config: dict[str, Any],
    tags: list[str],
) -> list[Logger]:
    """The loggers of a run, the same ones on every rank; only rank 0's write.

    On a resumed run, CSV and W&B go on where the run directory says that they were.

    Args:
        options: where to write.
        run_dir: an existing run directory; W&B's and TensorBoard's files lie in it as well.
        data: name of the dataset; with `labels` it groups runs that may be compared.
        labels: how many labels, or which split.
        strategy: the job type, unless WANDB_JOB_TYPE is set.
        seed: in the run's name, unless the options have another.
        config: everything that was configured; W&B filters and compares runs by it.
        tags: W&B tags, unless the options have others; those too long for W&B are left out.

    Raises:
        InputError: something was asked for by name that isn't installed, or W&B online without being logged in.
    """
    from semisup.tracking.record import MetricsCSV

    loggers: list[Logger] = [MetricsCSV(run_dir)]
    mode = _resolve(options.mode)
    if mode != "disabled":
        from semisup.tracking.guarded_wandb import GuardedWandb

        loggers.append(
            GuardedWandb(
                run_dir,
                mode,
                id=_run_id(run_dir),
                name=options.name or f"{strategy}-s{seed}",
                group=options.group or group_of(data, labels),
                job_type=login.variable("JOB_TYPE") or strategy,
                project=options.project,
                entity=options.entity,
                tags=options.tag_list or [tag for tag in tags if 0 < len(tag) <= _TAG],
                notes=options.notes,
                config=config,
            )
        )
    if options.tensorboard:
        if not (_installed("tensorboard") or _installed("tensorboardX")):
            raise InputError("--tracking.tensorboard: it isn't installed; type: pip install tensorboard")
        from pytorch_lightning.loggers import TensorBoardLogger

        loggers.append(TensorBoardLogger(run_dir, name="", version="tensorboard", default_hp_metric=False))
    return loggers


def group_of(data: str, labels: str) -> str:
    """W&B's group of the runs that may be compared: those of a dataset with as many labels."""
    return f"{data}-{labels}"


def finish(loggers: Iterable[Logger], exit_code: int = 0) -> None:
    """Closes W&B at the end of a run, within a bounded time; what isn't uploaded by then stays on disk.

    Args:
        loggers: what `make_loggers` returned.
        exit_code: 0 marks the run as finished, anything else as failed.
    """
    from semisup.tracking.guarded_wandb import GuardedWandb

    for logger in loggers:
        if isinstance(logger, GuardedWandb):
            logger.finish(exit_code)


def _resolve(mode: Mode) -> Mode:
    """What a mode comes to on this machine. `"auto"` stays where the login and the server decide."""
    if mode == "auto":
        wished = login.setting("mode")
        # "dryrun" is W&B's older word for offline, and WANDB_DISABLED its older switch.
        if wished == "disabled" or os.environ.get("WANDB_DISABLED", "").lower() in ("1", "true", "yes"):
            return "disabled"
        if wished in ("offline", "dryrun"):
            mode = "offline"
        if not _installed("wandb"):
            from semisup.runtime.console import say

            say("W&B is not installed, so metrics go to metrics.csv only (pip install wandb)")
            return "disabled"
    elif mode != "disabled" and not _installed("wandb"):
        raise InputError(f"--tracking.mode {mode}: wandb isn't installed; type: pip install wandb")
    if mode == "online" and not login.logged_in():
        raise InputError(
            f"--tracking.mode online: not logged in to {login.base_url()}; type: wandb login, or --tracking.mode auto"
        )
    return mode


def _installed(distribution: str) -> bool:
    """Whether a distribution is installed; a mere folder of that name (W&B leaves a `wandb/`) doesn't count."""
    try:
        metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return False
    return True


def _run_id(run_dir: Path) -> str:
    """The W&B id of a run: made once, on rank 0, and kept in the run directory, so that resuming continues it.

    Raises:
        InputError: what is kept there is not one.
    """
    from pytorch_lightning.utilities.rank_zero import rank_zero_only

    path = Path(run_dir) / ID_FILE
    if run_files.is_there(path):
        kept = run_files.content(path, 1024).strip()
        if not re.fullmatch(rb"[\w-]{1,64}", kept):
            raise InputError(f"{path} holds {kept[:64]!r}, which is no id of W&B; remove it, and a new W&B run begins")
        return kept.decode()
    name = secrets.token_hex(4)  # not from a generator that a seed determines: two runs of one seed are two runs
    rank_zero_only(write_atomically)(path, name + "\n")
    return name
