"""Faults of a disk: full, read-only, or it forgets what was written."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
from pathlib import Path
from typing import Any

from semisup.training import checkpoints

from .outcome import Outcome, ended_well
from .runs import disk, fit, mount, run_under, same_end, step_of


def full_disk(folder: Path, whole: Path) -> Outcome:
    """The runs lie on a disk of 1.9 MB, too small for the second epoch's checkpoints; later it is larger."""
    with disk(folder / "runs", 1900) as runs:
        ended = fit(runs / "runs")
        met = ended.told(2, "No space left on device", "--resume") | {"saved": step_of(runs) == 3}
        mount("-o", "remount,size=20m", str(runs))
        return ended_well(ended, "No space", runs / "runs", met, whole)


def file_size_limit(folder: Path, whole: Path) -> Outcome:
    """From step 4 on no file may grow beyond 300 kB, as by `ulimit -f`."""

    def limit(*_: Any) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))

    ended = fit(folder / "runs", act=limit)
    met = ended.told(2, "File too large", "--resume") | {"saved": step_of(folder) == 3}
    return ended_well(ended, "File too large", folder / "runs", met, whole)


def full_disk_for_metrics(folder: Path, whole: Path) -> Outcome:
    """Before step 4 metrics.csv becomes a link to /dev/full; later it is what it was."""

    def fill(*_: Any) -> None:
        path = run_under(folder) / "metrics.csv"
        path.rename(path.with_name("kept"))
        path.symlink_to("/dev/full")

    ended = fit(folder / "runs", act=fill)
    met = ended.told(2, "metrics.csv can't be written (No space left on device)", "--resume")
    run = run_under(folder)
    (run / "kept").rename(run / "metrics.csv")
    return ended_well(ended, "No space", folder / "runs", met, whole)


def read_only_disk(folder: Path, whole: Path) -> Outcome:
    """The runs lie on a disk that is mounted read-only."""
    with disk(folder / "disk", 1000) as place:
        mount("-o", "remount,ro", str(place))
        ended = fit(folder / "log", "--trainer.default_root_dir", str(place / "runs"))
        return ended_well(ended, "Read-only", place, ended.told(2, "Read-only file system"))


def run_becomes_read_only(folder: Path, whole: Path) -> Outcome:
    """The disk of the run becomes read-only before step 4; later it can be written to again."""
    with disk(folder / "disk", 20_000) as place:

        def protect(*_: Any) -> None:  # a view over it: the disk itself has a file, the lock, that is open for writing
            mount("--bind", str(place), str(place))
            mount("-o", "remount,bind,ro", str(place))

        ended = fit(folder / "log", "--trainer.default_root_dir", str(place / "runs"), act=protect)
        met = ended.told(2, "Read-only file system", "--resume") | {"saved": step_of(place) == 3}
        subprocess.run(["umount", str(place)], check=True)
        return ended_well(ended, "Read-only", place / "runs", met, whole)


def no_folder_for_runs(folder: Path, whole: Path) -> Outcome:
    """A file has the name of the folder for runs."""
    (folder / "runs").touch()
    ended = fit(folder / "runs")
    return ended_well(ended, "Not a dir", folder, ended.told(2, "runs/digits/supervised can't be written (Not a dir"))


def checkpoint_cut_short(folder: Path, whole: Path) -> Outcome:
    """A run that saves after every step is killed before step 5, and the second half of last.ckpt is lost."""
    before, checkpoints.SECONDS = checkpoints.SECONDS, 0.0  # as the fork will have it
    killed = fit(folder / "runs", act=lambda *_: os.kill(os.getpid(), signal.SIGKILL), step=5)
    checkpoints.SECONDS = before
    path, steps = run_under(folder) / "checkpoints" / "last.ckpt", step_of(folder)
    os.truncate(path, path.stat().st_size // 2)
    ended = fit(folder / "runs", "--resume", "auto")
    met = ended.told(0, "goes on from previous.ckpt instead", "from previous.ckpt")
    met |= {"was killed": killed.code == -signal.SIGKILL, "had saved": steps == 4, "same end": same_end(folder, whole)}
    return ended_well(ended, "instead", folder, met)


FAULTS = [
    *(full_disk, file_size_limit, full_disk_for_metrics, read_only_disk, run_becomes_read_only, no_folder_for_runs),
    checkpoint_cut_short,
]
