"""`semisup fit --resume RUN`: which run goes on, and whether what was typed lets it go on as it began.

python -m semisup fit --resume runs/digits/fixmatch/20260101-120000-s0
python -m semisup fit --strategy fixmatch --resume auto
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from traceback import walk_tb
from typing import Any

from pytorch_lightning.trainer.connectors import checkpoint_connector
from torch import Tensor

from semisup.classifier import Classifier
from semisup.cli.same_data import check_resumed, listed
from semisup.data.datamodule import DataModule
from semisup.errors import InputError, require
from semisup.runs import run_files
from semisup.runs.directory import run_of
from semisup.runs.lock import LOCK, Held, Lock
from semisup.runs.options import IMAGES, ROOT, changed
from semisup.runs.run import CONFIG_FILE, Run, config_of
from semisup.runtime.console import say
from semisup.runtime.launch import from_rank_zero
from semisup.training.checkpoints import newest

AUTO = "auto"


@dataclass(frozen=True)
class Resumed:
    """A run that goes on.

    Attributes:
        run: its directory.
        named: the checkpoint that `--resume` names; None where the newest is meant.
        moved: where the run found its data; empty where that is where it is looked for now.
    """

    run: Path
    named: Path | None = None
    moved: str = ""

    @property
    def config(self) -> dict[str, Any] | None:
        """The options that it began with; None where it was killed before it wrote its config.yaml."""
        return config_of(self.run)


def run_to_resume(resume: str | None, folder: Path, options: Mapping[str, Any], held: ExitStack) -> Resumed | None:
    """The run that `--resume` means, locked by rank 0; None where there is none to go on with.

    Args:
        resume: the run or checkpoint that is typed, or auto; None where nothing is.
        folder: where runs with this data and strategy lie.
        options: of this invocation, as config.yaml has them.
        held: gives the run free when it is closed.

    Raises:
        InputError: the path is not that of a run, or the run began with other options.
        Held: another process trains it.
    """
    if not resume:
        return None
    if resume == AUTO:
        newest_run = from_rank_zero(lambda: str(_newest_like(options, folder, held) or ""))
        what = f"goes on with {os.path.relpath(newest_run)}, the newest" if newest_run else "begins anew, there is no"
        say(f"--resume auto: {what} run of {folder.name} on {folder.parent.name} with these options")
        return Resumed(Path(newest_run)) if newest_run else None
    path = Path(resume)
    run = run_of(path)
    if run is None or not path.exists():
        fault = "is not a run directory, nor in one" if path.exists() else "does not exist"
        raise InputError(f"--resume: {path} {fault}; type the path of a run, or --resume auto")
    differing = _changed(run, options)
    # The same data may have moved, or be other data: `checkpoint` looks at the images, and says which are others.
    moved, _ = differing.pop(ROOT, ("", None))
    differing.pop(IMAGES, None)
    if differing:
        (name, (then, now)), others = next(iter(differing.items())), len(differing) - 1
        more = f" (and {others} more differ)" if others else ""
        raise InputError(
            f"{path} began with --{name} {_shown(then)}, not {_shown(now)}{more}; a resumed run goes on as it began: "
            f"leave --{name} out, or leave --resume out to begin another run"
        )

    def lock() -> str:
        _take(run, held)
        return str(run)

    return Resumed(Path(from_rank_zero(lock)), path if path.suffix == ".ckpt" else None, str(moved))


def checkpoint(
    resumed: Resumed, module: Classifier, data: DataModule, remap: bool
) -> tuple[Path | None, Tensor | None]:
    """The checkpoint that a run goes on from: the newest, or the one that `--resume` names; None where there is none.

    Args:
        resumed: the run.
        module: the classifier that is to go on.
        data: the data that is there.
        remap: whether it may be other data than the run began with.

    Returns:
        It, and what `check_resumed` says of the data.

    Raises:
        InputError: it can't be restored, or is of another strategy, network or data.
    """
    path = resumed.named or newest(resumed.run)
    if path is None:
        return None, None
    require(
        resumed.config is not None,
        f"{resumed.run} has a checkpoint and no {CONFIG_FILE}, so nobody knows how it was trained; put that back, "
        f"or leave --resume out to begin another run",
    )
    saved = Classifier.saved(path, sealed=bool(resumed.named))  # `newest` has looked at the seal of its own
    for what, then, now in (
        ("the strategy", saved["strategy"], module.strategy.name),
        ("the backbone", saved["model"]["backbone"], module.backbone_name),
        ("the classes", listed(tuple(saved["spec"]["class_names"])), listed(module.spec.class_names)),
    ):
        require(then == now, f"{path} was trained with {what} {then}, not {now}; a resumed run must go on as it began")
    return path, check_resumed(path, saved, data, resumed.moved, remap)


@contextmanager
def restoring(path: Path | None) -> Iterator[None]:
    """Makes one clear error of what Lightning stumbles over where code has changed since a checkpoint was written.

    Args:
        path: the checkpoint that Lightning is given meanwhile; None where it is given none.

    Raises:
        InputError: in place of an error that is raised while the checkpoint is restored.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # what a state of another form makes a network, an optimiser or a strategy raise
        modules = [frame.f_globals["__name__"] for frame, _ in walk_tb(error.__traceback__)]
        if path is None or checkpoint_connector.__name__ not in modules:
            raise
        raise InputError(
            f"{path} can't be restored ({' '.join(str(error).split())[:300]}); a resumed run must go on as it began, "
            f"with the network and the strategy of then; leave --resume out to begin another run"
        ) from error


def _newest_like(options: Mapping[str, Any], folder: Path, held: ExitStack) -> Path | None:
    """The newest run with the same options that no process trains, locked; says which newer ones are trained."""
    runs = [Run(path.parent) for path in folder.glob(f"*/{CONFIG_FILE}")]
    for run in (run.directory for run in sorted(runs, key=lambda run: run.made, reverse=True)):
        try:
            if not _changed(run, options):
                with ExitStack() as ours:
                    _take(run, ours)
                    newest(run)
                    held.enter_context(ours.pop_all())
                return run.absolute()
        except Held as error:
            who = error.holder or "another process"
            say(f"--resume auto: {os.path.relpath(run)} is left alone, it belongs to {who}")
        except InputError as error:  # it is damaged, which is no reason not to go on with another one
            say(f"--resume auto: skips {os.path.relpath(run)}: {error}")
    return None


def _take(run: Path, held: ExitStack) -> None:
    """Makes sure that all that is written lies in the run, and locks it."""
    run_files.check_folders(run)
    held.enter_context(Lock(run / LOCK))


def _changed(run: Path, options: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Options that would make another run of it; none where it was killed before it wrote its config.yaml."""
    began = config_of(run)
    return changed(began, options) if began else {}


def _shown(value: Any) -> str:
    return "null" if value is None else str(value)
