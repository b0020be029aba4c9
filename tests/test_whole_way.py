"""The page of the whole way: its commands and programs run in their order, and say what it shows."""

from __future__ import annotations

import re
import shlex
import subprocess
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from semisup.cli.front import main

# How far work is, every half a minute; and which labels were chosen, and so how uneven they are.
_SLOW = re.compile(
    r"epoch \d+ of \d+, step |validation: batch |[\w ()]+: [\d,]+ (of [\d,]+ )?(batches|files|images)\b|"
    r"data: warning: labels are uneven"
)
PAGE = Path(__file__).parents[1] / "docs" / "whole-way.md"


def blocks(text: str) -> list[tuple[str, list[str]]]:
    """What is run, and the lines that it says: commands begin with `$`, what a program says is behind it."""
    found: list[tuple[str, list[str]]] = []
    for kind, body in re.findall(r"^```(\w+)\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL):
        if kind == "python":
            found.append((body, []))
        for line in body.splitlines() if kind != "python" else []:
            if line.startswith("$ "):
                found.append((line, []))
            else:
                found[-1][1].append(line)
    return found


def plain(line: str) -> str:
    """A line without what another machine changes: numbers, times, digests, and how wide a column is."""
    line = re.sub(r"\b[0-9a-f]{12}\b", "0", line)
    line = re.sub(r"(\d+ (h|min|s)\b ?)+", "0 s ", line)
    line = re.sub(r"\d+(?:[.,]\d+)*(?:e[-+]?\d+)?", "0", line)
    return re.sub(r"-{3,}", "---", " ".join(line.split()))


def said(what: str, names: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> list[str]:
    """The lines that a command or a program prints."""
    capsys.readouterr()
    if not what.startswith("$ "):
        with redirect_stdout(StringIO()) as text:
            exec(what, names)
        return text.getvalue().splitlines()
    runs = sorted(Path("runs/folder/pseudolabel").glob("*"))
    words = shlex.split(what.removeprefix("$ ").replace("/RUN", f"/{runs[-1].name}" if runs else ""))
    if words[0] != "semisup":
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout.splitlines()
    assert main([*words[1:], *(["--trainer.accelerator", "cpu"] if words[1] == "fit" else [])]) == 0
    lines = capsys.readouterr().out.splitlines()
    return [line for line in lines if not _SLOW.match(line)]


@pytest.mark.slow
def test_the_whole_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("sys.argv", ["semisup"])
    shown = blocks(PAGE.read_text(encoding="utf-8"))
    verbs = [what.split()[1:3] for what, _ in shown if what.startswith("$ semisup")]
    assert [verb for _, verb in verbs] == ["fit", "predict", "export", "label", "fit"]
    names: dict[str, Any] = {}
    for what, expected in shown:
        lines = said(what, names, capsys)
        assert [*map(plain, lines)] == [*map(plain, expected)], what
