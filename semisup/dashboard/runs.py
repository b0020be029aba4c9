"""What of a run W&B knows, without W&B."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from semisup.errors import InputError, require
from semisup.presentation import PICTURES
from semisup.runs import run_files
from semisup.runs.run import Run
from semisup.runtime.console import say
from semisup.tracking import ID_FILE, group_of


class Logged:
    """A finished run that W&B knows.

    Args:
        run: the run.

    Attributes:
        project: W&B's.
        entity: W&B's user or team, None for the user's own.
        labels: labeled images in all.
        group: W&B's, data and labels unless the run was given another.
        names: of its metrics and pictures, in order of appearance.

    Raises:
        InputError: it is none.
    """

    def __init__(self, run: Run) -> None:
        tracking, there = run.config.get("tracking", {}), run_files.is_there(run.directory / ID_FILE)
        require(there and "project" in tracking, "it was not logged to W&B")
        run_files.content(run.directory / ID_FILE)
        require(run.finished, "it has not finished")
        require("labels" in run.final, "it was made by an older semisup, which did not log the number of labels")
        self.run, self.project, self.entity = run, str(tracking["project"]), tracking.get("entity")
        self.labels = int(run.final["labels"])
        self.group = tracking.get("group") or group_of(run.data, str(self.labels))
        logged = dict.fromkeys(name for row in run.metrics for name in row)
        self.names = (*logged, *_only_in_wandb(run))

    @property
    def not_uploaded(self) -> list[Path]:
        """The folders that W&B wrote offline and has not uploaded since."""
        folders = sorted(self.run.directory.glob("wandb/offline-run-*"))
        return [folder for folder in folders if not any(folder.glob("*.synced"))]


def read(directories: Iterable[Path]) -> list[Logged]:
    """The runs that can be shown, by group, strategy and seed, the oldest first; of the others it says why not.

    Raises:
        InputError: there is none.
    """
    logged, left_out = [], []
    for directory in directories:
        try:
            logged.append(Logged(Run(directory)))
        except InputError as error:
            left_out.append(f"{os.path.relpath(directory)}: {error}")
    for line in left_out:
        say(f"left out {line}")
    require(bool(logged), "there is no run to show; train one: semisup fit (without --tracking.mode disabled)")
    return sorted(logged, key=lambda one: (one.group, one.run.strategy, one.run.seed, one.run.made))


def only(values: Iterable[str], what: str, advice: str) -> str:
    """The one value that all runs share.

    Raises:
        InputError: there are several; the advice has a `{}` for one of them.
    """
    first, *others = sorted(set(values))
    require(not others, f"the runs are of several {what} ({', '.join([first, *others])}); {advice.format(first)}")
    return first


def _only_in_wandb(run: Run) -> list[str]:
    """What W&B was given and `metrics.csv` does not hold: pictures, and the rate (semisup/cli/summary.py).

    W&B keeps pictures as `media/images/<name>_<step>_<hash>.png`.
    """
    files = sorted(run.directory.glob(f"wandb/*run-*/files/media/images/{PICTURES}*.png"))
    pictures = dict.fromkeys(PICTURES + file.name.rsplit("_", 2)[0] for file in files)
    return [*pictures, *(["images_per_second"] if {"images", "seconds"} <= run.final.keys() else [])]
