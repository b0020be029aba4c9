"""Reads `metrics.csv` back. Standard library only, for the verbs that don't train."""

from __future__ import annotations

import csv
import io
from pathlib import Path

METRICS_FILE = "metrics.csv"


def metric_rows(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """Columns and rows of a metrics file as written, empty cells left out; without a last line that was cut short."""
    text = path.read_bytes() if path.exists() else b""
    lines = csv.reader(io.StringIO(text[: text.rfind(b"\n") + 1].decode(), newline=""))
    columns = next(lines, [])
    return columns, [{name: cell for name, cell in zip(columns, line, strict=False) if cell} for line in lines]


def read_metrics(run_dir: Path) -> list[dict[str, float]]:
    """The rows of a run's `metrics.csv` in order, each with the values it has: `{"epoch": 0, "step": 49, "loss": ...}`.

    Values come back exactly as they were logged. A run that has logged nothing gives no rows.
    """
    _, rows = metric_rows(Path(run_dir) / METRICS_FILE)
    return [{k: int(v) if k in ("epoch", "step") else float(v) for k, v in row.items()} for row in rows]
