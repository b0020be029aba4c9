"""Whether the data that is there is what a run was trained with, and what to say where it isn't."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from semisup.classifier import Classifier
from semisup.data.changes import Changes
from semisup.data.datamodule import DataModule
from semisup.data.fingerprint import Fingerprint
from semisup.data.pools import DataSpec
from semisup.errors import InputError, require
from semisup.runs.directory import find_checkpoint
from semisup.runtime.console import say

_ADVICE = "put it back as it was, or type --data.root FOLDER for where it is now"


def check_resumed(path: Path, saved: dict[str, Any], data: DataModule, moved: str, remap: bool) -> Tensor | None:
    """Looks whether a training can go on with the data that is there.

    Args:
        path: the checkpoint.
        saved: what it says of itself.
        data: the data that is there.
        moved: where the run found its data; empty where that is where it is looked for now.
        remap: whether it may go on with other data.

    Returns:
        None where the data is the same. Where it isn't, and it may go on: for each row of the
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
        remap,
        f"{path} was trained with other data: {said}; a resumed run must go on as it began: {_ADVICE}, or type "
        f"--resume_data remap to go on with what is there",
    )
    say(f"data: goes on with other data than before: {said}")
    return torch.from_numpy(changes.places())


def restore(path: str, data: DataModule) -> Classifier:
    """The classifier of a run or checkpoint, to be evaluated on the data that is there; says where that is other data.

    Raises:
        InputError: there is no such checkpoint, or it was trained on other classes or images than the data has.
    """
    checkpoint = find_checkpoint(Path(path))
    module = Classifier.from_checkpoint(checkpoint)
    known, spec = module.spec, data.spec
    if known.class_names != spec.class_names:
        advice = f"type --data {known.name}, or give a run that was trained on {spec.name}"
        if known.name == spec.name:
            renamed = dict(zip(known.class_names, spec.class_names, strict=False))
            first = next((name for name, now in renamed.items() if name != now), known.class_names[-1])
            advice = (
                f"they must be called as they were, in that order, the first that isn't is {first!r}: rename them, or "
                f"type --data.root FOLDER for the data that it was trained with"
            )
        raise InputError(
            f"{checkpoint} knows the classes {listed(known.class_names)}, and {spec.name} has the classes "
            f"{listed(spec.class_names)}; {advice}"
        )
    if (known.channels, known.image_size) != (spec.channels, spec.image_size):
        raise InputError(
            f"{checkpoint} was trained on {_shape(known)} images, and {spec.name} has {_shape(spec)} ones; give a run "
            f"that was trained on such"
        )
    say(f"checkpoint: {checkpoint}, {module.backbone_name}")
    _check_evaluated(module, checkpoint, data)
    return module


def _shape(spec: DataSpec) -> str:
    return f"{spec.channels}x{spec.image_size}x{spec.image_size}"


def listed(names: tuple[str, ...], most: int = 12) -> str:
    """Names in a message, not too many of them."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _check_evaluated(module: Classifier, path: Path, data: DataModule) -> None:
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
