"""The report as one HTML file, its pictures in it."""

from __future__ import annotations

import base64
from itertools import count
from pathlib import Path

from semisup.escape import html as escape
from semisup.escape import html_prose, one_line
from semisup.report.content import (
    Block,
    Listing,
    Paragraph,
    Picture,
    Report,
    Section,
    Table,
    numeric,
    set_parts,
)

_STYLE = """
:root { color-scheme: light; }
body { max-width: 46rem; margin: 3rem auto; padding: 0 1rem; color: #1a1a1a; background: #fff;
  font: 1.0625rem/1.55 Charter, "Bitstream Charter", "Source Serif 4", Georgia, serif; }
h1, h2, h3, nav, table, figcaption, caption { font-family: system-ui, "Segoe UI", Helvetica, Arial, sans-serif; }
h1 { font-size: 1.75rem; line-height: 1.25; margin-bottom: .25rem; }
h2 { font-size: 1.3rem; margin: 2.5rem 0 .75rem; padding-top: .5rem; border-top: 1px solid #ddd; }
h3 { font-size: 1.05rem; margin: 1.75rem 0 .5rem; }
.date { color: #666; margin-top: 0; }
nav { font-size: .9rem; background: #f6f7f8; padding: .75rem 1rem; border-radius: .4rem; }
nav ul { list-style: none; margin: 0; padding: 0; columns: 2; }
a { color: #0b5394; text-decoration: none; } a:hover { text-decoration: underline; }
.wide { overflow-x: auto; margin: 1.25rem 0; }
table { min-width: 22rem; border-collapse: collapse; border-bottom: 2px solid #1a1a1a; font-size: .875rem;
  line-height: 1.4; }
caption, figcaption { font-size: .85rem; color: #444; text-align: left; padding: .35rem 0; }
th { border-top: 2px solid #1a1a1a; border-bottom: 1px solid #1a1a1a; }
th, td { padding: .25rem .9rem .25rem 0; text-align: left; vertical-align: top; }
p, h1, h2, h3, li, td, caption, figcaption { overflow-wrap: break-word; }
td + td, th + th { padding-left: .2rem; } .number { text-align: right; font-variant-numeric: tabular-nums; }
.number { white-space: nowrap; }
code, pre { font-family: ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; font-size: .8em; }
td code { white-space: nowrap; font-size: .92em; }
pre { background: #f6f7f8; padding: .75rem 1rem; border-radius: .4rem; line-height: 1.45; white-space: pre-wrap;
  overflow-wrap: anywhere; font-size: .78rem; }
figure { margin: 1.5rem 0; text-align: center; break-inside: avoid; }
figcaption { text-align: center; } img { max-width: 100%; height: auto; }
@media print { body { max-width: none; margin: 0; font-size: 10.5pt; } nav { display: none; } }
"""


def html(report: Report, folder: Path) -> str:
    """The whole document.

    Args:
        report: the content.
        folder: what the paths of pictures are relative to.
    """
    writer = _Writer(folder)
    body = "\n".join(writer.block(section, (number,)) for number, section in enumerate(report.sections, 1))
    title = escape(one_line(report.title))
    links = [f'<li><a href="#s{n}">{n} {html_prose(s.title)}</a></li>' for n, s in enumerate(report.sections, 1)]
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<h1>{html_prose(report.title)}</h1>\n"
        f'<p class="date">{html_prose(report.date)}</p>\n<nav>\n<ul>\n{"".join(links)}\n</ul>\n</nav>\n'
        f"{body}\n</body>\n</html>\n"
    )


def code(text: str) -> str:
    """Text in typewriter."""
    return f"<code>{html_prose(text)}</code>" if text.strip() else ""


class _Writer:
    """Numbers figures and tables in the order they come."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.figures, self.tables = folder, count(1), count(1)

    def block(self, block: Block, number: tuple[int, ...]) -> str:
        match block:
            case Section():
                return self.section(block, number)
            case Paragraph():
                return f"<p>{set_parts(block.parts, html_prose, code)}</p>"
            case Table():
                return self.table(block)
            case Picture():
                return self.picture(block)
            case Listing():
                return f"<pre>{escape(block.text)}</pre>"

    def section(self, section: Section, number: tuple[int, ...]) -> str:
        level = min(len(number) + 1, 6)
        inner, parts = count(1), []
        for block in section.blocks:
            parts.append(self.block(block, (*number, next(inner)) if isinstance(block, Section) else number))
        shown = ".".join(map(str, number))
        heading = f'<h{level} id="s{shown}">{shown} {html_prose(section.title)}</h{level}>'
        return "\n".join(["<section>", heading, *parts, "</section>"])

    def table(self, table: Table) -> str:
        kinds = [' class="number"' if numeric(column) else "" for column in zip(*table.rows, strict=True)]
        kinds = kinds or [""] * len(table.header)
        head = "".join(f"<th{kind}>{html_prose(name)}</th>" for kind, name in zip(kinds, table.header, strict=True))
        rows = "\n".join(
            f"<tr>{''.join(f'<td{kind}>{_cell(cell)}</td>' for kind, cell in zip(kinds, row, strict=True))}</tr>"
            for row in table.rows
        )
        caption = f"<caption>Table {next(self.tables)}: {html_prose(table.caption)}</caption>"
        return (
            f'<div class="wide"><table>\n{caption}\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody>\n'
            "</table></div>"
        )

    def picture(self, picture: Picture) -> str:
        image = base64.b64encode((self.folder / f"{picture.path}.png").read_bytes()).decode("ascii")
        caption = html_prose(picture.caption)
        return (
            f'<figure><img src="data:image/png;base64,{image}" alt="{escape(one_line(picture.caption))}">\n'
            f"<figcaption>Figure {next(self.figures)}: {caption}</figcaption></figure>"
        )


def _cell(cell: str) -> str:
    return set_parts((cell,), html_prose, code)
