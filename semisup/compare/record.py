"""What a comparison found, as plain data: `comparison.json`, of which the tables are made and a page can be.

    comparison = Comparison.read(Path("runs/compare/digits/comparison.json"))

Accuracies, precisions and calibration errors are fractions in [0, 1] throughout. What isn't known is None, or isn't in
the mapping. Standard library only.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from semisup.errors import InputError
from semisup.runs import run_files
from semisup.runs.directory import write_atomically

FORMAT = 1  # raised when an older reader would misread the file
FILE = "comparison.json"
Checkpoint = Literal["best", "last"]  # the best by validation, or the last


@dataclass(frozen=True)
class Round:
    """One round of pseudo-labels, as a run logged it.

    Attributes:
        epoch: epochs done by then.
        images: class -> unlabeled images that were given this label.
        precision: share of all these labels that is right; None where the hidden labels are unknown or none was given.
        class_precision: class -> share of its labels that is right, where known.
        confidence: share of the unlabeled pool in each bin of confidence, bins of equal width from 0 to 1.
    """

    epoch: int
    images: dict[str, int]
    precision: float | None
    class_precision: dict[str, float]
    confidence: list[float]


@dataclass(frozen=True)
class Run:
    """One finished training.

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
    curves: dict[str, list[float | None]]
    rounds: list[Round]
    steps: int
    images: int | None
    seconds: float
    command: str
    environment: dict[str, str]
    options: dict[str, Any]


@dataclass(frozen=True)
class Interval:
    """A 95 % confidence interval, or why there is none.

    Attributes:
        low: its lower end, or None.
        high: its upper end, or None.
        reason: empty where there is an interval.
    """

    low: float | None
    high: float | None
    reason: str = ""


@dataclass(frozen=True)
class Difference:
    """An arm minus the reference with the same labels, seed by seed.

    Attributes:
        seeds: that both have.
        values: of each of these seeds.
        mean: of the values.
        t: paired t interval of the mean.
        bootstrap: of the mean, over seeds.
    """

    seeds: list[int]
    values: list[float]
    mean: float
    t: Interval
    bootstrap: Interval


@dataclass(frozen=True)
class Efficiency:
    """How many labels the reference would need for an arm's mean accuracy.

    Attributes:
        relation: `=`, or `>` and `<` where the accuracy lies outside what the reference was measured at: it would need
            more labels than the most, or fewer than the least, that it was given.
        labels: of the reference; None where nothing can be said.
        factor: those labels over the arm's own.
        reason: why nothing can be said, else empty.
    """

    relation: Literal["=", ">", "<", ""]
    labels: float | None
    factor: float | None
    reason: str = ""


@dataclass(frozen=True)
class Cell:
    """An arm with a number of labels, over seeds.

    Attributes:
        arm: its name.
        labels: as `Run.labels`.
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
        options: its own, as `Run.options`.
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
        path: as `Run.path`.
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
        log: all that it said, relative as `Run.path`.
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
    runs: list[Run]
    cells: list[Cell]
    options: dict[str, Any]
    network: Network | None
    left_out: list[LeftOut]
    failures: list[Failure]
    notes: list[str]
    format: int = FORMAT

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
        try:
            tree = _tree(path)
            found = tree.get("format") if isinstance(tree, dict) else None
            if found == FORMAT:
                return _built(cls, tree)
        except (OSError, ValueError, TypeError, RecursionError) as error:
            raise InputError(f"{path} can't be read as a comparison ({error}); make it with semisup compare") from error
        raise InputError(f"{path} has format {found}, and this semisup reads {FORMAT}; type semisup compare again")


_hints = cache(get_type_hints)


def _built(hint: Any, value: Any) -> Any:
    """A value read from JSON as its type hint says: dataclasses anywhere in lists, mappings and unions with None.

    Raises:
        TypeError: it is of another kind.
    """
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any:
        return value
    if isinstance(hint, UnionType):
        return None if value is None else _built(arguments[0], value)
    if origin is Literal:
        expected = value in arguments
    else:
        kinds = {float: (float, int), list: (list,), dict: (dict,)}.get(origin or hint, (hint,))
        expected = type(value) in ((dict,) if is_dataclass(hint) else kinds)
    if not expected:
        raise TypeError(f"{value!r:.60} is no {getattr(hint, '__name__', hint)}")
    if is_dataclass(hint) and isinstance(hint, type):
        hints = _hints(hint)
        if value.keys() - {f.name for f in fields(hint)}:
            raise TypeError(f"{value!r:.60} is no {hint.__name__}")
        return hint(**{name: _built(hints[name], inner) for name, inner in value.items()})
    if origin is list:
        return [_built(arguments[0], inner) for inner in value]
    if origin is dict:
        return {name: _built(arguments[1], inner) for name, inner in value.items()}
    return value


def _tree(path: Path) -> Any:
    """What a JSON file holds, if all of it could be written again.

    Raises:
        OSError: it can't be read.
        ValueError: it isn't JSON, or holds a number that is not finite, or text that is not Unicode.
        RecursionError: it is nested too deeply.
    """
    tree = json.loads(run_files.content(path))
    json.dumps(tree, ensure_ascii=False, allow_nan=False).encode()
    return tree
