"""Short fits as a user types them."""

from __future__ import annotations

import csv
from pathlib import Path

from semisup.cli.front import main

BRIEF = [
    *("--data", "digits", "--data.steps_per_epoch", "5"),
    *("--tracking.mode", "disabled", "--trainer.accelerator", "cpu", "--trainer.devices", "1"),
]
SHORT = [
    *("--strategy", "pseudolabel", "--pseudolabel.warmup_epochs", "1", "--pseudolabel.every_n_epochs", "1"),
    *("--pseudolabel.threshold", "0.5", *BRIEF),
]


def fit(*arguments: str) -> Path:
    """Runs `fit` in this process and returns its run directory."""
    assert main(["fit", *SHORT, "--trainer.max_epochs", "3", *arguments]) == 0
    return max(Path("runs").glob("*/*/*"), key=lambda path: path.stat().st_mtime)


def finished_run(folder: Path) -> Path:
    """A run of one epoch of two steps, finished, somewhere in a folder."""
    options = [
        *("--data", "digits", "--data.steps_per_epoch", "2", "--data.eval_batch_size", "2000", "--model", "small"),
        *("--trainer.max_epochs", "1", "--trainer.accelerator", "cpu", "--trainer.devices", "1"),
        *("--tracking.mode", "disabled", "--trainer.default_root_dir", str(folder / "runs")),
    ]
    assert main(["fit", *options]) == 0
    (run,) = (folder / "runs/digits/supervised").iterdir()
    return run


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))
