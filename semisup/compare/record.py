"""What a comparison found, as plain data: `comparison.json`, of which the tables are made and a page can be.

    comparison = Comparison.read(Path("runs/compare/digits/comparison.json"))

Accuracies, precisions and calibration errors are fractions in [0, 1] throughout. What isn't known is None, or isn't in
the mapping.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from semisup.errors import InputError
from semisup.runs import run_files
from semisup.runs.directory import write_atomically
from semisup.runs.rounds import Round
from semisup.runs.statistics import Difference, Efficiency

FORMAT = 1  # raised when an older reader would misread the file
FILE = "comparison.json"
BALANCE = ("balanced_accuracy", "geometric_mean", "many_shot", "medium_shot", "few_shot")
Checkpoint = Literal["best", "last"]  # the best by validation, or the last


@dataclass(frozen=True)
class RunRecord:
    """One finished training, as a comparison keeps it.

    Attributes:
        path: of its directory, relative to the folder that holds `comparison.json`.
        arm: the arm that it belongs to, `Arm.name`.
        strategy: as typed, such as `kmeans+pseudolabel`.
        seed: of every random draw, and so of the choice of labeled images.
        labels: labeled images in all; None where all there are were given and their number isn't known.
        all_labels: whether every label of the dataset was given.
        scores: `best/val_accuracy`, `best/test_accuracy` and the same of `last`, those that there are.
        epochs: checkpoint -> epochs of training that it has had.
        class_accuracy: `best/test`, `best/val` and `last/val` -> class -> accuracy.
        calibration: `best/val` and `last/val` -> expected calibration error (semisup/metrics.py).
        curves: one value for each epoch under each name, None where nothing was logged: `epoch` (epochs done), `step`
            (optimiser steps done), `val/accuracy`, `val/ece`, and every `train/...`, the mean of what was logged in the
            epoch. Six significant digits.
        rounds: of pseudo-labels, what was selected and how right it was; empty where the strategy logs none.
        steps: optimiser steps.
        images: training images seen, labeled and unlabeled, each counted once a step, whatever views of it were made.
        seconds: of training, validation included.
        command: that made it, from `semisup` on.
        environment: package versions, machine and commit, from `environment.txt`.
        options: the strategy's own options, as in `{"pseudolabel.threshold": 0.95}`, and those that the user allowed to
            differ.
        balance: `best/test`, `best/val` and the same of `last` -> `balanced_accuracy`, `geometric_mean`, `many_shot`,
            `medium_shot` and `few_shot` (semisup/metrics.py); empty where classes have about equally many labels.
    """

    path: str
    arm: str
    strategy: str
    seed: int
    labels: int | None
    all_labels: bool
    scores: dict[str, float]
    epochs: dict[str, int]
    class_accuracy: dict[str, dict[str, float]]
    calibration: dict[str, float]
    curves: dict[str, list[int | float | None]]
    rounds: list[Round]
    steps: int
    images: int | None
    seconds: float
    command: str
    environment: dict[str, str]
    options: dict[str, Any]
    balance: dict[str, dict[str, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Cell:
    """An arm with a number of labels, over seeds.

    Attributes:
        arm: its name.
        labels: as `RunRecord.labels`.
        checkpoint: `best` by validation, or `last`.
        seeds: of its runs.
        values: accuracy of each.
        mean: of the values.
        sd: standard deviation with n - 1; None of a single run.
        difference: to the reference; None of the reference itself, and where no seed is shared with it.
        efficiency: None of the reference itself, and where there is none.
    """

    arm: str
    labels: int | None
    checkpoint: Checkpoint
    seeds: list[int]
    values: list[float]
    mean: float
    sd: float | None
    difference: Difference | None
    efficiency: Efficiency | None


@dataclass(frozen=True)
class Arm:
    """A strategy with its own options.

    Attributes:
        name: the strategy, and where it was run with several sets of options, those that differ between them.
        strategy: as typed.
        options: its own, as `RunRecord.options`.
    """

    name: str
    strategy: str
    options: dict[str, Any]


@dataclass(frozen=True)
class OptionDifference:
    """An option in which a run differs from those that it can't be compared with."""

    option: str
    value: Any
    others: Any


