"""Run directories as `semisup fit` leaves them, written by the code that writes theirs, but without a training."""

from __future__ import annotations

from functools import cache
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from semisup.cli.config import parse
from semisup.cli.predictions import write_confusion
from semisup.compare.assemble import compare
from semisup.compare.choose import CompareRequest
from semisup.compare.record import Comparison
from semisup.runs.directory import find_runs, write_atomically
from semisup.runs.environment import write_environment
from semisup.tracking.record import MetricsCSV

CLASSES = tuple("0123456789")
SEEDS = {0: 0.70, 1: 0.74, 2: 0.72}  # and the accuracies that the scores of a grid are made of
_number = count()


@cache
def config(*arguments: str) -> str:
    """The config.yaml of a run with seed 0."""
    return parse("fit", ["--data", "digits", "--tracking.mode", "disabled", *arguments]).yaml


@cache
def environment() -> str:
    """What write_environment writes, which asks git for as long as a test may take."""
    with TemporaryDirectory() as folder:
        write_environment(Path(folder), "0123456789abcdef fedcba9876543210")
        return (Path(folder) / "environment.txt").read_text()


def write_run(
    root: Path,
    strategy: str = "supervised",
    seed: int = 0,
    per_class: int | None = 4,
    best: float = 0.9,
    last: float = 0.8,
    options: tuple[str, ...] = (),
    finished: bool = True,
) -> Path:
    """A run of two epochs of 50 steps on the digits, 360 of which are its test images."""
    labels = "null" if per_class is None else str(per_class)
    run = root / "digits" / strategy / f"20260101-{next(_number):06}-s{seed}"
    (run / "checkpoints").mkdir(parents=True)
    arguments = ("--strategy", strategy, "--data.labels_per_class", labels, *options)
    write_atomically(run / "config.yaml", config(*arguments).replace("\nseed: 0\n", f"\nseed: {seed}\n"))
    write_atomically(run / "environment.txt", environment())
    record = MetricsCSV(run)
    for epoch, accuracy in enumerate((best, last)):
        step = 50 * epoch
        record.log_metrics({"train/loss": 1.0 - epoch / 2, "epoch": epoch}, step=step + 9)
        record.log_metrics({"train/loss": 0.5 - epoch / 2, "epoch": epoch}, step=step + 49)
        scores = {"val/accuracy": accuracy, "val/ece": 0.1 + 0.1 * epoch}
        scores |= {f"val/accuracy/{name}": accuracy for name in CLASSES}
        if strategy == "pseudolabel":
            scores |= {f"pseudolabel/count/{name}": 10.0 + epoch for name in CLASSES}
            scores |= {f"pseudolabel/confidence/{k / 10:.1f}": 0.1 for k in range(10)}
            scores |= {
                "pseudolabel/count": 100.0 + 10 * epoch,
                "pseudolabel/precision": 0.75,
                "pseudolabel/precision/0": 0.5,
            }
        record.log_metrics(scores | {"epoch": epoch}, step=step + 49)
    if finished:
        final = {
            f"{which}/{pool}_accuracy": x for pool in ("val", "test") for which, x in (("last", last), ("best", best))
        }
        record.log_metrics({**final, "images": 6400.0, "seconds": 2.5}, step=100)
        right = round(36 * best)
        confusion = torch.eye(10, dtype=torch.int64) * right
        confusion[:, 0] += 36 - right
        write_confusion(run / "confusion.csv", confusion, CLASSES)
        ids = "".join(f"{row},0,0.500000\n" for row in range(360))
        write_atomically(run / "predictions.csv", "id,class,confidence\n" + ids)
    return run


def compared(root: Path, given: dict[Path, bool] | None = None, **options: Any) -> Comparison:
    """The comparison of runs in a folder, or of those given, whose data all has 1,257 labels and no checkpoint."""
    request = CompareRequest("semisup compare", root / "out", **options)
    return compare(given or find_runs([root]), request, lambda run: 1257, lambda run: None)
