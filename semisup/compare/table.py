"""A table as text, CSV and LaTeX."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from semisup import escape
from semisup.runs.directory import write_atomically

ALL = "tables.txt"
_NUMBERS = re.compile(r"[-+±<>\[\]\d., ]+( \(n=\d+\))?")
_SIGN, _IN_MATHEMATICS = re.compile("[-+±<>]"), {"±": r"\pm"}
# A character that the engine has no letter for, as in the report, unless the document says it better.
_CODEPOINT = r"\providecommand{\codepoint}[1]{\texttt{U+#1}\allowbreak}"
Value = str | int | float | None


@dataclass(frozen=True)
class Entry:
    """What stands in one place of a table.

    Attributes:
        text: on the console; `±` and `-` are written as LaTeX has them there.
        values: in CSV, one for each of the column's parts.
        reason: why there is no value, for a note below the table.
    """

    text: str
    values: tuple[Value, ...]
    reason: str = ""


@dataclass(frozen=True)
class Column:
    """A column: its heading, and the names of its parts in CSV, its heading by default."""

    heading: str
    parts: tuple[str, ...] = ()
    left: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """The CSV file's columns."""
        return self.parts or (self.heading,)


@dataclass(frozen=True)
class Table:
    """One table.

    Attributes:
        name: of its files.
        title: what it shows.
        columns: from left to right.
        rows: an entry for each column.
        notes: below it.
    """

    name: str
    title: str
    columns: list[Column]
    rows: list[list[Entry]]
    notes: list[str] = field(default_factory=list)

    def text(self) -> str:
        """For the console."""
        cells, notes = self._marked("[{}]")
        rows = [[escape.one_line(cell) for cell in row] for row in ([c.heading for c in self.columns], *cells)]
        widths = [max(len(row[k]) for row in rows) for k in range(len(self.columns))]
        lines = [
            "  ".join(
                cell.ljust(width) if column.left else cell.rjust(width)
                for cell, width, column in zip(row, widths, self.columns, strict=True)
            ).rstrip()
            for row in rows
        ]
        return "\n".join([self.title, "-" * max(map(len, lines)), *lines, *notes])

    def csv(self) -> str:
        """A line of names, and one for each row; numbers in full, no value is an empty place."""
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow([escape.csv_cell(name) for column in self.columns for name in column.names])
        writer.writerows([[_csv(v) for entry in row for v in entry.values] for row in self.rows])
        return text.getvalue()

    def latex(self) -> str:
        """A `tabular` with the rules of the package booktabs, and its notes below."""
        cells, notes = self._marked("$^{{{}}}$", _tex)
        head = " & ".join(_tex(column.heading) for column in self.columns)
        place = "".join("l" if column.left else "r" for column in self.columns)
        needs = r"\usepackage{booktabs} and \usepackage[T1]{fontenc}"
        lines = [
            f"% {escape.one_line(self.title)}; needs {needs}",
            _CODEPOINT,
            rf"\begin{{tabular}}{{{place}}}",
            r"\toprule",
        ]
        lines += [rf"{head} \\", r"\midrule", *(" & ".join(row) + r" \\" for row in cells), r"\bottomrule"]
        return "\n".join([*lines, r"\end{tabular}", *(rf"\par{{\footnotesize {note}}}" for note in notes)]) + "\n"

    def _marked(self, mark: str, escape: Callable[[str], str] = str) -> tuple[list[list[str]], list[str]]:
        """The cells' texts, those without a value marked by a letter, and below the notes that explain the letters."""
        reasons = dict.fromkeys(entry.reason for row in self.rows for entry in row if entry.reason)
        marks = {reason: mark.format(chr(ord("a") + k)) for k, reason in enumerate(reasons)} | {"": ""}
        cells = [[escape(entry.text) + marks[entry.reason] for entry in row] for row in self.rows]
        return cells, [*(f"{marks[reason]} {escape(reason)}" for reason in reasons), *map(escape, self.notes)]


def write(tables: list[Table], folder: Path) -> None:
    """Writes each table as `<name>.csv` and `<name>.tex`, and all of them as text."""
    files = {f"{table.name}.csv": table.csv() for table in tables} | {f"{t.name}.tex": t.latex() for t in tables}
    files[ALL] = escape.printable("\n\n".join(table.text() for table in tables)) + "\n"
    for name, text in files.items():
        write_atomically(folder / name, text)


def _csv(value: Value) -> Value:
    return "" if value is None else escape.csv_cell(value) if isinstance(value, str) else value


def _tex(text: str) -> str:
    """Text as LaTeX has it: numbers with their signs in mathematics, anything else letter by letter."""
    if text == "-":
        return "--"
    if _NUMBERS.fullmatch(text):
        return _SIGN.sub(lambda match: f"${_IN_MATHEMATICS.get(match[0], match[0])}$", text)
    return escape.latex(text)
