"""The report as Markdown (GitHub's, with tables). Figures are the PNG files."""

from __future__ import annotations

import re
from itertools import count

from semisup.escape import markdown as escape
from semisup.escape import markdown_code as code
from semisup.escape import printable
from semisup.report.content import (
    Block,
    Code,
    Listing,
    Paragraph,
    Picture,
    Report,
    Section,
    Table,
    numeric,
    set_parts,
)

_OPENING = re.compile(r"^(\s*)([-+#=:]|\d+(?=[.)]))")  # what would begin a list, a heading or a line of dashes


def markdown(report: Report) -> str:
    """The whole document; it looks for its figures beside itself."""
    figures, tables = count(1), count(1)

    def block(node: Block, level: int) -> str:
        match node:
            case Section():
                inside = [block(inner, level + 1) for inner in node.blocks]
                return "\n\n".join([f"{'#' * min(level, 6)} {escape(node.title)}", *inside])
            case Paragraph():
                return _paragraph(set_parts(node.parts, escape, code).strip())
            case Table():
                return f"**Table {next(tables)}:** {escape(node.caption)}\n\n{_table(node)}"
            case Picture():
                caption = escape(node.caption)
                return f"![{caption}]({node.path}.png)\n\n**Figure {next(figures)}:** {caption}"
            case Listing():
                text = printable(node.text)
                fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
                return f"{fence}\n{text}\n{fence}"

    parts = [f"# {escape(report.title)}", *([_paragraph(escape(report.date))] if report.date else [])]
    return "\n\n".join([*parts, *(block(section, 2) for section in report.sections)]) + "\n"


def _paragraph(text: str) -> str:
    opening = _OPENING.match(text)
    if not opening:
        return text
    mark = opening[2]
    safe = f"{mark[:-1]}&#{ord(mark[-1])};" if mark.isdecimal() else f"&#{ord(mark)};"
    return f"{opening[1]}{safe}{text[opening.end() :]}"


def _table(table: Table) -> str:
    columns = zip(*table.rows, strict=True) if table.rows else [() for _ in table.header]
    line = "|".join("---:" if numeric(column) else "---" for column in columns)
    rows = [_row(table.header), f"|{line}|", *map(_row, table.rows)]
    return "\n".join(rows)


def _row(cells: tuple[str, ...]) -> str:
    # In a table a bar ends a cell, in typewriter as well, unless a backslash stands before it.
    return "| " + " | ".join(code(c).replace("|", r"\|") if isinstance(c, Code) else escape(c) for c in cells) + " |"
