"""What a run left, as a report needs it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from semisup.errors import InputError, require
from semisup.escape import shell
from semisup.figures.artifacts import RunArtifacts
from semisup.runs import run_files
from semisup.runs.directory import Which
from semisup.runs.environment import environments
from semisup.runs.options import flat
from semisup.runs.redaction import redacted

Split = Literal["val", "test"]


@dataclass(frozen=True)
class Run:
    """A run: its options, its metrics and its environment.

    Attributes:
        material: what figures are made of.
        options: dotted option -> value, as `config.yaml` has them, secrets replaced by `***`.
        metrics: the rows of `metrics.csv`.
        environment: fact -> value, for every process that trained: more than one where the run was resumed.
    """

    material: RunArtifacts
    options: dict[str, Any]
    metrics: list[dict[str, float]]
    environment: list[dict[str, str]]

    @property
    def name(self) -> str:
        """The strategy and the directory's own name."""
        return self.material.name

    @property
    def strategy(self) -> str:
        """The strategy or composition, as it was named."""
        return str(self.options["strategy"])

    @property
    def data(self) -> str:
        """The dataset's name."""
        return str(self.options["data.name"])

    @property
    def seed(self) -> int:
        """What chose the labeled images, the initial weights and every draw."""
        return int(self.options["seed"])

    @property
    def finished(self) -> bool:
        """Whether the training came to its end and was scored."""
        return self.last("seconds") is not None

    @property
    def steps(self) -> int:
        """Optimiser steps done, as far as they were logged."""
        return int(self.metrics[-1]["step"]) + (not self.finished)  # the last row's step is the number done at the end

    @property
    def seconds(self) -> float | None:
        """Seconds of training, validation included; None of a run that is not finished."""
        return self.last("seconds")

    @property
    def epochs(self) -> int | None:
        """Epochs of training begun; None where none was logged."""
        epoch = self.last("epoch")
        return None if epoch is None else int(epoch) + 1

    @property
    def best_epoch(self) -> int | None:
        """The epoch, counted from 1, after which validation accuracy was the highest for the first time."""
        scored = [row for row in self.metrics if {"val/accuracy", "epoch"} <= row.keys()]
        return int(max(scored, key=lambda row: row["val/accuracy"])["epoch"]) + 1 if scored else None

    def accuracy(self, which: Which, split: Split) -> float | None:
        """Accuracy in percent of the best or last checkpoint; None where it was not scored."""
        found = self.last(f"{which}/{split}_accuracy")
        return None if found is None else 100 * found

    def last(self, name: str) -> float | None:
        """The last value that was logged of a metric; None where there is none."""
        return next((row[name] for row in reversed(self.metrics) if name in row), None)


def read(material: RunArtifacts) -> Run:
    """Reads a run.

    Raises:
        InputError: it has no configuration or no metrics.
    """
    run = material.run
    try:
        tree, metrics = material.options, material.metrics
    except InputError as error:
        raise InputError(
            f"{run} can't be reported: {error}; leave it out, or let it train: semisup fit --resume {shell(run)}"
        ) from error
    options = {name: _shown(name, x) for name, x in flat(tree).items()}
    missing = [name for name in ("strategy", "seed", "data.name") if name not in options]
    require(not missing, f"{run / 'config.yaml'} doesn't say {', '.join(missing)}; give a run of semisup fit")
    path = run / "environment.txt"
    try:
        facts = run_files.content(path).decode() if run_files.is_there(path) else ""
    except UnicodeDecodeError as error:
        raise InputError(f"{path} can't be read ({error}); remove it") from error
    return Run(material, options, metrics, environments(facts))


def _shown(name: str, value: Any) -> Any:
    """The value of an option, with `***` in place of secrets."""
    if isinstance(value, list):
        return [_shown(name, inner) for inner in value]
    if isinstance(value, dict):
        return {key: _shown(f"{name}.{key}", inner) for key, inner in value.items()}
    (word,) = redacted([f"{name}={value}"])
    return value if word == f"{name}={value}" else word.removeprefix(f"{name}=")
