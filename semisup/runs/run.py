"""A run, read back: what it was told, what it logged, what it came to, and how it ended.

    run = Run(Path("runs/digits/fixmatch/20260101-120000-s0"))
    run.state, run.seed, run.scores["best/test_accuracy"], run.options["data.labels_per_class"]

A file is opened when something of it is first asked for, and then kept. Whatever reads runs reads them here: figures,
reports, comparisons, dashboards, `--resume` and experiments. Nothing imports torch. Sentences of errors begin with
"it", the run, unless they name a file.
"""

from __future__ import annotations

import hashlib
import json
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Literal

from semisup.errors import InputError, require
from semisup.runs import run_files, safe_yaml
from semisup.runs.directory import Which, run_of
from semisup.runs.environment import ENVIRONMENT_FILE, environments, fit_command
from semisup.runs.lock import LOCK, Lock
from semisup.runs.options import IDENTIFYING, identity
from semisup.runs.reading import METRICS_FILE, metric_rows, read_confusion, read_metrics, read_table
from semisup.runs.rounds import Round, rounds

CONFIG_FILE = "config.yaml"
State = Literal["running", "finished", "failed", "killed"]
Split = Literal["val", "test"]
_ACCURACY = "val/accuracy"
_SCORES = ("last/val_accuracy", "last/test_accuracy", "best/val_accuracy", "best/test_accuracy")


def config_of(directory: Path) -> dict[str, Any] | None:
    """The options of a run, nested; None where it was killed before it wrote its config.yaml.

    Raises:
        InputError: the file is damaged.
    """
    return Run(directory).config if run_files.is_there(directory / CONFIG_FILE) else None


