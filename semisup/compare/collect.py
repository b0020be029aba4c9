"""Reads run directories: what a finished run scored, how it got there, and what it was configured with."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import os
import statistics
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from semisup.compare.comparable import own_options
from semisup.compare.record import Round, Run
from semisup.errors import InputError, require
from semisup.escape import csv_text
from semisup.runs import run_files, safe_yaml
from semisup.runs.directory import fit_command, is_run, run_of
from semisup.runs.reading import metric_rows, read_metrics

_CONFIG, _METRICS, _ENVIRONMENT = "config.yaml", "metrics.csv", "environment.txt"
_ACCURACY = "val/accuracy"
_SCORES = ("last/val_accuracy", "last/test_accuracy", "best/val_accuracy", "best/test_accuracy")
_ADVICE = "type the path of a run directory, or of a folder that holds some"


@dataclass(frozen=True)
class Found:
    """A finished run as it was found.

    Attributes:
        directory: absolute.
        run: what it did. Its arm is the strategy, its labels those of each class; `assemble` puts the final ones there.
        config: its options, nested.
        class_names: as far as its files tell.
        splits: what must be the same in all runs besides the options: classes, test images and steps.
        per_class: labels of each class, None for all there are.
        gpus: that it saw, as `environment.txt` lists them; empty for none.
        data: the digest of its data, as there; empty where it has none, as runs of before.
    """

    directory: Path
    run: Run
    config: dict[str, Any]
    class_names: list[str]
    splits: dict[str, Any]
    per_class: int | None
    gpus: str
    data: str = ""


def find_runs(paths: Iterable[Path]) -> dict[Path, bool]:
    """Run directories (absolute), and whether each was given by itself rather than found in a folder.

    Args:
        paths: run directories, files in them, and folders that hold some at any depth.

    Raises:
        InputError: a path doesn't exist, or is of no run and holds none.
    """
    found: dict[Path, bool] = {}
    for path in paths:
        require(
            path.exists(), f"{path} does not exist; type the path of a run directory, or of a folder that holds some"
        )
        if run := run_of(path):
            found[run] = True
            continue
        inside = list(_below(path.absolute()))
        require(
            bool(inside), f"{path} is no run directory and holds none; type the path of one, or of a folder with some"
        )
        for run in inside:
            found.setdefault(run, False)
    return found


def _below(folder: Path) -> Iterator[Path]:
    for where, folders, _ in os.walk(folder):
        folders.sort()
        if is_run(Path(where)):
            folders.clear()
            yield Path(where)


@cache
def read_config(directory: Path) -> dict[str, Any]:
    """The options of a run by its `config.yaml`, which is the same for as long as the run is there.

    Raises:
        InputError: it has none, or none that can be read.
    """
    path = directory / _CONFIG
    require(run_files.is_there(path), "it has no config.yaml, so nobody knows how it was trained")
    tree = safe_yaml.read_run(path)
    require({"strategy", "seed", "data"} <= tree.keys(), "its config.yaml is no fit's")
    try:
        json.dumps(tree, allow_nan=False, default=str)
    except ValueError as error:
        raise InputError("its config.yaml holds a number that is not finite, which no option takes") from error
    return tree


def is_finished(directory: Path) -> bool:
    """Whether a run wrote its final scores."""
    return bool(metrics := read_metrics(directory)) and "seconds" in metrics[-1]


def read_run(directory: Path) -> Found:
    """Everything about a finished run.

    Raises:
        InputError: it isn't finished, or lacks what a comparison needs; the message continues "run: ".
    """
    config = read_config(directory)
    metrics = read_metrics(directory)
    require(bool(metrics) and "seconds" in metrics[-1], "it has not finished")
    final, history = metrics[-1], [row for row in metrics[:-1] if "epoch" in row]
    scores = {name: final[name] for name in _SCORES if name in final}
    require(bool(scores), "it was scored on nothing: there are neither validation nor test images with labels")
    whole = all(0 <= score <= 1 for score in scores.values()) and 0 <= final.get("images", 0) < math.inf
    require(whole and 0 <= final["seconds"] < math.inf, f"the last line of its {_METRICS} is damaged")
    confusion = _confusion(directory / "confusion.csv")
    columns, _ = metric_rows(directory / _METRICS)
    names = list(confusion) or [c.removeprefix(f"{_ACCURACY}/") for c in columns if c.startswith(f"{_ACCURACY}/")]
    validated = [row for row in history if _ACCURACY in row]
    chosen = {"last": validated[-1]} if validated else {}
    if validated and any(name.startswith("best/") for name in scores):
        chosen["best"] = max(validated, key=lambda row: row[_ACCURACY])  # the first of several, as ModelCheckpoint does
    class_accuracy = {f"{which}/val": _of_classes(row, f"{_ACCURACY}/") for which, row in chosen.items()}
    if confusion:
        class_accuracy["best/test" if "best" in chosen else "last/test"] = {
            name: row[k] / sum(row) for k, (name, row) in enumerate(confusion.items()) if sum(row)
        }
    environment, gpus = _environment(directory / _ENVIRONMENT)
    options = own_options(config)
    per_class = config["data"].get("labels_per_class")
    run = Run(
        path=str(directory),
        arm=str(config["strategy"]),
        strategy=str(config["strategy"]),
        seed=int(config["seed"]),
        labels=None,
        all_labels=per_class is None,
        scores=scores,
        epochs={which: int(row["epoch"]) + 1 for which, row in sorted(chosen.items())},
        class_accuracy=class_accuracy,
        calibration={
            f"{which}/val": row["val/ece"]
            for which, row in sorted(chosen.items())
            if math.isfinite(row.get("val/ece", math.nan))
        },
        curves=_curves(history),
        rounds=_rounds(history),
        steps=int(final["step"]),
        images=int(final["images"]) if "images" in final else None,
        seconds=final["seconds"],
        command=environment.pop("command", ""),
        environment=environment,
        options=options,
    )
    splits = {"classes": ", ".join(names), "test images": _test_images(directory), "steps trained": run.steps}
    return Found(directory, run, config, names, splits, per_class, gpus, environment.get("data", ""))


def _of_classes(row: dict[str, float], prefix: str) -> dict[str, float]:
    """What a row says of each class, those left out that it says nothing of."""
    return {name.removeprefix(prefix): x for name, x in row.items() if name.startswith(prefix) and math.isfinite(x)}


def _table(path: Path) -> list[list[str]]:
    """The lines of a CSV file, its head among them, all as long as that; none where there is no such file.

    Raises:
        InputError: it is damaged.
    """
    if not run_files.is_there(path):
        return []
    try:
        with run_files.opened(path) as file:
            rows = csv.reader(io.TextIOWrapper(file, encoding="utf-8", newline=""), strict=True)
            lines = [[*map(csv_text, line)] for line in rows]
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"its {path.name} can't be read ({error})") from error
    require(bool(lines) and {*map(len, lines)} == {len(lines[0])}, f"its {path.name} is damaged: it is no table")
    return lines


def _confusion(path: Path) -> dict[str, list[int]]:
    """True class -> how many of its test images were predicted as each class; empty where there is no such file."""
    (_, *names), *lines = _table(path) or [[""]]
    counts = [cell for _, *cells in lines for cell in cells]
    right = [line[0] for line in lines] == names and all(cell.isdecimal() and len(cell) < 10 for cell in counts)
    require(right, f"its {path.name} is damaged: it does not count the same classes in lines and columns")
    return {name: [int(cell) for cell in cells] for name, *cells in lines}


def _test_images(directory: Path) -> str:
    """How many test images were predicted, and a fingerprint of which, in which order."""
    _, *lines = _table(directory / "predictions.csv") or [[]]
    ids = chr(10).join(name for name, *_ in lines).encode()
    return f"{len(lines):,} ({hashlib.sha256(ids).hexdigest()[:8]})" if lines else "none"


def _curves(history: list[dict[str, float]]) -> dict[str, list[float | None]]:
    """Every epoch's values, as `Run.curves` says."""
    epochs: dict[int, list[dict[str, float]]] = {}
    for row in history:
        if "epoch" in row:
            epochs.setdefault(int(row["epoch"]), []).append(row)
    names = dict.fromkeys(name for row in history for name in row)
    wanted = [name for name in names if name in (_ACCURACY, "val/ece") or name.startswith("train/")]
    curves: dict[str, list[float | None]] = {
        "epoch": [epoch + 1 for epoch in epochs],
        "step": [max(row["step"] for row in rows) + 1 for rows in epochs.values()],
    }
    for name in wanted:
        curves[name] = [_mean([row[name] for row in rows if name in row]) for rows in epochs.values()]
    return curves


