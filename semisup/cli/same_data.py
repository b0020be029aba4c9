"""Whether the data that is there is what a run was trained with, and what to say where it isn't."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from semisup.classifier import Classifier
from semisup.cli.config import Config
from semisup.data.changes import Changes
from semisup.data.datamodule import DataModule
from semisup.data.fingerprint import Fingerprint
from semisup.errors import InputError, require
from semisup.runtime.console import say

_ADVICE = "put it back as it was, or type --data.root FOLDER for where it is now"


def check_resumed(config: Config, path: Path, saved: dict[str, Any], data: DataModule, moved: str) -> Tensor | None:
    """Looks whether a training can go on with the data that is there.

    Args:
        config: of the run as it is to go on.
        path: the checkpoint.
        saved: what it says of itself.
        data: the data that is there.
        moved: where the run found its data; empty where that is where it is looked for now.

    Returns:
        None where the data is the same. Where it isn't and `--resume_data remap` allows that: for each row of the
        unlabeled pool as it was, its row now, and -1 where the image is gone, (n,) int64.

    Raises:
        InputError: it is other data.
    """
    then = _restored(path, saved)
    if then is None:
        require(
            not moved,
            f"{path} is of an earlier version and does not say which images it was trained with, so --data.root can't "
            f"be another one than {moved}; leave --data.root out, or leave --resume out to begin another run",
        )
        say(f"data: {path.name} is of an earlier version; whether these are the images of then can't be checked")
        return None
    if then == data.fingerprint:
        return None
    changes = Changes.between(then, data.fingerprint)
    said = changes.said(data.spec.class_names)
    _refuse_swapped(path, changes, data.spec.class_names)
    require(
        config.resume_data == "remap",
        f"{path} was trained with other data: {said}; a resumed run must go on as it began: {_ADVICE}, or type "
        f"--resume_data remap to go on with what is there",
    )
    say(f"data: goes on with other data than before: {said}")
    return torch.from_numpy(changes.places())


def check_evaluated(module: Classifier, path: Path, data: DataModule) -> None:
    """Says where the data is not what a model was trained with.

    Other images are legitimate, to be predicted as well as to be scored, and are a line; but where the classes have
    changed places, every score and every prediction would be of another class than it says.

    Args:
        module: the model, restored.
        path: its checkpoint.
        data: the data that is there.

    Raises:
        InputError: classes have changed places.
    """
    then = module.trained_on
    if then is None:
        say(f"data: {path.name} is of an earlier version; whether these are the images of then can't be checked")
    elif then != data.fingerprint:
        changes = Changes.between(then, data.fingerprint)
        _refuse_swapped(path, changes, data.spec.class_names)
        say(
            f"data: not what it was trained with, what follows is of the images that are there: "
            f"{changes.said(data.spec.class_names)}"
        )


def _restored(path: Path, saved: dict[str, Any]) -> Fingerprint | None:
    try:
        return Fingerprint.restored(saved.get("data"), len(saved["spec"]["class_names"]))
    except InputError as error:
        raise InputError(f"{path} contradicts itself: {error}") from error


def _refuse_swapped(path: Path, changes: Changes, class_names: Sequence[str]) -> None:
    if swapped := changes.swapped():
        told = ", ".join(f"{class_names[then]!r} is now {class_names[now]!r}" for then, now in swapped.items())
        raise InputError(f"the classes of {path} have changed places: what it knows as {told}; {_ADVICE}")


class Remap(pl.Callback):
    """Tells the strategies, before they act, where the images are now that they know by their rows.

    Args:
        places: as `check_resumed` returns it.
    """

    def __init__(self, places: Tensor) -> None:
        self.places = places

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Their state has been restored, and is of the rows of then."""
        assert isinstance(pl_module, Classifier)
        for part in pl_module.strategy.parts.values():
            part.remap(pl_module, self.places)