class Run:
    """A run directory, to be read.

    Args:
        directory: of the run. Nothing is opened yet.

    Raises:
        InputError: by the attributes, where the file that they are read from is missing or damaged.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = Path(directory)

    @classmethod
    def of(cls, path: Path) -> Run:
        """The run that a path leads to or into.

        Raises:
            InputError: it is of no run.
        """
        directory = run_of(path)
        if directory is None:
            raise InputError(f"{path} is neither a run directory nor a file in one; type the path of a run")
        return cls(directory)

    @property
    def name(self) -> str:
        """The strategy and the directory's own name, which holds time and seed."""
        return f"{self.directory.parent.name}/{self.directory.name}"

    @property
    def made(self) -> tuple[str, int, str]:
        """What runs are sorted by, the oldest first: the time in the name; within a second the later name is longer."""
        name = self.directory.name
        return name[:15], len(name), name

    # ---- what it was told

    @cached_property
    def config(self) -> dict[str, Any]:
        """Its options, nested, by its `config.yaml`; not to be changed."""
        path = self.directory / CONFIG_FILE
        require(run_files.is_there(path), "it has no config.yaml, so nobody knows how it was trained")
        return _config(path, run_files.state_of(path))

    @cached_property
    def options(self) -> dict[str, Any]:
        """Those that determine what it learns, flat (`semisup.runs.options.identity`); not to be changed."""
        options, path = identity(self.config), self.directory / CONFIG_FILE
        missing = [name for name in IDENTIFYING if name not in options]
        require(not missing, f"{path} doesn't say {', '.join(missing)}; give a run of semisup fit")
        try:
            json.dumps(self.config, allow_nan=False, default=str)
        except ValueError as error:
            raise InputError("its config.yaml holds a number that is not finite, which no option takes") from error
        return options

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
    def labels_per_class(self) -> int | None:
        """Labels of each class, None for all there are."""
        count: int | None = self.options.get("data.labels_per_class")
        return count

    # ---- what it logged

    @cached_property
    def metrics(self) -> list[dict[str, float]]:
        """The rows of `metrics.csv`; none where nothing was logged."""
        return read_metrics(self.directory)

    @cached_property
    def columns(self) -> list[str]:
        """The names of its metrics, in order of appearance."""
        return metric_rows(self.directory / METRICS_FILE)[0]

    @property
    def history(self) -> list[dict[str, float]]:
        """The rows that its epochs logged."""
        return [row for row in self.metrics[: -1 if self.finished else None] if "epoch" in row]

    def validation(self, which: Which) -> dict[str, float] | None:
        """The row of the last validation, or of the first one with the highest accuracy; None where there was none."""
        rows = [row for row in self.history if _ACCURACY in row]
        if not rows:
            return None
        return rows[-1] if which == "last" else max(rows, key=lambda row: row[_ACCURACY])

    @property
    def best_epoch(self) -> int | None:
        """The epoch, counted from 1, after which validation accuracy was the highest for the first time."""
        row = self.validation("best")
        return int(row["epoch"]) + 1 if row else None

    def last(self, name: str) -> float | None:
        """The last value that was logged of a metric; None where there is none."""
        return next((row[name] for row in reversed(self.metrics) if name in row), None)

    @property
    def rounds(self) -> list[Round]:
        """The rounds of pseudo-labels."""
        return rounds(self.history)

    @property
    def epochs(self) -> int | None:
        """Epochs of training begun; None where none was logged."""
        return int(self.history[-1]["epoch"]) + 1 if self.history else None

    @property
    def steps(self) -> int:
        """Optimiser steps done, as far as they were logged."""
        if not self.metrics:
            return 0
        return int(self.metrics[-1]["step"]) + (not self.finished)  # the last row's step is the number done at the end

    # ---- what it came to

    @property
    def final(self) -> dict[str, float]:
        """What was logged when it was scored, after the training; empty where it is not finished."""
        return self.metrics[-1] if self.metrics and "seconds" in self.metrics[-1] else {}

    @property
    def finished(self) -> bool:
        """Whether the training came to its end and was scored."""
        return bool(self.final)

    @property
    def state(self) -> State:
        """How it stands.

        A process trains it (running); it came to its end and was scored (finished); its process has gone without a word
        (killed), or gave it up before the end, by an error or because it was asked to (failed).
        """
        lock = Lock(self.directory / LOCK)
        if lock.holder():
            return "running"
        return "finished" if self.finished else "killed" if lock.record() else "failed"

    @property
    def scores(self) -> dict[str, float]:
        """`best/val_accuracy`, `best/test_accuracy` and the same of `last`, those that there are, in [0, 1]."""
        return {name: self.final[name] for name in _SCORES if name in self.final}

    def accuracy(self, which: Which, split: Split) -> float | None:
        """Accuracy in percent of the best or last checkpoint; None where it was not scored."""
        score = self.final.get(f"{which}/{split}_accuracy")
        return None if score is None else 100 * score

    @property
    def seconds(self) -> float | None:
        """Seconds of training, validation included; None of a run that is not finished."""
        return self.final.get("seconds")

    @cached_property
    def confusion(self) -> dict[str, list[int]]:
        """True class -> how many of its test images were predicted as each class; empty where none were."""
        return read_confusion(self.directory / "confusion.csv")

    @property
    def class_names(self) -> list[str]:
        """In the order of the labels, as far as its files tell."""
        prefix = f"{_ACCURACY}/"
        return [*self.confusion] or [name.removeprefix(prefix) for name in self.columns if name.startswith(prefix)]

    @cached_property
    def test_images(self) -> str:
        """How many test images were predicted, and a fingerprint of which, in which order."""
        _, *lines = read_table(self.directory / "predictions.csv") or [[]]
        ids = chr(10).join(name for name, *_ in lines).encode()
        return f"{len(lines):,} ({hashlib.sha256(ids).hexdigest()[:8]})" if lines else "none"

    # ---- where it was made

    @cached_property
    def environment(self) -> list[dict[str, str]]:
        """Fact -> value, for each process that trained it, more than one where it was resumed.

        Command lines are those from `semisup` on.
        """
        path = self.directory / ENVIRONMENT_FILE
        try:
            blocks = environments(run_files.content(path).decode() if run_files.is_there(path) else "")
        except UnicodeDecodeError as error:
            raise InputError(f"its {path.name} can't be read ({error})") from error
        return [{name: fit_command(fact) if name == "command" else fact for name, fact in b.items()} for b in blocks]

    @property
    def began(self) -> dict[str, str]:
        """The facts of its first process; empty where none are known."""
        return self.environment[0] if self.environment else {}

    @property
    def data_digest(self) -> str:
        """The digest of its data (`Fingerprint.digest`); empty where it has none, as runs of before."""
        return self.began.get("data", "")


@lru_cache(maxsize=4096)  # a grid looks at every run for each of its jobs
def _config(path: Path, state: tuple[int, int, int]) -> dict[str, Any]:
    return safe_yaml.read_run(path)
