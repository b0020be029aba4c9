"""Faults of several processes at one run."""

from __future__ import annotations

import time
from pathlib import Path

from .outcome import Outcome
from .runs import ALONE, SIX_STEPS, begin, command, half_written, live, same_end, wait


def run_is_live(folder: Path, whole: Path) -> Outcome:
    """A run that is being trained is resumed by its path."""
    with live(folder / "runs") as run:
        ended = command(folder, "fit", "--resume", str(run))
    return Outcome(
        f"exit code {ended.code}: {ended.line('belongs to')}",
        "the run ends as if nothing had happened",
        ended.told(2, "belongs to process", "wait until that ends") | {"same end": same_end(run, whole)},
    )


def job_submitted_twice(folder: Path, whole: Path) -> Outcome:
    """A job script with `--resume auto` begins a second time while the first is at work."""
    again = ["fit", *ALONE, *SIX_STEPS, "--resume", "auto", "--trainer.default_root_dir", str(folder / "runs")]
    with live(folder / "runs") as run:
        ended = command(folder, *again)
    (other,) = (path.parent for path in folder.rglob("environment.txt") if path.parent != run)
    met = ended.told(0, "is left alone, it belongs to process", "begins anew")
    met |= {"first": same_end(run, whole), "second": same_end(other, whole)}
    return Outcome(f"exit code 0: {ended.line('left alone')}", "two runs, each as if it were alone", met)


def grid_is_live(folder: Path, whole: Path) -> Outcome:
    """Two comparisons begin the same grid of two runs at once."""
    grid = ["--strategies", "supervised,pimodel", "--seeds", "1", "--labels", "40", "--jobs", "1", "--out", "grid"]
    words, since = ["compare", *grid, "--data", "digits", *SIX_STEPS, "--trainer.devices", "1"], time.monotonic()
    processes = {name: begin(folder, name, *words) for name in ("one", "two")}
    both = [wait(process, folder / name, since) for name, process in processes.items()]
    processes_of = [path.read_text().count("command:") for path in folder.rglob("environment.txt")]
    met = {f"{place}: {right}": value for place, ended in enumerate(both) for right, value in ended.told(0).items()}
    met |= {"each run once": processes_of == [1, 1], "nothing half-written": not half_written(folder)}
    made = [ended.said.count("made by another process") for ended in both]
    return Outcome(f"exit codes {[ended.code for ended in both]}; {sum(made)} made by the other one", "two runs", met)


FAULTS = [run_is_live, job_submitted_twice, grid_is_live]
