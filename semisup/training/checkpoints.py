"""Checkpoints: when they are written, so that no moment to be killed at is a bad one, and which a run goes on from.

    checkpoints/last.ckpt       after every epoch, and within one after every ten minutes
    checkpoints/previous.ckpt   the one before, as long as the run trains
    checkpoints/best.ckpt       after the epoch with the best validation accuracy, of the last phase alone

A checkpoint is written under a temporary name and flushed to the disk. It is moved into place only when the step's or
the epoch's metrics are in `metrics.csv`, which Lightning writes after it: otherwise a run killed in between would lose
those rows, since the resumed run does not take that step again.

Weights that are not finite are not written, and what the disk does not take ends the run with the last checkpoint in
place.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins import TorchCheckpointIO
from pytorch_lightning.callbacks import StochasticWeightAveraging

from semisup.classifier import Classifier
from semisup.errors import InputError
from semisup.runs import run_files
from semisup.runs.directory import replacing, writing
from semisup.runtime.console import say
from semisup.runtime.signals import Signals, Stopped

SECONDS = 600.0  # from one checkpoint to the next within an epoch: what a kill can cost of it
_TEMPORARY = ".temporary"  # ends the name of a checkpoint that is not in place yet
_HALF_WRITTEN = (_TEMPORARY, ".aside")  # the latter of earlier versions
_DUE = 0.5  # less than the number of any signal


class Checkpoints(pl.callbacks.Checkpoint):  # Lightning runs these after all other callbacks
    """Writes the checkpoints of a run, and ends it where a signal asks for that.

    Args:
        folder: where to; made where there is none.
        signals: asked after every step.

    Attributes:
        best: validation accuracy of `best.ckpt`, in [0, 1]; -inf where there is none.
    """

    def __init__(self, folder: Path, signals: Signals | None = None) -> None:
        self.folder, self.signals = Path(folder), signals or Signals()
        self.best = self._accuracy = float("-inf")  # the latter of the last validation
        self._temporary: tuple[str, ...] = ()  # names of the checkpoints that are written and not yet in place
        self._stop = 0  # number of the signal that the ranks have agreed to end on
        self._saved = time.monotonic()

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Makes the folder, and removes what a killed process left half written."""
        if stage != "fit":
            return
        if trainer.is_global_zero:
            with writing(self.folder):
                self.folder.mkdir(parents=True, exist_ok=True)
                self._clear()
        if type(trainer.strategy.checkpoint_io) is TorchCheckpointIO:
            trainer.strategy.checkpoint_io = _Direct(self.folder.parent)
        self.signals.deferred, self._saved = True, time.monotonic()

    # ---- when

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Takes SIGTERM back from Lightning, which has just taken it."""
        self.signals.install()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Writes a checkpoint where one is due or a signal asks for it.

        Not between two batches that one step accumulates, and not at the end of an epoch, where `on_train_epoch_end`
        writes one: resumed from here, a run would take the epoch for complete before its last hooks were called. Nor in
        the epoch in which Lightning's weight averaging takes no step and only counts what batch normalisation sees: it
        does not save its count.
        """
        done = batch_idx + 1
        within = done % trainer.accumulate_grad_batches == 0 and done < trainer.num_training_batches
        within = within and not trainer.fit_loop._skip_backward
        if within and self._asked(trainer):
            self._write(trainer, "last")

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """The metrics of the last step have been logged now."""
        self._settle(trainer)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Remembers the accuracy: the epoch may end in a process that was resumed after this.

        A checkpoint of the step before is written anew, since it was to be in place after this validation: it would not
        be run a second time, and who watches it would have missed it.
        """
        if not trainer.sanity_checking:
            self._accuracy = float(trainer.callback_metrics.get("val/accuracy", float("-inf")))
            if self._temporary:
                self._write(trainer, *self._temporary)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Writes the last checkpoint, and the best one where this is it; another phase that begins has none yet."""
        self._asked(trainer)
        assert isinstance(pl_module, Classifier)
        if pl_module.epoch < 0:
            self.best = self._accuracy = float("-inf")
        best = self._accuracy > self.best
        if best:
            self.best = self._accuracy
        self._write(trainer, *(["best", "last"] if best else ["last"]))

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """The metrics of the last epoch have been logged now."""
        self._settle(trainer)
        if trainer.is_global_zero and self.best == float("-inf"):
            (self.folder / "best.ckpt").unlink(missing_ok=True)  # of the phase before

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """The same after the last one; Lightning's weight averaging may have just put its average in place."""
        if any(isinstance(each, StochasticWeightAveraging) for each in trainer.callbacks):  # type: ignore[attr-defined]
            of_the_epoch = self._temporary
            self._write(trainer, "last")  # over the one without the average, which must not be resumed from any more
            self._temporary = of_the_epoch or self._temporary
        self._settle(trainer)

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """A training that has ended needs no checkpoint to fall back on."""
        if trainer.is_global_zero:
            (self.folder / "previous.ckpt").unlink(missing_ok=True)

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """From now on there is nothing to save."""
        self.signals.deferred = False

    def _asked(self, trainer: pl.Trainer) -> bool:
        """Whether a checkpoint is due by rank 0's clock, or a signal has reached any rank; the same on all of them."""
        due = trainer.is_global_zero and time.monotonic() - self._saved > SECONDS
        wish = float(self.signals.received or (_DUE if due else 0))
        if trainer.world_size > 1:
            # After every step, since ranks may not part in the number of steps. Lightning waits for the device after
            # every step of several ranks anyway, to broadcast a flag of its own.
            wishes = torch.tensor(wish, device=trainer.strategy.root_device)
            wish = float(trainer.strategy.reduce(wishes, reduce_op="max"))
        self._stop = int(wish)
        return wish > 0

    # ---- how

    def _write(self, trainer: pl.Trainer, *names: str) -> None:
        """Writes checkpoints under temporary names, and returns when they are on the disk."""
        if trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        module = trainer.lightning_module
        assert isinstance(module, Classifier)
        module.finite.check(module)
        with self._to_disk():
            for name in names:
                path = self.folder / f"{name}{_TEMPORARY}"
                trainer.save_checkpoint(path)
                if trainer.is_global_zero:
                    _flush(path)
        self._temporary = names

    def _settle(self, trainer: pl.Trainer) -> None:
        """Moves into place what was written under a temporary name, and ends the training where that was asked for."""
        if self._temporary:
            if trainer.is_global_zero:
                with self._to_disk():
                    for name in self._temporary:
                        path = self.folder / f"{name}.ckpt"
                        if name == "last" and path.exists():
                            os.replace(path, self.folder / "previous.ckpt")
                        os.replace(path.with_suffix(_TEMPORARY), path)
                    _flush(self.folder)
            self._temporary, self._saved = (), time.monotonic()
        if self._stop:
            trainer.strategy.barrier()  # no rank leaves before the checkpoint is in place
            raise Stopped(self._stop)

    @contextmanager
    def _to_disk(self) -> Iterator[None]:
        """Leaves nothing half written where the disk refuses, and says so."""
        with writing(self.folder, self.folder.parent):
            try:
                yield
            except OSError:
                self._clear()
                raise

    def _clear(self) -> None:
        for left in [path for path in self.folder.iterdir() if path.suffix in _HALF_WRITTEN]:
            left.unlink()

    def state_dict(self) -> dict[str, Any]:
        """What the next checkpoint must beat to be the best one, and what it comes with."""
        return {"best": self.best, "accuracy": self._accuracy}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on from there."""
        self.best, self._accuracy = state_dict["best"], state_dict.get("accuracy", float("-inf"))


class _Direct(TorchCheckpointIO):
    """Writes beside where a checkpoint is to lie: Lightning's goes by the folder for temporary files.

    Into a file that Python has opened, since torch's own writer does not say what the disk said. What `Checkpoints`
    writes under a temporary name lies beside already; a `ModelCheckpoint` of the user's writes into a folder that may
    not be there yet.

    Args:
        run: the run directory.
    """

    def __init__(self, run: Path) -> None:
        self.run = run

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        path = Path(path)
        with writing(path.parent if path.suffix == _TEMPORARY else path, self.run):
            path.parent.mkdir(parents=True, exist_ok=True)
            with nullcontext(path) if path.suffix == _TEMPORARY else replacing(path) as temporary:
                _save(checkpoint, temporary)


def _save(checkpoint: dict[str, Any], path: Path) -> None:
    try:
        with open(path, "wb") as file:
            torch.save(checkpoint, file)
    except RuntimeError as error:  # torch's, on closing what it could not write
        if isinstance(error.__context__, OSError):
            raise error.__context__ from None
        raise


def _flush(path: Path) -> None:
    """Waits until a file's content, or a folder's names, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def newest(run_dir: Path) -> Path | None:
    """The checkpoint that a run goes on from: the last one, or, where it can't be restored, the newest that can.

    Returns:
        None where the run has saved none yet.

    Raises:
        InputError: there are some, and none of them can be restored.
    """
    saved = [run_dir / "checkpoints" / f"{name}.ckpt" for name in ("last", "previous", "best")]
    there, errors = [path for path in saved if run_files.is_there(path)], []
    for path in there:
        try:
            Classifier.saved(path, sealed=True)
        except InputError as error:
            errors.append(str(error))
        else:
            if errors:
                say(f"{'; '.join(errors)}: the run goes on from {path.name} instead")
            return path
    if errors:
        raise InputError(f"no checkpoint of {run_dir} can be restored: {'; '.join(errors)}")
    return None
