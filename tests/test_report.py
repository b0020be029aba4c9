"""`semisup report`: its numbers against the runs' own files, and one content in three formats."""

from __future__ import annotations

import base64
import csv
import html as html_library
import re
import shutil
import statistics
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from helpers import HANG
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy.stats import ttest_1samp

from semisup import figures
from semisup.classifier import ModelOptions
from semisup.cli.front import main
from semisup.data.pools import DataSpec
from semisup.escape import DASH, MINUS, TIMES, one_line, printable
from semisup.report.content import NONE, Code, Listing, Picture, Report, Section, paragraph, table
from semisup.report.html import html
from semisup.report.latex import latex
from semisup.report.layers import layers
from semisup.report.markdown import markdown
from tests.helpers import Blobs, classifier

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


# ---- reading the formats back


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


# ---- the numbers


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the curves are drawn."""
    monkeypatch.setattr(figures, "of_run", lambda run: {})


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, list[Path]]]:
    """Three supervised runs, four with pseudo-labels of which three have a partner, and a report of them."""
    folder = tmp_path_factory.mktemp("made")
    seeds = {"supervised": (0, 1, 2), "pseudolabel": (0, 1, 2, 3)}
    runs = {strategy: [make_run(folder, strategy, seed) for seed in seeds[strategy]] for strategy in seeds}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        # The augmentations need no checkpoint and would take a while.
        patch.setattr(figures, "FIGURES", [one for one in figures.FIGURES if one.name != "augmentations"])
        report(*runs["pseudolabel"], *runs["supervised"])
    return folder / "report", runs


def found_tables(folder: Path) -> dict[str, list[list[str]]]:
    """Tables of `report.md` by the first words of their captions."""
    text = (folder / "report.md").read_text()
    captions = [of_markdown(caption) for caption in re.findall(r"\*\*Table \d+:\*\* (.*)", text)]
    return dict(zip(captions, markdown_tables(text), strict=True))


def test_means_are_those_of_the_metrics(made: tuple[Path, dict[str, list[Path]]]) -> None:
    folder, runs = made
    rows = found_tables(folder)["Accuracy in percent, mean ± standard deviation over seeds"]
    assert rows[0] == ["strategy", "seeds", "best val", "best test", "last val", "last test"]
    for row, strategy in zip(rows[1:], ("supervised", "pseudolabel"), strict=True):
        expected = []
        for name in ("best/val_accuracy", "best/test_accuracy", "last/val_accuracy", "last/test_accuracy"):
            scores = [percent(run, name) for run in runs[strategy]]
            expected.append(f"{statistics.mean(scores):.2f} ± {statistics.stdev(scores):.2f}")
        assert row == [strategy, ", ".join(str(seed) for seed in range(len(runs[strategy]))), *expected]


def test_differences_are_paired_by_seed(made: tuple[Path, dict[str, list[Path]]]) -> None:
    folder, runs = made
    tables = found_tables(folder)
    rows = tables["Difference to supervised training, paired by seed"]
    for row, which in zip(rows[1:], ("best", "last"), strict=True):
        name = f"{which}/test_accuracy"
        pairs = [
            percent(b, name) - percent(a, name) for a, b in zip(runs["supervised"], runs["pseudolabel"], strict=False)
        ]
        low, high = ttest_1samp(pairs, 0).confidence_interval(0.95)
        error = statistics.stdev(pairs) / len(pairs) ** 0.5
        expected = f"{statistics.mean(pairs):+.2f}|{error:.2f}|{low:+.2f} to {high:+.2f}".replace("-", MINUS)
        assert row == ["pseudolabel", "supervised", which, "3", *expected.split("|")]
    best = [row for row in tables["The pairs, test accuracy in percent"][1:] if row[1] == "best"]
    name = "best/test_accuracy"
    assert [row[2:5] for row in best] == [
        [str(seed), f"{percent(runs['supervised'][seed], name):.2f}", f"{percent(runs['pseudolabel'][seed], name):.2f}"]
        for seed in range(3)
    ]


def test_every_run_is_listed(made: tuple[Path, dict[str, list[Path]]]) -> None:
    folder, runs = made
    rows = found_tables(folder)["Accuracy of every run in percent"]
    for row, run in zip(rows[1:], [*runs["supervised"], *runs["pseudolabel"]], strict=True):
        validated = [x["val/accuracy"] for x in csv.DictReader((run / "metrics.csv").open()) if x["val/accuracy"]]
        best = str(1 + validated.index(max(validated, key=float)))
        assert row[1:5] == [run.name, run.name[-1], best, f"{percent(run, 'best/val_accuracy'):.2f}"]
        assert row[7] == f"{percent(run, 'last/test_accuracy'):.2f}"
    lengths = found_tables(folder)["Length of the training; seconds are those of training and validation"]
    assert lengths[1] == ["supervised", "2", "100", "2.5 ± 1.0"]


def test_a_run_that_is_not_finished_is_in_no_mean(quick: None, tmp_path: Path) -> None:
    run = make_run(tmp_path, "pseudolabel", 4, finished=False)
    report(run)
    assert found_tables(run / "report")["Accuracy of every run in percent"][1][4:] == [NONE] * 4
    text = (run / "report" / "report.md").read_text()
    assert "Not finished, and so in no mean: `pseudolabel/20260104-100000-s4`." in text


def test_the_formats_say_the_same(made: tuple[Path, dict[str, list[Path]]]) -> None:
    folder, _ = made
    in_markdown = markdown_tables((folder / "report.md").read_text())
    page = Tables((folder / "report.html").read_text())
    assert page.tables == latex_tables((folder / "report.tex").read_text()) == in_markdown
    assert len(in_markdown) == 8 and sum(len(row) for found in in_markdown for row in found) > 100
    for title in ("Summary", "Data and splits", "Results", "Configuration", "Environment", "What is missing"):
        assert f"## {title}\n" in (folder / "report.md").read_text()
        assert title in page.text and f"\\section{{{title}}}" in (folder / "report.tex").read_text()


def test_images_configuration_and_environment(made: tuple[Path, dict[str, list[Path]]]) -> None:
    folder, _ = made
    text, tables = (folder / "report.md").read_text(), found_tables(folder)
    sizes = dict(tables["Images of digits"][1:])
    assert (sizes["labeled"], sizes["unlabeled"], sizes["validation"], sizes["test"]) == ("40", "1,217", "180", "360")
    shared, *own = (yaml.safe_load(block) for block in re.findall(r"```\n(.*?)\n```", text, flags=re.DOTALL)[:3])
    assert own == [{"strategy": name, name: OWN[name]} for name in ("supervised", "pseudolabel")]
    later = {"labeled_in_unlabeled": False, "imbalance": 1.0, "unlabeled_imbalance": "equal", "sampler": "uniform"}
    assert shared["data"] == OPTIONS["data"] | later  # runs of before these options came
    assert shared["trainer"] == {"max_epochs": 2}
    assert "semisup fit --seed 3\n" in text and "/home/me" not in text
    assert text.startswith("# Semi-supervised image classification on digits: supervised and pseudolabel\n\n2026-01-03")
    missing = tables["Left out of this report"][1:]
    lacking = "filters, embedding, confusion, calibration, model"
    assert [row[:2] for row in missing] == [
        ["supervised", lacking],
        ["pseudolabel", lacking],
        ["pseudolabel", "pseudolabels"],  # which supervised runs never have, and nobody misses in them
    ]
    assert all("holds no checkpoints/best.ckpt" in row[2] for row in missing[:2])


# ---- which runs belong together


def test_arms_are_named_by_what_sets_them_apart(quick: None, tmp_path: Path) -> None:
    runs = [make_run(tmp_path, "pseudolabel", seed, pseudolabel__threshold=t) for t in (0.9, 0.95) for seed in (0, 1)]
    longer = make_run(tmp_path, "supervised", 0, trainer__max_epochs=9)
    few = make_run(tmp_path, "supervised", 0, data__labels_per_class=1)
    report(*runs, longer, few, "--may_differ", "trainer.max_epochs", "--out", tmp_path / "out")
    rows = found_tables(tmp_path / "out")["Difference to supervised training, paired by seed"][1:]
    assert [row[0] for row in rows] == ["pseudolabel (threshold 0.9)"] * 2 + ["pseudolabel (threshold 0.95)"] * 2
    against = "supervised (data.labels_per_class 4, trainer.max_epochs 9)"
    assert {row[1] for row in rows} == {against} and {row[5] for row in rows} == {NONE}
    text = (tmp_path / "out" / "report.md").read_text()
    assert f"pseudolabel (threshold 0.9) differs from {of_escaped(against)} also in `trainer.max_epochs`." in text


def test_runs_over_data_that_has_moved_are_one_arm(quick: None, tmp_path: Path) -> None:
    """Where its digest is known to be the same; other data in another place, and nobody knows what, stay apart."""
    runs = [
        make_run(tmp_path, "supervised", seed, data__root=root) for seed, root in enumerate(("/a", "/b", "/c", "/d"))
    ]
    for run, digest in zip(runs, ("1 2", "1 2", "1 3", ""), strict=True):
        (run / "environment.txt").write_text((run / "environment.txt").read_text() + f"data: {digest}\n" * bool(digest))
    report(*runs, "--may_differ", "data.root", "--out", tmp_path / "out")
    rows = found_tables(tmp_path / "out")["Accuracy in percent, mean ± standard deviation over seeds"][1:]
    assert [row[:2] for row in rows] == [
        ["supervised (data.root /a)", "0, 1"],
        ["supervised (data.root /c)", "2"],
        ["supervised (data.root /d)", "3"],
    ]


def of_escaped(text: str) -> str:
    return text.replace("_", r"\_")


@pytest.mark.parametrize(
    ("strategies", "words"),
    [
        (["supervised"], "All runs are supervised"),
        (["pseudolabel"], "can't be said without a supervised run"),
    ],
)
def test_what_was_added_is_not_made_up(quick: None, strategies: list[str], words: str, tmp_path: Path) -> None:
    runs = [make_run(tmp_path, strategy, 0) for strategy in strategies]
    report(*runs)
    assert words in (runs[0] / "report" / "report.md").read_text()  # a single run's report lies in it


def test_mistakes_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = make_run(tmp_path, "supervised", 0)
    empty = make_run(tmp_path, "supervised", 2)
    (empty / "metrics.csv").unlink()
    bare = make_run(tmp_path, "supervised", 3)
    (bare / "config.yaml").write_text("seed: 3\n")
    (tmp_path / "file").write_text("")
    for argv, words in (
        ([], "the following arguments are required: RUN; `semisup report --help` tells more"),
        ([tmp_path], "is neither a run directory nor a file in one"),
        ([one / "checkpoints"], f"is a part of a run; type {one}"),
        ([empty], f"{empty} can't be reported: there is no metrics.csv, or nothing in it; leave it out, or let it"),
        ([bare], "doesn't say strategy, data.name; give a run of semisup fit"),
        ([one, "--out", tmp_path / "file"], "file is a file; type --out with the name of a folder"),
    ):
        assert main(["report", *map(str, argv)]) == 2
        assert words in capsys.readouterr().err
    assert not (one / "report").exists()


def test_secrets_stay_out(quick: None, tmp_path: Path) -> None:
    run = make_run(tmp_path, "supervised", 0, data__password="hunter2", trainer__plugins=[{"init": {"api_key": "h3"}}])
    report(run)
    for name in ("report.tex", "report.html", "report.md"):
        text = (run / "report" / name).read_text()
        assert (
            "hunter2" not in text
            and "h3'" not in text
            and "api_key" in text.replace("\\", "").replace("allowbreak{}", "")
        )


# ---- with checkpoints


@pytest.mark.slow
def test_a_whole_run(
    few_embedded: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    short = ["--data.steps_per_epoch", "10", "--trainer.max_epochs", "1", "--tracking.mode", "disabled"]
    assert main(["fit", "--data", "digits", "--trainer.accelerator", "cpu", *short]) == 0
    (run,) = Path("runs/digits/supervised").iterdir()
    capsys.readouterr()
    report(run, run)
    folder = run / "report"
    assert capsys.readouterr().out.splitlines()[-3:] == [
        str(folder / f"report.{kind}") for kind in ("tex", "html", "md")
    ]
    text = (folder / "report.md").read_text()
    images = [folder / path for path in re.findall(r"!\[.*?\]\((.*?)\)", text)]
    assert {image.name.split("-")[0].removesuffix(".png") for image in images} == {
        *("filters", "augmentations", "embedding", "confusion", "calibration", "curves")
    }
    assert Tables((folder / "report.html").read_text()).images == [image.read_bytes() for image in images]
    included = re.findall(r"\\includegraphics\{(.*?)\}", (folder / "report.tex").read_text())
    assert [folder / path for path in included] == [image.with_suffix(".pdf") for image in images]
    assert all((folder / path).read_bytes().startswith(b"%PDF-") for path in included)
    assert "What is missing" not in text
    rows = found_tables(folder)["Layers in the order that an image passes them, and parameters"]
    assert rows[-1] == ["", "in all", "", "94,186"]
    assert sum(int(row[3].replace(",", "")) for row in rows[1:-1]) == 94_186
    assert {path.name for path in run.iterdir()} >= {"metrics.csv", "report"}


def test_without_the_data_the_report_says_what_is_missing(tmp_path: Path) -> None:
    run = make_run(tmp_path, "supervised", 0, data__root=str(tmp_path / "gone"))
    options = yaml.safe_load((run / "config.yaml").read_text())
    options["data"] = {"name": "folder", "root": str(tmp_path / "gone")}
    (run / "config.yaml").write_text(yaml.safe_dump(options))
    report(run)
    rows = found_tables(run / "report")["Left out of this report"][1:]
    assert any("augmentations" in row[1] and "numbers of images" in row[1] and "gone" in row[2] for row in rows)


@pytest.mark.parametrize("backbone", ["small", "solution", "torchvision:resnet18", "torchvision:swin_t"])
def test_layers_hold_every_parameter_once(backbone: str) -> None:
    spec = DataSpec("pictures", ("a", "b", "c"), channels=3, image_size=48)
    data = Blobs()
    module = classifier(type("Spec", (), {"spec": spec, "seed": data.seed})(), model=ModelOptions(backbone))  # type: ignore[arg-type]
    before = {name: part.training for name, part in module.named_modules()}
    found = layers(module)
    assert sum(layer.parameters for layer in found) == sum(p.numel() for p in module.network.parameters())
    assert found[0].shape == (3, 48, 48) and found[-1].shape in ((3,), ())
    assert {name: part.training for name, part in module.named_modules()} == before
    assert not any(part._forward_hooks for part in module.modules())
    for layer in found:
        part = module.network.get_submodule(layer.name) if layer.name else None
        if isinstance(part, torch.nn.Conv2d):
            assert layer.kind.startswith(f"Conv2d {part.kernel_size[0]}{TIMES}{part.kernel_size[1]}")
            assert layer.shape[0] == part.out_channels and layer.parameters == sum(p.numel() for p in part.parameters())


# ---- escaping

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
