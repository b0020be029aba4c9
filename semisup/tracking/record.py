"""The record of a run that is always kept: `metrics.csv`, exact to the last bit and continued by a resume."""

from __future__ import annotations

import csv
import io
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any, SupportsFloat

import pytorch_lightning as pl
from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from semisup.escape import csv_cell
from semisup.runs.directory import replacing, writing
from semisup.runs.reading import METRICS_FILE, metric_rows

_KEYS = ("epoch", "step")


class MetricsCSV(Logger):
    """Writes `run_dir/metrics.csv`: the columns epoch and step, then one per metric, in order of appearance.

    Every call is on disk when it returns. What is logged for the same step one call after the other shares a row.
    Values are written as Python's `repr` of a float, so that reading them back gives the same bits. An existing file is
    continued (Lightning's own CSV logger deletes it); `ContinueRecord` removes what a resumed run will log again.

    Args:
        run_dir: an existing directory.
    """

    def __init__(self, run_dir: Path) -> None:
        super().__init__()
        self.run_dir = Path(run_dir)
        self.path = self.run_dir / METRICS_FILE
        self._columns: list[str] | None = None  # unknown until the file has been looked at
        self._last: dict[str, str] = {}
        self._last_offset = 0  # bytes; where the last row begins

    @property
    def name(self) -> str:
        """Empty, and so is `version`: the run directory is named by others."""
        return ""

    @property
    def version(self) -> str:
        """Empty; see `name`."""
        return ""

    @property
    def save_dir(self) -> str:
        """The run directory. Lightning puts checkpoints into `save_dir/checkpoints`."""
        return str(self.run_dir)

    @property
    def log_dir(self) -> str:
        """The run directory."""
        return str(self.run_dir)

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Does nothing: the run directory's `config.yaml` holds them."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, SupportsFloat], step: int | None = None) -> None:
        """Writes a row.

        Args:
            metrics: name -> number or scalar tensor; `epoch`, where given, becomes the first column.
            step: optimiser steps before the one that is reported; by default the last row's step.

        Raises:
            ValueError: a metric is not one number.
            WriteError: the disk does not take the row; what it took of it is dropped when the file is read.
        """
        with writing(self.path, self.run_dir):
            self._write(metrics, step)

    def _write(self, metrics: Mapping[str, SupportsFloat], step: int | None) -> None:
        if self._columns is None:
            self._open()
        assert self._columns is not None
        row = {name: repr(float(value)) for name, value in metrics.items() if name not in _KEYS}
        row["step"] = str(int(step)) if step is not None else self._last.get("step", "0")
        if "epoch" in metrics:
            row["epoch"] = str(int(float(metrics["epoch"])))
        merge = row["step"] == self._last.get("step") and all(self._last.get(k, v) == v for k, v in row.items())
        if merge:
            row = self._last | row
        new = [name for name in row if name not in self._columns and name not in _KEYS]
        if new:
            _, rows = metric_rows(self.path)
            self._rewrite([*(self._columns or _KEYS), *new], [*(rows[:-1] if merge else rows), row])
        elif row != self._last or not merge:
            line = _lines(self._columns, [row]).encode()
            with self.path.open("r+b") as file:
                # A merged row has all that the old one had and more, so that it covers every byte of it.
                self._last_offset = file.seek(self._last_offset) if merge else file.seek(0, io.SEEK_END)
                file.write(line)
            self._last = row

    @rank_zero_only
    def truncate(self, step: int) -> None:
        """Drops the rows of this step and later ones, and columns that only they filled.

        Args:
            step: optimiser steps done, as in a checkpoint's `global_step`; the last row kept is of step - 1 at most.
        """
        columns, rows = metric_rows(self.path)
        kept = [row for row in rows if int(row["step"]) < step]
        if self.path.exists():
            # The columns are in order of appearance, so what is left is what a run up to this step would have written.
            with writing(self.path, self.run_dir):
                self._rewrite([name for name in columns if name in _KEYS or any(name in row for row in kept)], kept)

    def _open(self) -> None:
        """Looks at the file that an earlier process left, and removes a last line that its end cut short."""
        columns, rows = metric_rows(self.path)
        self._rewrite(columns or list(_KEYS), rows)

    def _rewrite(self, columns: list[str], rows: list[dict[str, str]]) -> None:
        text = _lines(columns, [dict(zip(columns, map(csv_cell, columns), strict=True)), *rows])
        with replacing(self.path) as temporary:
            temporary.write_text(text, encoding="utf-8", newline="")
        self._columns, self._last = columns, rows[-1] if rows else {}
        self._last_offset = len(text.encode()) - (len(_lines(columns, rows[-1:]).encode()) if rows else 0)


class ContinueRecord(pl.Callback):
    """Makes an interrupted and resumed run leave the same `metrics.csv` as an uninterrupted one.

    When training starts, rows that the restored checkpoint doesn't know of are dropped: they are about to be logged
    again. It stands first among the callbacks, before any that logs when training starts.
    """

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Cuts the record back to the restored step; on a run that begins, there is nothing to cut."""
        for logger in trainer.loggers:
            if isinstance(logger, MetricsCSV):
                logger.truncate(trainer.global_step)


def _lines(columns: list[str], rows: list[dict[str, str]]) -> str:
    text = io.StringIO(newline="")
    csv.DictWriter(text, columns, restval="", lineterminator="\n").writerows(rows)
    return text.getvalue()
