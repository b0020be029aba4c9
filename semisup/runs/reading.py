"""Reads a run's tables back: `metrics.csv`, `confusion.csv`, `predictions.csv`. Standard library only."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from semisup.errors import InputError, require
from semisup.escape import csv_text
from semisup.runs import run_files

METRICS_FILE = "metrics.csv"


def metric_rows(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """Columns and rows of a metrics file as written, empty cells left out; without a last line that was cut short.

    Raises:
        InputError: a line before the last one is not what was written, or it is no regular file of the run.
    """
    whole = run_files.content(path) if run_files.is_there(path) else b""
    try:
        text = whole[: whole.rfind(b"\n") + 1].decode()
        columns, *lines = [*csv.reader(io.StringIO(text, newline=""), strict=True)] or [[]]
        columns = [*map(csv_text, columns)]
        rows = [dict(zip(columns, line, strict=True)) for line in lines]
        if text and (columns[:2] != ["epoch", "step"] or len(set(columns)) < len(columns)):
            raise ValueError("its columns don't begin with epoch and step, or are there twice")
        for row in rows:
            for name, cell in row.items():
                if cell or name == "step":
                    int(cell) if name in ("epoch", "step") else float(cell)
    except (ValueError, csv.Error) as error:
        raise InputError(f"{path} is damaged ({error}); remove it, or what is wrong in it") from error
    return columns, [{name: cell for name, cell in row.items() if cell} for row in rows]


def read_metrics(run_dir: Path) -> list[dict[str, float]]:
    """The rows of a run's `metrics.csv` in order, each with the values it has: `{"epoch": 0, "step": 49, "loss": ...}`.

    Values come back exactly as they were logged. A run that has logged nothing gives no rows.

    Steps and epochs are counted from the beginning of the last phase that has begun: `--trainer.max_epochs` is its
    length, and those who compare runs compare it. Rows of phases before have negative steps, -1 being the last, and no
    epoch. The file itself counts through all of them, as the trainer does; `phase` in it says where a later one begins.

    Raises:
        InputError: the file is damaged.
    """
    _, rows = metric_rows(Path(run_dir) / METRICS_FILE)
    parsed = [{k: int(v) if k in ("epoch", "step") else float(v) for k, v in row.items()} for row in rows]
    begins = next((row for row in reversed(parsed) if "phase" in row), {})
    first_step, first_epoch = begins.get("step", 0), begins.get("epoch", 0)
    for row in parsed if begins else []:
        row["step"] -= first_step
        if row["step"] < 0:
            row.pop("epoch", None)
        elif "epoch" in row:
            row["epoch"] -= first_epoch
    return parsed


def read_table(path: Path) -> list[list[str]]:
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


def read_confusion(path: Path) -> dict[str, list[int]]:
    """True class -> how many of its test images were predicted as each class; empty where there is no such file.

    Raises:
        InputError: it is damaged.
    """
    (_, *names), *lines = read_table(path) or [[""]]
    counts = [cell for _, *cells in lines for cell in cells]
    right = [line[0] for line in lines] == names and all(cell.isdecimal() and len(cell) < 10 for cell in counts)
    require(right, f"its {path.name} is damaged: it does not count the same classes in lines and columns")
    return {name: [int(cell) for cell in cells] for name, *cells in lines}
