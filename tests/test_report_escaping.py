"""Any text comes back from every format of a report, and its LaTeX compiles."""

from __future__ import annotations

import html as html_library
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from helpers import HANG
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from reports import Tables, latex_tables, markdown_tables, of_markdown

from semisup.escape import DASH, MINUS, TIMES, one_line, printable
from semisup.report.content import Code, Listing, Picture, Report, Section, paragraph, table
from semisup.report.html import html
from semisup.report.latex import latex
from semisup.report.markdown import markdown

TEXT = st.text(max_size=30) | st.text("\\`*_{}[]()#+-.!|<>&$%^~\"'@:/=ab 1\n\t,?", max_size=20)


def three(text: str, kind: type[str]) -> Report:
    rows = ((kind(text), "1.5"), ("x", "2"))
    return Report("T", "", (Section("S", (table("C", ("a", "b"), rows), paragraph("P: ", kind(text)), Listing(text))),))


@given(TEXT, st.sampled_from([str, Code]))
def test_any_text_comes_back_from_every_format(text: str, kind: type[str]) -> None:
    shown, given_report = one_line(text).strip(), three(text, kind)
    expected = [[["a", "b"], [shown, "1.5"], ["x", "2"]]]
    page = html(given_report, Path())
    found = Tables(page)
    assert [[[cell.strip() for cell in row] for row in rows] for rows in found.tables] == expected
    assert found.tags.count("code") == 2 * (kind is Code and text.strip() != "") and "script" not in found.tags
    assert html_library.unescape(re.findall(r"<pre>(.*?)</pre>", page, re.DOTALL)[0]) == printable(text)
    tex = latex(given_report)
    assert latex_tables(tex) == expected
    inside = tex.partition(r"\begin{document}")[2]
    assert re.findall(r"\\end\{(\w+)\}", inside) == ["tabular", "table", "code", "document"]
    tables, _, rest = markdown(given_report).partition("\n\nP:")
    assert markdown_tables(tables) == expected
    words, _, listing = rest.partition("\n\n```")
    assert of_markdown(words).strip() == shown
    fence, inside, end = re.fullmatch(r"(`+)\n(.*)\n(`+)\n", f"```{listing}", re.DOTALL).groups()  # type: ignore[union-attr]
    assert fence == end not in inside and inside == printable(text)


@given(TEXT)
def test_a_paragraph_of_markdown_is_a_paragraph(text: str) -> None:
    reader = pytest.importorskip("markdown")
    line = markdown(Report("T", "", (Section("S", (paragraph(text),)),))).partition("## S\n\n")[2].strip()
    page = reader.markdown(line, extensions=["tables", "sane_lists"])
    tags = set(Tables(page).tags)
    assert tags <= {"p"} and Tables(page).text.strip().split() == one_line(text).split()


@pytest.mark.skipif(not (shutil.which("pdflatex") or shutil.which("tectonic")), reason="there is no LaTeX here")
def test_latex_compiles(tmp_path: Path) -> None:
    Image.new("RGB", (40, 30)).save(tmp_path / "a.pdf")
    letters = (
        "".join(map(chr, range(32, 127)))
        + "".join(map(chr, range(0xA1, 0x180)))
        + f"±{TIMES}{MINUS}{DASH}…→中😀\x07\ud800"
    )
    rows = [(Code(letters[i : i + 9]), letters[i : i + 9], "--key=`a`,, ''b'' !`?`") for i in range(0, len(letters), 9)]
    sections = (
        Section(
            "Nasty _ & % # $ { } ~ ^ \\ title",
            (paragraph(letters, Code(letters)), Listing(f"a:\n  [b]: {letters}\n\n- *")),
        ),
        Section("Tables", (table("long", ("a", "b & c", "d"), rows), table("short", ("a", "b", "d"), rows[:3]))),
        Section("Figure", (Picture("caption_1", "a"), Section("Sub", (Section("Subsub", (paragraph("[x]"),)),)))),
        Section("Wide", (table("w", ("a", "b", "c"), [("word " * 40, "1", "2" * 20), ("x", "2", "word " * 30)]),)),
    )
    (tmp_path / "report.tex").write_text(latex(Report("A_title", "2026-01-01", sections)), encoding="utf-8")
    engine = shutil.which("pdflatex")
    command = [engine, "-interaction=nonstopmode", "-halt-on-error"] if engine else ["tectonic"]
    done = subprocess.run([*command, "report.tex"], cwd=tmp_path, capture_output=True, timeout=HANG)
    assert done.returncode == 0, done.stdout[-3000:].decode(errors="replace")
    assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF-")
    if engine and shutil.which("pdftotext"):
        subprocess.run(["pdftotext", "-layout", "report.pdf"], cwd=tmp_path, check=True)
        text = (tmp_path / "report.txt").read_text(encoding="utf-8")
        quoted = "--key=`a`,, ''b''".replace("'", "\N{RIGHT SINGLE QUOTATION MARK}")
        for words in ("Nasty _ & % # $ { } ~ ^ \\ title", quoted, "U+4E2D", "U+1F600", r"\x07\ud800", "[x]", "- *"):
            assert words in text, words
