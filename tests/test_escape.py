"""Names as each format takes them: read back, they are the same; nothing in them is obeyed."""

from __future__ import annotations

import csv
import io
import os
import re
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from semisup.cli.front import main
from semisup.cli.predictions import write_confusion, write_predictions
from semisup.compare.page import html
from semisup.compare.table import Column, Entry, Table
from semisup.composition import Composition
from semisup.dashboard.differences import _table
from semisup.data.pool import Pool
from semisup.data.pools import DataSpec
from semisup.errors import InputError
from semisup.escape import csv_cell, csv_text, html_prose, latex, one_line, printable, shell
from semisup.page import _inert
from semisup.report.content import Report, Section, paragraph
from semisup.report.html import html as html_report
from semisup.report.latex import latex as latex_report
from semisup.report.markdown import markdown as markdown_report
from semisup.runs.reading import read_confusion, read_metrics
from semisup.runtime.console import say
from semisup.tracking.record import MetricsCSV
from tests.compared import comparison
from tests.hostile import BIDI, CONTROLS, FORMULAS, NAMES, SCRIPTS


@given(st.text())
def test_what_is_printable_steers_nothing_and_is_else_the_same(text: str) -> None:
    shown = printable(text)
    assert not re.search(f"[\x00-\x08\x0b-\x1f\x7f-\x9f{BIDI}\ud800-\udfff\ufffe\uffff]", shown)
    assert shown.encode().decode() == printable(shown) == shown
    if shown != text:
        assert "\\" in shown or "\r" in text


def test_controls_are_spelled() -> None:
    shown = [printable(name) for name in CONTROLS]
    assert shown[:3] == ["a\\u202eb", "bell\\x07", "\\x1b[31mred"] and shown[4:] == ["\\u200f mark", "\\u2066isolate"]
    assert one_line("two\nlines \udc80\U0010fffe") == "two lines \\udc80\\U0010fffe"


# ---- shells


PATHS = ["a b", "it's", 'a"b', "$HOME", "`x`", "a\nb", "a\tb1", "-rf", "~root", "!!", "*", "a  b", "\\n", "ü猫", ""]
PATHS += ["a\u202eb", os.fsdecode(b"caf\xe9"), "é\x077", "#x", "a;b", "x=1", "\x1b[31m"]


@pytest.mark.parametrize("name", PATHS)
def test_a_shell_hands_over_every_word_as_it_is(name: str) -> None:
    command = f"printf '%s\\0' {shell(name, 'end')}"
    assert printable(command) == command and "\n" not in command
    done = subprocess.run(["bash", "-c", command], capture_output=True, check=True)
    assert done.stdout == os.fsencode(name) + b"\0end\0"


def test_a_path_is_no_option_and_no_home() -> None:
    assert [shell(Path(name)) for name in ("-rf", "~root", "a/-b", "/a b")] == ["./-rf", "'./~root'", "a/-b", "'/a b'"]
    assert shell("--strategy", "-x") == "--strategy -x"


# ---- CSV


@given(st.text() | st.sampled_from(NAMES) | st.text("='+-@\t\r1.e", max_size=5))
def test_a_cell_is_no_formula_and_its_text_comes_back(text: str) -> None:
    cell = csv_cell(text)
    assert csv_text(cell) == text
    if cell[:1] in tuple("=+-@\t\r"):
        assert float(cell) is not None and cell == text


@pytest.mark.parametrize("number", ["-1", "+2.5", "-1e-05", "3", "-.5", "-inf", "nan"])
def test_numbers_stay_numbers(number: str) -> None:
    assert csv_cell(number) == number == csv_text(number)


def test_class_names_and_metrics_come_back_from_a_runs_files(tmp_path: Path) -> None:
    names, matrix = NAMES, torch.arange(len(NAMES) ** 2).view(len(NAMES), -1)
    write_confusion(tmp_path / "confusion.csv", matrix, names)
    assert read_confusion(tmp_path / "confusion.csv") == {n: row.tolist() for n, row in zip(names, matrix, strict=True)}
    with (tmp_path / "confusion.csv").open(newline="") as file:
        cells = [cell for line in csv.reader(file) for cell in line]
    assert not [cell for cell in cells if re.match(r"[=+@\t\r]|-(?![\d.])", cell)]
    record = MetricsCSV(tmp_path)
    record.log_metrics({name: 1.5 for name in FORMULAS}, step=0)
    record.log_metrics({"=later": -2.0}, step=1)
    assert read_metrics(tmp_path) == [{"step": 0, **dict.fromkeys(FORMULAS, 1.5)}, {"step": 1, "=later": -2.0}]


