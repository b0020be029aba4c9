"""The page of a comparison, read back."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

from semisup.compare.page import html
from semisup.compare.record import Comparison


class Page(HTMLParser):
    """What a page holds: tables by name as rows of (text, value), scripts, styles, links, sources and all its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tables: dict[str, list[list[tuple[str, str]]]] = {}
        self.rows: dict[str, list[dict[str, str]]] = {}
        self.scripts: list[str] = []
        self.styles: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.words: list[str] = []
        self._table, self._inside, self._cell = "", "", False
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attributes}
        self.attributes += [(tag, name, value) for name, value in found.items()]
        if tag == "table":
            self._table = found.get("id", "")
            self.tables[self._table], self.rows[self._table] = [], []
        elif tag == "tr":
            self.tables[self._table].append([])
            self.rows[self._table].append(found)
        elif tag in ("td", "th"):
            self.tables[self._table][-1].append(("", found.get("data-value", "")))
            self._cell = True
        elif tag == "script":
            self.scripts.append("")
            self._inside = tag
        elif tag == "style":
            self._inside = tag

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self._cell = False
        elif tag in ("script", "style"):
            self._inside = ""

    def handle_data(self, text: str) -> None:
        if self._inside == "script":
            self.scripts[-1] += text
        elif self._inside == "style":
            self.styles.append(text)
        elif self._cell:
            cell, value = self.tables[self._table][-1][-1]
            self.tables[self._table][-1][-1] = (cell + text.strip(), value)
        if not self._inside:
            self.words.append(text)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def column(self, table: str, number: int) -> list[str]:
        return [row[number][0] for row in self.tables[f"table-{table}"][1:]]


def page(found: Comparison, folder: Path = Path("nowhere")) -> Page:
    return Page(html(found, folder))
