"""The runs of a grid of strategies, numbers of labels and seeds: what each is, its command, and whether it was made.

A run is recognised by its `config.yaml`: whoever asks for the same options finds it again, finished or not, and whoever
asks for others makes another one beside it. Where the data lies is no such option, as long as it is the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from semisup import plugins
from semisup.errors import InputError, require
from semisup.escape import path_word
from semisup.plugins import split_names
from semisup.runs.directory import find_runs
from semisup.runs.options import ROOT, identity, settled
from semisup.runs.run import Run

_OURS = {  # options of fit that the grid decides -> what to type instead
    "strategy": "--strategies NAME,NAME",
    "seed": "--seeds N, which runs the seeds 0 to N - 1",
    "trainer.default_root_dir": "--out DIR",
    "resume": "the same command again: it goes on where it stopped",
    "resume_data": "semisup fit --resume RUN --resume_data remap, for a run of the grid",
    "print_config": "--dry_run",
}


@dataclass(frozen=True)
class Job:
    """One run of the grid.

    Attributes:
        strategy: as typed.
        labels: in all, or None for as many as the data has.
        seed: of every random draw.
        arguments: of `semisup fit`, without the folder to write to.
        wanted: what its `config.yaml` will say that determines what it learns.
        classes: the options that name classes, as `named_classes` gives them.
        digest: of the data as it lies there now; asked where a run was made of data that lay elsewhere.
    """

    strategy: str
    labels: int | None
    seed: int
    arguments: list[str]
    wanted: dict[str, Any]
    classes: dict[str, Any] = field(default_factory=dict)
    digest: Callable[[], str] = field(default=str, compare=False)

    @property
    def arm(self) -> str:
        """Strategy and labels."""
        return f"{self.strategy}, {'all' if self.labels is None else f'{self.labels:,}'} labels"

    @property
    def name(self) -> str:
        """Strategy, labels and seed."""
        return f"{self.arm}, seed {self.seed}"

    @property
    def slug(self) -> str:
        """The name as a file's."""
        return f"{self.strategy}-{'all' if self.labels is None else self.labels}-s{self.seed}"


def fit_command(job: Job, root: Path, unfinished: Path | None = None) -> list[str]:
    """The arguments that start a run, or make an unfinished one go on: `fit` and what follows.

    Args:
        job: the run.
        root: its `runs` folder.
        unfinished: the directory of a run to go on with, which knows its own options. It may import the classes that
            it names where these are the ones that were typed for the job.
    """
    if unfinished:
        classes = named_classes(Run(unfinished).config) if job.classes else {}
        trust = ["--trust"] if job.classes and classes == job.classes else []
        here = job.wanted.get(ROOT)
        elsewhere = here is not None and here != Run(unfinished).options.get(ROOT)
        moved = [f"--{ROOT}", path_word(Path(str(here)))] if elsewhere else []
        return ["fit", "--resume", path_word(unfinished), *moved, *trust]
    return ["fit", *job.arguments, "--trainer.default_root_dir", path_word(root)]


def numbers(text: str, option: str) -> list[int]:
    """`"40,250,1000"` -> [40, 250, 1000], each once, in rising order.

    Raises:
        InputError: something in it is no whole number above 0.
    """
    parts = [part.strip().replace("_", "") for part in text.split(",") if part.strip()]
    wrong = [part for part in parts if not part.isdecimal() or int(part) < 1]
    require(bool(parts) and not wrong, f"{option} is {text!r}, but must be whole numbers such as 40,250,1000")
    return sorted({int(part) for part in parts})


def strategies(text: str) -> list[str]:
    """`"supervised,kmeans+pseudolabel"` -> its parts, each of which is there.

    Raises:
        InputError: one is not, or stands twice.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    twice = {name for name in names if names.count(name) > 1}
    require(bool(names) and not twice, f"--strategies is {text!r}, but must be distinct names (semisup list)")
    for name in names:
        for part in split_names(name):
            plugins.find(plugins.STRATEGIES, part)
    return names


def labels_per_class(labels: int, class_names: Sequence[str], data: str) -> int:
    """Labels of each class, of a number of labels in all.

    Raises:
        InputError: they can't be divided evenly.
    """
    classes = len(class_names)
    each, rest = divmod(labels, classes)
    near = [count for count in (each * classes, (each + 1) * classes) if count]
    require(
        rest == 0,
        f"--labels {labels} can't be divided evenly over the {classes} classes of {data}; type "
        f"{' or '.join(map(str, near))}",
    )
    return each


def arguments_of(strategy: str, options: Sequence[str], asked: Iterable[str]) -> list[str]:
    """The options of `semisup fit` that concern an arm: all but those of other strategies in the grid.

    Args:
        strategy: of the arm.
        options: behind those of the grid, as typed.
        asked: every strategy of the grid.

    Raises:
        InputError: an option is the grid's own to decide.
    """
    others = {part for name in asked for part in split_names(name)} - set(split_names(strategy))
    kept, keep = [], True
    for argument in options:
        if argument.startswith("--"):
            option = argument.removeprefix("--").partition("=")[0]
            if option in _OURS:
                raise InputError(f"--{option} is what a comparison decides itself; type {_OURS[option]}")
            keep = option.partition(".")[0] not in others
        if keep:
            kept.append(argument)
    return kept


def wanted(config: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """What the `config.yaml` of a run with this seed will say that determines what it learns."""
    return identity({**config, "seed": seed})


def named_classes(config: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a run that name classes to import, as `{"trainer.callbacks": [...]}`."""
    options = {
        f"{group}.{name}": x for group, own in config.items() if isinstance(own, dict) for name, x in own.items()
    }
    return {name: value for name, value in options.items() if "class_path" in f"{name} {value}"}


def find(job: Job, root: Path) -> tuple[Path | None, bool]:
    """The run of a job in a `runs` folder, and whether it is finished; None where it never began.

    Of several the newest, and a finished one first.
    """
    unfinished = None
    for run in sorted(map(Run, _runs(root)), key=lambda run: run.made, reverse=True):
        try:
            same = run.options == settled(job.wanted, run.options) or _was_moved(run, job)
        except InputError:
            continue
        if same and run.finished:
            return run.directory, True
        if same:
            unfinished = unfinished or run.directory
    return unfinished, False


def _was_moved(run: Run, job: Job) -> bool:
    """Whether a run differs from a job in nothing but where the same images lay."""
    here, there = job.wanted.get(ROOT), run.options.get(ROOT)
    if not here or not there or {**run.options, ROOT: here} != settled(job.wanted, run.options):
        return False
    return bool(run.data_digest) and run.data_digest == job.digest()


def _runs(root: Path) -> Iterable[Path]:
    try:
        return find_runs([root])
    except InputError:  # nothing is there yet
        return ()
