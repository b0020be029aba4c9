"""What a report consists of, whatever format it is written in."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from semisup.escape import DASH, MINUS

NONE = DASH  # stands in a cell for which there is no value
_NUMBER = re.compile(rf"[+{MINUS}]?\d[\d,.]*( (±|to) [+{MINUS}]?\d[\d,.]*)?")


class Code(str):
    """Text to be set in typewriter: a path, an option, the name of a layer."""

    __slots__ = ()


@dataclass(frozen=True)
class Paragraph:
    """A paragraph.

    Attributes:
        parts: text, in order; `Code` among it is set in typewriter.
    """

    parts: tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """A table with a caption. Columns of numbers are flush right, all others flush left.

    Attributes:
        caption: what the table shows.
        header: a name for each column.
        rows: cells, as many in each row as the header has.
    """

    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Picture:
    """A figure with a caption.

    Attributes:
        caption: what the figure shows.
        path: of the file below the report's folder, with `/` and without its extension: there is a `.pdf` and a `.png`.
    """

    caption: str
    path: str


@dataclass(frozen=True)
class Listing:
    """Lines of configuration or of commands, in typewriter, exactly as they are."""

    text: str


@dataclass(frozen=True)
class Section:
    """A heading and what stands under it; a section in a section is a subsection."""

    title: str
    blocks: tuple[Paragraph | Table | Picture | Listing | Section, ...]


Block = Paragraph | Table | Picture | Listing | Section


@dataclass(frozen=True)
class Report:
    """A whole report.

    Attributes:
        title: the headline.
        date: of the newest run; empty where unknown.
        sections: in order.
    """

    title: str
    date: str
    sections: tuple[Section, ...]


def paragraph(*parts: str) -> Paragraph:
    """A paragraph of these parts, which bring their own spaces."""
    return Paragraph(parts)


def table(caption: str, header: Iterable[str], rows: Iterable[Iterable[str]]) -> Table:
    """A table of any iterables."""
    return Table(caption, tuple(header), tuple(tuple(row) for row in rows))


def listed(words: Iterable[str]) -> str:
    """`a, b and c`."""
    listing = list(words)
    return " and ".join([", ".join(listing[:-1]), listing[-1]] if len(listing) > 1 else listing)


def set_parts(parts: Iterable[str], text: Callable[[str], str], code: Callable[[str], str]) -> str:
    """Parts of a paragraph, or a cell, as a format sets text and typewriter."""
    return "".join(code(part) if isinstance(part, Code) else text(part) for part in parts)


def numeric(column: Iterable[str]) -> bool:
    """Whether all cells of a column that hold something are numbers, such as `94,186` or `85.28 ± 1.20`."""
    cells = [cell for cell in column if cell not in ("", NONE)]
    return bool(cells) and all(_NUMBER.fullmatch(cell) for cell in cells)
