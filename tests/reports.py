"""Runs to report on, and what a report says, read back from each of its three formats."""

from __future__ import annotations

import base64
import csv
import html as html_library
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from semisup.cli.front import main
from semisup.escape import DASH, MINUS, TIMES

OPTIONS = {
    "data": {"name": "digits", "labels_per_class": 4, "batch_size": 64, "augmentation": "auto"},
    "model": {"backbone": "small", "normalization": "channel"},
    "optimizer": {"name": "sgd", "lr": 0.03, "nesterov": True, "maximize": False},
    "lr_scheduler": {"name": "cosine", "cycles": 0.4375},
    "trainer": {"max_epochs": 2, "default_root_dir": "runs", "accelerator": "cpu", "max_time": None},
}
OWN = {"supervised": {"view": "weak"}, "pseudolabel": {"threshold": 0.95}}
ENVIRONMENT = (
    "date: 2026-01-0{seed} 10:00:00 +0000\ncommand: /home/me/python -m semisup fit --seed {seed}\ntorch: 2.15.0\n"
)


def make_run(folder: Path, strategy: str, seed: int, *, finished: bool = True, **changed: Any) -> Path:
    """A run directory without checkpoints, whose scores are drawn from its seed."""
    run = (
        folder
        / "runs"
        / "digits"
        / strategy
        / f"2026010{seed}-100000-s{seed}{''.join(f'-{x}' for x in changed.values() if isinstance(x, int | float))}"
    )
    (run / "checkpoints").mkdir(parents=True)
    options: dict[str, Any] = {"strategy": strategy, "seed": seed, strategy: OWN[strategy], **OPTIONS}
    for name, value in changed.items():
        group, _, option = name.partition("__")
        options[group] = options[group] | {option: value}
    (run / "config.yaml").write_text(yaml.safe_dump(options, sort_keys=False))
    (run / "environment.txt").write_text(ENVIRONMENT.format(seed=seed))
    scores = np.random.default_rng([seed, len(strategy), len(changed)]).uniform(0.5, 1, 6).tolist()
    lines = [
        "epoch,step,train/loss,val/accuracy,best/val_accuracy,best/test_accuracy,last/val_accuracy,last/test_accuracy,seconds",
        "0,9,1.5,,,,,,",
        f"0,49,1.0,{scores[0]!r},,,,,",
        f"1,99,0.5,{scores[1]!r},,,,,",
    ]
    if finished:
        lines.append(f",100,,,{max(scores[:2])!r},{scores[2]!r},{scores[1]!r},{scores[3]!r},{seed + 1.5!r}")
    (run / "metrics.csv").write_text("\n".join(lines) + "\n")
    return run


def report(*argv: object) -> None:
    assert main(["report", *map(str, argv)]) == 0


def final(run: Path) -> dict[str, str]:
    """The last line of a run's `metrics.csv`, by the standard library alone."""
    *_, last = csv.DictReader((run / "metrics.csv").open())
    return last


def percent(run: Path, name: str) -> float:
    return 100 * float(final(run)[name])


def of_markdown(text: str, bar: str = "|") -> str:
    """What a line of Markdown shows, in which a bar in typewriter is written like this."""
    pieces = re.split(r"(?<![\\`])(`+)(?!`)(.*?)(?<!`)\1(?!`)", text)
    shown = [html_library.unescape(re.sub(r"\\(.)", r"\1", piece)) for piece in pieces[::3]]
    code = [re.sub(r"^ (?=`)|(?<=`) $", "", piece).replace(bar, "|") for piece in pieces[2::3]]
    return "".join(a + b for a, b in zip(shown, [*code, ""], strict=True))


def markdown_tables(text: str) -> list[list[list[str]]]:
    """Tables as rows of cells, the header first."""
    tables = re.findall(r"(?m)(?:^\|.*\n?)+", text)
    rows = [[re.split(r"(?<!\\)\|", line)[1:-1] for line in found.strip().split("\n")] for found in tables]
    return [
        [[of_markdown(cell.strip(), r"\|").strip() for cell in row] for row in [found[0], *found[2:]]] for found in rows
    ]


class Tables(HTMLParser):
    """Collects tables, captions and the text of everything."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tables: list[list[list[str]]] = []
        self.text = ""
        self.tags: list[str] = []
        self.images: list[bytes] = []
        self.in_cell = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
            self.in_cell = True
        elif tag == "img":
            self.images.append(base64.b64decode((dict(attrs)["src"] or "").removeprefix("data:image/png;base64,")))

    def handle_data(self, data: str) -> None:
        self.text += data
        if self.in_cell:
            self.tables[-1][-1][-1] += data

    def handle_endtag(self, tag: str) -> None:
        self.in_cell = self.in_cell and tag not in ("td", "th")


LATEX = {
    **{r"\textbackslash": "\\", r"\textasciitilde": "~", r"\textasciicircum": "^", r"\textless": "<"},
    **{r"\textgreater": ">", r"\textbar": "|", r"\textquotedbl": '"', r"\textasciigrave": "`"},
    **{r"\textquotesingle": "'", r"\textendash": DASH, r"\allowbreak": ""},
}
SYMBOLS = {r"\pm": "±", r"\times": TIMES, "-": MINUS}


def of_latex(text: str) -> str:
    """What LaTeX sets, of text without other commands than those of the report."""
    text = re.sub(r"\\texttt\{(.*)\}$", r"\1", text)
    token = re.compile(
        r"\\codepoint\{([0-9A-F]+)\}|\\ensuremath\{(.*?)\}|(\\[a-z]+)\{\}|\\([{}$&#%_])|(\\-)|(\{\})|([^\\{}$&#%_~^])|(~)"
    )
    shown, end = "", 0
    for found in token.finditer(text):
        assert found.start() == end, f"not set as text: {text[end : found.start()]!r} in {text!r}"
        end = found.end()
        code, symbol, command, escaped, hyphen, _, plain, tie = found.groups()
        shown += chr(int(code, 16)) if code else SYMBOLS[symbol] if symbol else LATEX[command] if command else ""
        shown += (escaped or "") + (plain or "") + "\N{SOFT HYPHEN}" * bool(hyphen) + "\N{NO-BREAK SPACE}" * bool(tie)
    assert end == len(text), text[end:]
    return shown


def latex_tables(text: str) -> list[list[list[str]]]:
    bodies = re.findall(r"\\toprule\n(.*?)\n\\bottomrule\n\\end\{tabular\}", text, flags=re.DOTALL)
    lines = [body.replace("\\midrule\n", "").split(" \\\\\n") for body in bodies]
    rows = [[re.split(r"(?<!\\) & |^& | &$", line.removesuffix(r" \\")) for line in found] for found in lines]
    return [[[of_latex(cell.strip()).strip() for cell in row] for row in found] for found in rows]


def found_tables(folder: Path) -> dict[str, list[list[str]]]:
    """Tables of `report.md` by the first words of their captions."""
    text = (folder / "report.md").read_text()
    captions = [of_markdown(caption) for caption in re.findall(r"\*\*Table \d+:\*\* (.*)", text)]
    return dict(zip(captions, markdown_tables(text), strict=True))


def of_escaped(text: str) -> str:
    return text.replace("_", r"\_")