def _mean(values: list[float]) -> float | None:
    mean = statistics.fmean(values) if values else math.nan
    return float(f"{mean:.6g}") if math.isfinite(mean) else None


def _rounds(history: list[dict[str, float]]) -> list[Round]:
    """The rounds of pseudo-labels that a run logged."""
    found = []
    for row in history:
        images, precision = _of_classes(row, "pseudolabel/count/"), row.get("pseudolabel/precision", math.nan)
        if images:
            found.append(
                Round(
                    epoch=int(row["epoch"]) + 1,
                    images={name: int(count) for name, count in images.items()},
                    precision=precision if math.isfinite(precision) else None,
                    class_precision=_of_classes(row, "pseudolabel/precision/"),
                    confidence=list(_of_classes(row, "pseudolabel/confidence/").values()),
                )
            )
    return found


def _environment(path: Path) -> tuple[dict[str, str], str]:
    """What `environment.txt` says of a run's beginning, the command from `semisup` on, and the GPUs that were seen."""
    if not run_files.is_there(path):
        return {}, ""
    try:
        began = run_files.content(path).decode().partition("\n\n")[0]
        facts = {name: fact for name, _, fact in (line.partition(": ") for line in began.splitlines())}
    except UnicodeDecodeError as error:
        raise InputError(f"its {path.name} can't be read ({error})") from error
    if "command" in facts:
        facts["command"] = fit_command(facts["command"])
    gpus = facts.get("gpus", "")
    return facts, "" if gpus == "none seen" else gpus
