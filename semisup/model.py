"""A trained model for new pictures, from its checkpoint alone: `semisup.load(RUN).predict(PICTURES)`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from semisup.classifier import Classifier
from semisup.data.files import named
from semisup.data.preprocessing import Picture, find
from semisup.errors import InputError, require
from semisup.models.modes import evaluation_mode
from semisup.runs.directory import find_checkpoint, run_of
from semisup.runs.paths import local
from semisup.runs.run import Run
from semisup.runtime.console import say, watched

__all__ = ["Model", "Predictions", "load"]

BATCH = 256  # pictures at once


@dataclass(frozen=True)
class Predictions:
    """What a model says of pictures, in the order in which they were given.

    Attributes:
        names: (N,) their paths, or their numbers where they were in memory.
        probabilities: (N, classes) float32, on the CPU.
        class_names: in the order of the labels.
        unreadable: path -> reason, of files without a row because they can't be read.
    """

    names: list[str]
    probabilities: Tensor
    class_names: tuple[str, ...]
    unreadable: dict[str, str]

    def __len__(self) -> int:
        return len(self.names)

    @property
    def labels(self) -> Tensor:
        """(N,) int64, the most probable class of each picture."""
        return self.probabilities.argmax(1)

    @property
    def classes(self) -> list[str]:
        """(N,) the name of that class."""
        return [self.class_names[label] for label in self.labels.tolist()]

    @property
    def confidence(self) -> Tensor:
        """(N,) float32 in [0, 1], the probability of that class."""
        return self.probabilities.amax(1)


class Model:
    """A trained classifier, as it was scored, and the run that it is of.

    Args:
        classifier: restored from a checkpoint.
        device: to compute on.
        directory: of its run; None of a checkpoint that lies elsewhere.
    """

    def __init__(self, classifier: Classifier, device: torch.device, directory: Path | None = None) -> None:
        self.classifier, self.directory = classifier.eval().to(device), directory

    def __repr__(self) -> str:
        tested = self.scores.get("best/test_accuracy")
        score = "" if tested is None else f", {100 * tested:.1f} % right on test"
        return f"<Model of {self.directory or 'a checkpoint'}, {len(self.class_names)} classes{score}>"

    @property
    def scores(self) -> dict[str, float]:
        """What its run came to: `best/test_accuracy`, `last/val_nll` and the like; empty where it is not finished."""
        final = Run(self.directory).final if self.directory else {}
        return {name: score for name, score in final.items() if name.startswith(("best/", "last/"))}

    @property
    def class_names(self) -> tuple[str, ...]:
        """In the order of the labels."""
        return self.classifier.spec.class_names

    def predict(self, pictures: Picture | Iterable[Picture], batch_size: int = BATCH) -> Predictions:
        """The probability of every class, for pictures of any size and kind.

        They are made equal as the training images were, and read a batch at a time. Files that can't be read have no
        row, and are named.

        Args:
            pictures: one or any number of: paths of files, and of folders, of which all files at any depth are taken;
                pictures of Pillow, arrays and tensors as `Preprocessing.image` takes them. An array or a tensor of four
                axes, or of three of which none is of colours, is as many pictures as its first axis has.
            batch_size: pictures at once.

        Raises:
            InputError: a path is not there, or something given is no picture.
        """
        names, rows, unreadable = self._rows(pictures, batch_size, lambda x: self.classifier(x).float().softmax(1))
        for reason in dict.fromkeys(unreadable.values()):
            these = [name for name, its in unreadable.items() if its == reason]
            say(f"{len(these):,} files are {reason}, and are left out: {named(these)}")
        probabilities = torch.cat([torch.empty(0, len(self.class_names)), *rows])
        return Predictions(names, probabilities, self.class_names, unreadable)

    def features(self, pictures: Picture | Iterable[Picture], batch_size: int = BATCH) -> Tensor:
        """What the linear head is given of pictures, (N, F) float32 on the CPU; pictures are as in `predict`.

        Raises:
            InputError: as `predict`, or a file can't be read.
        """
        _, rows, unreadable = self._rows(pictures, batch_size, lambda x: self.classifier.features(x).float())
        require(not unreadable, f"can't be read: {named([f'{name} ({why})' for name, why in unreadable.items()])}")
        return torch.cat([torch.empty(0, self.classifier.network.head.in_features), *rows])

    def _rows(
        self, pictures: Picture | Iterable[Picture], batch_size: int, function: Callable[[Tensor], Tensor]
    ) -> tuple[list[str], list[Tensor], dict[str, str]]:
        """The names of the pictures that can be read, what a function makes of their batches, and names of the rest."""
        require(batch_size >= 1, f"batch_size is {batch_size}, but must be at least 1")
        names: list[str] = []
        rows: list[Tensor] = []
        unreadable: dict[str, str] = {}
        batches = self.classifier.preprocessing.batches(_given(pictures), batch_size)
        with evaluation_mode(self.classifier):
            for images, seen, reasons in watched(batches, "predicting"):
                if len(images):
                    rows.append(function(images.to(self.classifier.device).float() / 255).cpu())
                names += seen
                unreadable |= reasons
        return names, rows, unreadable


def load(run: str | os.PathLike[str], device: str | None = None) -> Model:
    """The model of a run, ready to predict.

    Args:
        run: a run directory, whose best checkpoint is taken (the last where nothing was validated), or a checkpoint.
        device: such as "cpu" or "cuda:1"; by default a GPU where there is one.

    Raises:
        InputError: there is no such checkpoint, it is damaged, or nothing can be computed on that device.
    """
    path = find_checkpoint(local(os.fspath(run)))
    there = _device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    return Model(Classifier.from_checkpoint(path), there, run_of(path))


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).cpu()
    except Exception as error:  # each backend fails in ways of its own where there is no such device
        why = (str(error) or type(error).__name__).partition("\n")[0]
        raise InputError(
            f"nothing can be computed on the device {name!r} ({why}); give cpu, or one there is"
        ) from error
    return device


def _given(pictures: Picture | Iterable[Picture]) -> Iterator[tuple[str, Picture]]:
    """Each picture with its name."""
    several = False
    if isinstance(pictures, np.ndarray | Tensor):
        colours = {3: pictures.shape[0 if isinstance(pictures, Tensor) else -1]}.get(pictures.ndim, 1)
        several = pictures.ndim == 4 or colours not in (1, 3, 4)
    if isinstance(pictures, str | os.PathLike | Image.Image | np.ndarray | Tensor) and not several:
        pictures = [pictures]
    require(isinstance(pictures, Iterable), f"pictures are to be given, or what holds some; found {pictures!r:.60}")
    for number, picture in enumerate(cast(Iterable[Picture], pictures)):
        if isinstance(picture, str | os.PathLike):
            yield from ((str(path), path) for path in find([picture]))
        else:
            yield str(number), picture
