"""What a run left to make figures of."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import torch
from matplotlib.figure import Figure
from torch import Tensor

from semisup import plugins
from semisup.classifier import Classifier
from semisup.data.datamodule import DataModule
from semisup.data.pool import Pool
from semisup.errors import InputError, require
from semisup.predict import predict
from semisup.randomness import permutation
from semisup.runs import checkpoint_file
from semisup.runs.directory import find_checkpoint
from semisup.runs.run import Run

_EMBEDDED = 1000  # images
Parts = Iterator[tuple[str, Figure]]  # what a figure's function yields: a part's name, empty for the only one, and it


class RunArtifacts:
    """A run, and what only torch can open of it: its checkpoint and its data, each when a figure first asks for it.

    Args:
        path: a run directory, or a checkpoint in one.
        open_data: opens the dataset that the run of a path was trained on.
        device: where to compute.

    Attributes:
        title: what it is called among other runs, by default its name.

    Raises:
        InputError: the path is not of a run; and by the attributes where the run has no such thing.
    """

    live = False  # whether it is still training
    _judged_on: ClassVar[dict[str, str]] = {"test": "test images", "val": "validation images"}

    def __init__(self, path: Path, open_data: Callable[[Path], DataModule], device: torch.device) -> None:
        self.path, self.run, self._open_data, self._device = path, Run.of(path), open_data, device
        self.title = self.run.name

    @property
    def name(self) -> str:
        """As `Run.name`."""
        return self.run.name

    @property
    def metrics(self) -> list[dict[str, float]]:
        """The rows of `metrics.csv`, of which there are some."""
        require(bool(self.run.metrics), "there is no metrics.csv, or nothing in it")
        return self.run.metrics

    @cached_property
    def checkpoint(self) -> Path:
        """The checkpoint that was named, else the best one."""
        return find_checkpoint(self.path)

    @cached_property
    def epochs(self) -> int:
        """Epochs of training before the checkpoint."""
        return int(Classifier.saved(self.checkpoint)["epochs"])

    @cached_property
    def module(self) -> Classifier:
        """The classifier of the checkpoint, on the device."""
        return Classifier.from_checkpoint(self.checkpoint, finite=False).to(self._device)

    @property
    def config(self) -> dict[str, Any]:
        """What the run was configured with, as `Run.config`."""
        return self.run.config

    @cached_property
    def strategies(self) -> list[str]:
        """The names of the strategies that it was trained with; none where nothing says so."""
        with suppress(InputError, KeyError):
            return plugins.split_names(str(self.config["strategy"]))
        return []

    def state(self, strategy: str) -> dict[str, Any]:
        """What a strategy, named by its class, wrote into the checkpoint."""
        states = checkpoint_file.read(self.checkpoint).get("callbacks", {})
        require(strategy in states, f"the run was not trained with {strategy}")
        state: dict[str, Any] = states[strategy]
        return state

    @cached_property
    def data(self) -> DataModule:
        """The dataset that the run was trained on."""
        return self._open_data(self.path)

    @cached_property
    def fitting(self) -> tuple[Classifier, DataModule]:
        """The classifier, and the data where it still has the classes and the size of images it was trained on."""
        module, data = self.module, self.data
        require(data.spec == module.spec, f"the run was trained on {module.spec}, and the data is {data.spec} now")
        return module, data

    @cached_property
    def predictions(self) -> tuple[Tensor, Tensor, str]:
        """Probabilities (N, classes), true classes (N,) and what they are of: test images, else validation images."""
        module, data = self.fitting
        for name, what in self._judged_on.items():
            pool: Pool | None = getattr(data.pools, name)
            if pool and pool.scorable:
                p, target = predicted(module, pool, data.eval_batch_size)
                require(bool(p.isfinite().all()), "the network has diverged: its predictions are not numbers")
                return p, target, what
        raise InputError("the data has neither test nor validation images with labels")


def predicted(module: Classifier, pool: Pool, batch_size: int) -> tuple[Tensor, Tensor]:
    """Class probabilities (N, classes) float32 and true classes (N,) int64 of a labeled pool, on the CPU."""
    return torch.cat([p.cpu() for _, p in predict(module, pool, batch_size)]), pool.labels


def labeled_images(data: DataModule, count: int = _EMBEDDED) -> tuple[Tensor, Tensor, str]:
    """Images (N, C, H, W) uint8 whose classes (N,) int64 are known, and what they are called.

    Validation images come first, since the network was not fitted to them; what is missing is taken from the labeled
    training images. Test images are never among them.

    Args:
        data: the dataset.
        count: how many images.
    """
    images, targets, parts = [], [], []
    for pool, name in ((data.pools.val, "validation"), (data.pools.labeled, "training")):
        if pool and pool.scorable and count > 0:
            rows = permutation(len(pool), data.seed, "figures", name)[:count]
            images.append(pool.gather(rows).contiguous())
            targets.append(pool.labels[rows])
            parts.append(f"{len(rows):,} {name}")
            count -= len(rows)
    return torch.cat(images), torch.cat(targets), f"{' and '.join(parts)} images"
