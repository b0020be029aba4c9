"""The page of a comparison: one HTML file that needs nothing but a browser, `page.html` beside `comparison.json`.

    page = write(Comparison.read(folder / "comparison.json"), folder)

Tables and sentences are in the HTML itself, so that they can be read, printed and searched without a script;
`charts.js` draws the charts from the same statistics. Nothing is loaded from anywhere: the file forbids it to itself by
its content security policy, which lets run only the script that is in it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote

from semisup.compare import tables
from semisup.compare.page import more_tables
from semisup.compare.page.answers import answers, count
from semisup.compare.page.classes import gains
from semisup.compare.page.embeddings import embeddings
from semisup.compare.page.series import charts, key, rounded
from semisup.compare.record import Comparison
from semisup.compare.table import Entry, Table
from semisup.page import render
from semisup.runs.directory import write_atomically

FILE = "page.html"
_HERE = Path(__file__).parent


def write(comparison: Comparison, folder: Path) -> Path:
    """Writes `page.html` into a folder and returns its path.

    Args:
        comparison: what was found.
        folder: that `comparison.json` is in, which the paths of runs are relative to.
    """
    path = folder / FILE
    write_atomically(path, html(comparison, folder))
    return path


def html(comparison: Comparison, folder: Path) -> str:
    """The whole document.

    Args:
        comparison: what was found.
        folder: that the paths of runs are relative to; pictures of runs that are there become part of the page.
    """
    class_gains = gains(comparison)
    named = {table.name: _tagged(table, comparison) for table in tables.tables(comparison)}
    extra = [
        more_tables.pseudolabels(comparison),
        more_tables.calibration(comparison),
        more_tables.imbalance(comparison),
    ]
    extra += [more_tables.classes(comparison, class_gains)] if class_gains else []
    drawn = charts(comparison, class_gains)
    arms = [arm.name for arm in comparison.arms]
    data = {"arms": arms, "reference": comparison.reference, "charts": rounded(drawn)}
    return render(
        _HERE,
        "page.html.jinja",
        ["page.css"],
        ["charts.js", "page.js"],
        data,
        {"count": count, "key": key, "link": quote, "value": _value},
        comparison=comparison,
        top=answers(comparison, class_gains),
        tables=named | {table.name: _tagged(table, comparison) for table in extra if table.rows},
        charts=drawn,
        embeddings=embeddings(comparison, folder),
        environment={
            name: value
            for name, value in comparison.runs[0].environment.items()
            if all(run.environment.get(name) == value for run in comparison.runs) and name != "date"
        },
        checkpoints=list(dict.fromkeys(cell.checkpoint for cell in comparison.cells)),
    )


def _tagged(table: Table, comparison: Comparison) -> dict[str, Any]:
    """A table as the template takes it: what each row and each column is of, for the filter, and notes by letters."""
    names = [column.heading for column in table.columns]
    reasons = list(dict.fromkeys(entry.reason for row in table.rows for entry in row if entry.reason))
    rows = []
    for row in table.rows:
        tags = {}
        for name, tag in (("strategy", "arm"), ("labels", "labels"), ("checkpoint", "checkpoint")):
            if name in names:
                first = row[names.index(name)].values[0]
                tags[tag] = "all" if first is None else first
        cells = [
            (entry, _sortable(entry), chr(97 + reasons.index(entry.reason)) if entry.reason else "") for entry in row
        ]
        rows.append({"tags": tags, "cells": cells})
    # The accuracy table alone has a column for each number of labels.
    of_columns = [key(labels) for labels in comparison.labels] if table.name == "accuracy" else []
    columns = [""] * (len(names) - len(of_columns)) + of_columns
    notes = [f"[{chr(97 + k)}] {reason}" for k, reason in enumerate(reasons)] + table.notes
    return {
        "name": table.name,
        "title": table.title,
        "columns": table.columns,
        "of": columns,
        "rows": rows,
        "notes": notes,
    }


def _sortable(entry: Entry) -> str:
    """What a cell is sorted by: its first number, else its text, else nothing."""
    return str(next((v for v in entry.values if isinstance(v, int | float)), entry.values[0] or ""))


def _value(value: Any) -> str:
    return "none" if value is None else str(value)
