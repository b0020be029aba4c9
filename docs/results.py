"""Tables of experiments/RESULTS.md, which is the one place where figures are written down."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Table:
    """One table.

    Attributes:
        section: the heading that it stands under.
        date: the last one that stands before it in the section, of when it was measured.
        head: its columns.
        rows: its cells.
    """

    section: str
    date: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def markdown(self, rows: tuple[tuple[str, ...], ...] | None = None) -> str:
        """The table, or some rows of it."""
        lines = [self.head, ("---",) * len(self.head), *(self.rows if rows is None else rows)]
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)

    @property
    def link(self) -> str:
        """Where the whole section is, from a page beside it."""
        words = re.sub(r"[^\w\s-]", "", self.section.lower())
        return "results.md#" + re.sub(r"[-\s]+", "-", words.strip())

    @property
    def of_strategies(self) -> bool:
        """Whether its rows are strategies and their accuracy."""
        return self.head[0] == "strategy" and any("best" in name or "accuracy" in name for name in self.head)


def read(path: Path) -> list[Table]:
    """All tables of a file, in their order."""
    tables = []
    for section in re.split(r"^## ", path.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
        for block in re.finditer(r"(?:^\|.*\n?)+", section, flags=re.MULTILINE):
            dates = re.findall(r"20\d\d-\d\d-\d\d", section[: block.start()])
            head, _, *rows = (_cells(line) for line in block[0].splitlines())
            tables.append(Table(section.partition("\n")[0].strip(), dates[-1] if dates else "", head, tuple(rows)))
    return tables


def _cells(line: str) -> tuple[str, ...]:
    return tuple(cell.strip() for cell in line.strip().strip("|").split(" | "))


def unbroken(line: str) -> str:
    """A line of a table in which no figure is parted from its deviation, and no interval within itself."""
    line = re.sub(r"(?<=\d) ± (?=\d)", "\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}", line)
    return re.sub(r"\[([-+]?[\d.]+), ([-+]?[\d.]+)\]", "[\\1,\N{NO-BREAK SPACE}\\2]", line)


def shown(tables: list[Table], section: str) -> str:
    """The first table of a section, and where it is from.

    Raises:
        LookupError: there is no such section, or no table in it.
    """
    for table in tables:
        if table.section == section:
            return f"{table.markdown()}\n\n[Measured]({table.link}) {table.date}; the command stands there."
    raise LookupError(f"experiments/RESULTS.md has no table in a section {section!r}")