class Constant(torch.nn.Module):
    """Predicts class 0 for every image."""

    def __init__(self, names: tuple[str, ...]) -> None:
        super().__init__()
        self.spec, self.device = DataSpec("d", names, 1, 8), torch.device("cpu")
        self.strategy = Composition({})


def test_predictions_are_safe_in_spreadsheets_and_exact_for_kaggle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = FORMULAS
    pool = Pool(torch.zeros(len(names), 1, 8, 8, dtype=torch.uint8).numpy(), names=list(names))
    p = torch.eye(len(names))
    monkeypatch.setattr("semisup.cli.predictions.predict", lambda *_: [(torch.arange(len(names)), p)])
    for kind, way_back in (("csv", csv_text), ("kaggle", str)):
        write_predictions(tmp_path / kind, Constant(names), pool, 4, kind)  # type: ignore[arg-type]
        _, *lines = csv.reader(io.StringIO((tmp_path / kind).read_bytes().decode(), newline=""))
        assert [(way_back(line[0]), way_back(line[1])) for line in lines] == [(name, name) for name in names]
    assert all(
        line[0].startswith("'") for line in csv.reader(io.StringIO((tmp_path / "csv").read_text())) if "=" in line[0]
    )


def test_tables_of_a_comparison_are_safe_in_spreadsheets() -> None:
    made = Table("t", "t", [Column("=a"), Column("n")], [[Entry(name, (name,)), Entry("-1", (-1,))] for name in NAMES])
    (head, *lines) = csv.reader(io.StringIO(made.csv(), newline=""))
    assert head == ["'=a", "n"] and [line[1] for line in lines] == ["-1"] * len(NAMES)
    assert [csv_text(line[0]) for line in lines] == list(NAMES)
    assert not [line for line in lines if re.match(r"[=+@\t\r]|-(?![\d.])", line[0])]


# ---- pages


class Words(HTMLParser):
    """The text of a page, and its tags."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.text, self.tags = "", [""]
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


def steering(text: str) -> list[str]:
    """What would steer a terminal or the direction of text."""
    return re.findall(f"[\x00-\x08\x0b-\x1f\x7f-\x9f{BIDI}]", text)


def test_names_are_text_in_every_page() -> None:
    content = Report(NAMES[0], "", (Section("S", tuple(paragraph(name) for name in NAMES)),))
    page = Words(html_report(content, Path()))
    assert {"b", "script"}.isdisjoint(page.tags)
    for name in NAMES:
        assert one_line(name).strip() in page.text
    for text in (html_report(content, Path()), latex_report(content), markdown_report(content)):
        assert not steering(text)


def test_words_from_right_to_left_keep_what_is_around_them_in_place() -> None:
    assert html_prose("a قطة كبيرة (1), חתול") == "a <bdi>قطة كبيرة</bdi> (1), <bdi>חתול</bdi>"


def test_the_page_of_a_comparison_shows_names_as_they_are(tmp_path: Path) -> None:
    page = html(comparison(["supervised", "fixmatch"], [40], 1, NAMES, notes=[*NAMES]), tmp_path)
    assert not steering(page)
    words = Words(page)
    assert {"b"}.isdisjoint(words.tags)
    for name in NAMES:
        assert printable(name).strip() in words.text, name
    assert "\\u202e" not in _inert({"x": "a"}) and '"a\\\\u202eb"' in _inert(["a\u202eb"])


def test_a_table_in_wandb_shows_names_as_they_are() -> None:
    made = _table({name: {name: [0.5]} for name in NAMES}, "accuracy")
    assert not steering(made)
    head, _, *rows = made.split("\n")[2:]
    assert len(rows) == len(NAMES) and {len(re.findall(r"(?<!\\)\|", row)) for row in (head, *rows)} == {len(NAMES) + 2}


def test_latex_breaks_long_words() -> None:
    assert latex("x" * 100) == r"\allowbreak{}".join(["x" * 40, "x" * 40, "x" * 20]) and latex("x" * 40) == "x" * 40
    assert r"\codepoint{732B}" in latex(SCRIPTS[0])


# ---- terminals


def test_nothing_that_is_said_steers_the_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(argv: list[str]) -> None:
        raise InputError("\n  ".join([*CONTROLS, "a  b"]))

    say(", ".join(CONTROLS))
    monkeypatch.setattr("semisup.cli.front._run", fail)
    assert main([]) == 2
    out, err = capsys.readouterr()
    assert not steering(out) and not steering(err) and err.count("\n") == 1 and "a  b" in err and "bell\\x07" in out