@dataclass(frozen=True)
class LeftOut:
    """A run that takes no part in the statistics.

    Attributes:
        path: as `RunRecord.path`.
        reason: in words.
        differences: the options that made it not comparable, if that is why.
    """

    path: str
    reason: str
    differences: list[OptionDifference] = field(default_factory=list)


@dataclass(frozen=True)
class Failure:
    """A run of the grid that failed.

    Attributes:
        name: strategy, labels and seed.
        exit_code: of its process; negative for a signal.
        last_line: that it said.
        log: all that it said, relative as `RunRecord.path`.
        command: that started it.
    """

    name: str
    exit_code: int
    last_line: str
    log: str
    command: str


@dataclass(frozen=True)
class Network:
    """The network that all arms train.

    Attributes:
        backbone: its name.
        parameters: numbers in it that are trained.
        channels: of an image.
        image_size: height and width in pixels.
        forward_flops: floating-point operations of one image's forward pass, a multiplication and an addition each
            counted; convolutions and matrix products alone. A training step costs about three times that a view.
    """

    backbone: str
    parameters: int
    channels: int
    image_size: int
    forward_flops: int


@dataclass(frozen=True)
class Comparison:
    """Everything.

    Attributes:
        created: date and time, with the zone.
        command: that made it.
        data: the dataset's name.
        class_names: in the order of the labels.
        score: what is compared, `test_accuracy`, or `val_accuracy` where a run has no test images to be scored on.
        reference: name of the supervised arm that the others are compared with; None where there is none.
        arms: the reference first.
        labels: the numbers of labels, rising; last and None for all of them, where their number isn't known.
        runs: those that the statistics are of.
        cells: the statistics, by arm, labels and checkpoint, where there are runs.
        options: what all runs have in common, as in `{"trainer.max_epochs": 30}`.
        network: None where no checkpoint could be read.
        left_out: runs that were found and not used, and why.
        failures: of the grid.
        notes: what a reader must know besides, one sentence each.
        format: of this file.
    """

    created: str
    command: str
    data: str
    class_names: list[str]
    score: Literal["test_accuracy", "val_accuracy"]
    reference: str | None
    arms: list[Arm]
    labels: list[int | None]
    runs: list[RunRecord]
    cells: list[Cell]
    options: dict[str, Any]
    network: Network | None
    left_out: list[LeftOut]
    failures: list[Failure]
    notes: list[str]
    format: int = FORMAT
    __pydantic_config__ = {"extra": "forbid", "allow_inf_nan": False}  # noqa: RUF012 - pydantic's own name and form

    def cell(self, arm: str, labels: int | None, checkpoint: Checkpoint) -> Cell | None:
        """The cell of an arm, a number of labels and a checkpoint, if there are runs of it."""
        wanted = (arm, labels, checkpoint)
        return next((cell for cell in self.cells if (cell.arm, cell.labels, cell.checkpoint) == wanted), None)

    def write(self, folder: Path) -> Path:
        """Writes `comparison.json` into a folder and returns its path."""
        path = folder / FILE
        write_atomically(path, json.dumps(asdict(self), indent=1, ensure_ascii=False, allow_nan=False) + "\n")
        return path

    @classmethod
    def read(cls, path: Path) -> Comparison:
        """Reads a `comparison.json`.

        Raises:
            InputError: it isn't one, or is of another version of semisup.
        """
        from pydantic import TypeAdapter, ValidationError

        try:
            tree = json.loads(run_files.content(path))
            text = json.dumps(tree, ensure_ascii=False, allow_nan=False).encode()  # all of it could be written again
            version = tree.get("format") if isinstance(tree, dict) else None
            if version == FORMAT:
                return TypeAdapter(cls).validate_json(text, strict=True)
            message = f"{path} has format {version}, and this semisup reads {FORMAT}; type semisup compare again"
        except (OSError, ValueError, RecursionError) as error:
            first = error.errors()[0] if isinstance(error, ValidationError) else None
            reason = f"{'.'.join(map(str, first['loc']))}: {first['msg']}" if first else error
            message = f"{path} can't be read as a comparison ({reason}); make it with semisup compare"
        raise InputError(message)
