"""Reads what runs logged to W&B from their directories, without W&B."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from semisup.compare.collect import is_finished, read_config
from semisup.dashboard.panels import FIGURES
from semisup.errors import InputError, require
from semisup.runs import run_files
from semisup.runs.reading import read_metrics
from semisup.runtime.console import say
from semisup.tracking import ID_FILE, group_of


@dataclass(frozen=True)
class Logged:
    """A finished run that W&B knows.

    Attributes:
        directory: absolute.
        project: W&B's.
        entity: W&B's user or team, None for the user's own.
        data: the dataset.
        group: W&B's, data and labels unless the run was given another.
        labels: labeled images in all.
        strategy: W&B's job type.
        seed: of every random draw.
        names: of its metrics and pictures, in order of appearance.
        final: its final metrics.
    """

    directory: Path
    project: str
    entity: str | None
    data: str
    group: str
    labels: int
    strategy: str
    seed: int
    names: tuple[str, ...]
    final: dict[str, float]


def read(directories: Iterable[Path]) -> list[Logged]:
    """The runs that can be shown, by group, strategy and seed; of the others it says why not.

    Raises:
        InputError: there is none.
    """
    found, left_out = [], []
    for directory in directories:
        try:
            found.append(_read(directory))
        except InputError as error:
            left_out.append(f"{os.path.relpath(directory)}: {error}")
    for line in left_out:
        say(f"left out {line}")
    require(bool(found), "there is no run to show; train one: semisup fit (without --tracking.mode disabled)")
    return sorted(found, key=lambda run: (run.group, run.strategy, run.seed, run.directory.name))


def only(values: Iterable[str], what: str, advice: str) -> str:
    """The one value that all runs share.

    Raises:
        InputError: there are several; the advice has a `{}` for one of them.
    """
    first, *others = sorted(set(values))
    require(not others, f"the runs are of several {what} ({', '.join([first, *others])}); {advice.format(first)}")
    return first


def _read(directory: Path) -> Logged:
    config = read_config(directory)
    require(run_files.is_there(directory / ID_FILE), "it was not logged to W&B")
    run_files.content(directory / ID_FILE)
    require(is_finished(directory), "it has not finished")
    rows = read_metrics(directory)
    require("labels" in rows[-1], "it was made by an older semisup, which did not log the number of labels")
    tracking, data = config["tracking"], str(config["data"]["name"])
    return Logged(
        directory=directory,
        project=str(tracking["project"]),
        entity=tracking["entity"],
        data=data,
        group=tracking.get("group") or group_of(data, f"{rows[-1]['labels']:.0f}"),
        labels=int(rows[-1]["labels"]),
        strategy=str(config["strategy"]),
        seed=int(config["seed"]),
        names=(*dict.fromkeys(name for row in rows for name in row), *_only_in_wandb(directory, rows[-1])),
        final=rows[-1],
    )


def _only_in_wandb(directory: Path, final: dict[str, float]) -> list[str]:
    """What W&B was given and `metrics.csv` does not hold: pictures, and the rate (semisup/cli/fit.py).

    W&B keeps pictures as `media/images/<name>_<step>_<hash>.png`.
    """
    files = sorted(directory.glob(f"wandb/*run-*/files/media/images/{FIGURES}*.png"))
    pictures = dict.fromkeys(FIGURES + file.name.rsplit("_", 2)[0] for file in files)
    return [*pictures, *(["images_per_second"] if {"images", "seconds"} <= final.keys() else [])]


def not_uploaded(run: Logged) -> list[Path]:
    """The folders of a run that W&B wrote offline and has not uploaded since."""
    folders = sorted(run.directory.glob("wandb/offline-run-*"))
    return [folder for folder in folders if not any(folder.glob("*.synced"))]
