"""Labels in a file: CSV with the columns `path` and `class`, and a row for each picture, as `semisup label` writes it.

    path,class
    unlabeled/holiday.jpg,cat

A path is relative to `--data.root`, and is what `predictions.csv` calls the picture. Blanks before a cell don't count,
but within quotes.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path

from semisup.data.files import named
from semisup.errors import InputError, require
from semisup.escape import csv_cell, csv_text
from semisup.runs import run_files

HEAD = ["path", "class"]


def read_labels(path: Path) -> dict[str, str]:
    """The class of each path, in the order of the file; rows without anything in them are passed over.

    Raises:
        InputError: the file can't be read, has other columns, a row lacks one of the two, or a path is there under two
            classes. The same row twice is one.
    """
    expected = "expected a CSV file with the columns path,class and a row for each picture"
    try:
        text = run_files.content(path).decode("utf-8-sig")  # spreadsheets write the mark of UTF-8 before the first cell
    except UnicodeDecodeError as error:
        raise InputError(f"{path} can't be read (it is not UTF-8); {expected}") from error
    except InputError as error:
        raise InputError(f"{error}; {expected}") from error
    content = io.StringIO(text, newline="")
    try:
        rows = [row for row in csv.reader(content, strict=True, skipinitialspace=True) if any(map(str.strip, row))]
    except csv.Error as error:
        raise InputError(f"{path} is no CSV file ({error}); {expected}") from error
    head = [cell.strip() for cell in rows[0]] if rows else []
    require(sorted(head) == sorted(HEAD), f"{path} has the columns {', '.join(head) or 'of nothing'}; {expected}")
    where, which = map(head.index, HEAD)
    label_of: dict[str, str] = {}
    twice: dict[str, None] = {}
    for number, row in enumerate(rows[1:], 2):
        whole = len(row) == 2 and all(map(str.strip, row))
        require(whole, f"row {number} of {path} is {','.join(row)[:200]}; {expected}")
        name, label = csv_text(row[where]), csv_text(row[which])
        if label_of.setdefault(name, label) != label:
            twice[name] = None
    require(not twice, f"{path} has more than one class for {named([*twice])}; leave one row of each")
    return label_of


def labels_text(labels: Mapping[str, str]) -> str:
    """The content of such a file, of path -> class."""
    rows = [HEAD, *labels.items()]
    return "".join(f"{cell(name)},{cell(label)}\n" for name, label in rows)


def cell(text: str) -> str:
    """One cell of the file: quoted where it must be, and no formula to a spreadsheet."""
    text = csv_cell(text)
    return '"' + text.replace('"', '""') + '"' if any(c in text for c in ',"\r\n') or text != text.strip() else text
