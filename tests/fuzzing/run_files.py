"""What a run leaves beside its checkpoints, and what is made of it: metrics, comparisons, reports."""

from __future__ import annotations

import json
import tempfile
from contextlib import ExitStack
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import comparable_runs
import compared
import torch
import yaml
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn

from fuzzing.damage import damaged, distorted, some_damaged
from fuzzing.judging import Case, Property
from semisup.cli.config import parse
from semisup.cli.resume import run_to_resume
from semisup.compare.assemble import compare
from semisup.compare.choose import CompareRequest
from semisup.compare.record import FILE, Comparison
from semisup.compare.tables import tables
from semisup.errors import InputError
from semisup.figures.artifacts import RunArtifacts
from semisup.report.arms import arms
from semisup.report.html import html
from semisup.report.latex import latex
from semisup.report.markdown import markdown
from semisup.report.sections import Pictures, report
from semisup.runs.directory import find_runs
from semisup.runs.reading import metric_rows, read_metrics
from semisup.runs.run import Run

CPU = torch.device("cpu")

# ---- a run

_OTHER = "runs/other/20260101-000001-s1"


@cache
def run_files(strategy: str) -> dict[str, bytes]:
    """The files of a finished run, but for its checkpoints."""
    with tempfile.TemporaryDirectory() as folder:
        run = comparable_runs.write_run(Path(folder), strategy)
        return {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()}


@cache
def _other() -> dict[str, bytes]:
    """The supervised run of another seed."""
    files = run_files("supervised")
    return {**files, "config.yaml": files["config.yaml"].replace(b"seed: 0", b"seed: 1")}


@st.composite
def run_cases(draw: DrawFn) -> Case:
    strategy = draw(st.sampled_from(("supervised", "pseudolabel")))
    files, whole = draw(some_damaged(run_files(strategy)))
    if draw(st.integers(0, 2)) == 0:
        tree = draw(distorted(yaml.safe_load(run_files(strategy)["config.yaml"])))
        files["config.yaml"], whole = yaml.dump(tree).encode("utf-8", "surrogatepass"), False
    run = f"runs/digits/{strategy}/20260101-000000-s0"
    other = {f"{_OTHER}/{name}": x for name, x in _other().items()}
    return Case({f"{run}/{name}": content for name, content in files.items()} | other, (run, strategy), whole)


def check_comparison_of_runs(case: Case) -> None:
    """A run that can't be read is named, or left out with a reason; the comparison of the others can be written."""
    run, strategy = case.given
    found = compare(find_runs([Path("runs")]), CompareRequest("x", Path()), lambda path: None, lambda path: None)
    found.write(Path())
    assert Comparison.read(Path("comparison.json")) == found and all(table.text() for table in tables(found))
    scores = {one.path: one.scores["best/test_accuracy"] for one in found.runs if "best/test_accuracy" in one.scores}
    said = {one.path: one.reason for one in found.left_out}
    assert all(said.values()) and _OTHER in scores | said and (run in scores or run in said or not _is_there(case))
    if case.valid or (run in scores and case.files[f"{run}/metrics.csv"] == run_files(strategy)["metrics.csv"]):
        assert scores[run] == 0.9


def _is_there(case: Case) -> bool:
    return f"{case.given[0]}/environment.txt" in case.files


def check_report_of_a_run(case: Case) -> None:
    """What a report says of a run is what its files say."""
    run, strategy = case.given

    def no_data(path: Path) -> Any:
        raise InputError("no data")

    content = report(arms([RunArtifacts(Path(run), no_data, CPU)]), Pictures(None, {}, {}))
    found = Run(Path(run))
    assert latex(content) and html(content, Path()) and markdown(content)
    if case.valid:
        said = (found.strategy, found.data, found.seed, found.finished, found.steps, found.best_epoch, found.epochs)
        assert said == (strategy, "digits", 0, True, 100, 1, 2)
        assert found.accuracy("best", "test") == 90.0 and found.seconds == 2.5


def check_resuming(case: Case) -> None:
    """A run goes on with the options that it began with, or not at all."""
    config = parse("fit", ["--resume", case.given[0]])
    with ExitStack() as held:
        found = run_to_resume(config.own.resume, Path(), config.options, held)
    assert found is not None and found.run == Path(case.given[0]).absolute()
    if case.valid:
        assert config.strategy == case.given[1] and config.seed == 0


# ---- metrics


@st.composite
def metrics_cases(draw: DrawFn) -> Case:
    """Rows as they are logged, where the last line may be cut short; or something else."""
    text = run_files("pseudolabel")["metrics.csv"]
    whole = draw(st.booleans())
    cut = draw(st.integers(text.index(b"\n") + 1, len(text)))
    return Case({"metrics.csv": text[:cut] if whole else draw(damaged(text))}, valid=whole)


def check_metrics(case: Case) -> None:
    """Complete lines come back, each cell under its column."""
    rows, (columns, texts) = read_metrics(Path()), metric_rows(Path("metrics.csv"))
    assert len(rows) == len(texts)
    assert all(type(row["step"]) is int and set(row) <= set(columns) for row in rows)
    if case.valid:
        lines = case.files["metrics.csv"].decode()
        written = [line.split(",") for line in lines[: lines.rfind("\n")].split("\n")[1:]]
        assert [[row.get(name, "") for name in columns] for row in texts] == written


# ---- comparison.json


@st.composite
def comparison_cases(draw: DrawFn) -> Case:
    tree = asdict(compared.comparison(seeds=2, epochs=2))
    if draw(st.integers(0, 4)) == 0:
        return Case({"comparison.json": json.dumps(tree).encode()}, valid=True)
    text = json.dumps(draw(distorted(tree))).encode("utf-8", "surrogatepass")
    return Case({"comparison.json": draw(st.one_of(st.just(text), damaged(text)))})


def check_comparison(case: Case) -> None:
    """It comes back as it was written, and whatever is accepted can be written."""
    found = Comparison.read(Path("comparison.json"))
    if case.valid:
        assert found == compared.comparison(seeds=2, epochs=2)
    found.write(Path())
    assert Comparison.read(Path("comparison.json")) == found


_NAMES = ("config.yaml", "metrics.csv", "confusion.csv", "predictions.csv", "environment.txt", "runs")
PROPERTIES = (
    Property("runs to compare", run_cases(), check_comparison_of_runs, _NAMES, (FILE,), share=0.5),
    Property("a run to report", run_cases(), check_report_of_a_run, _NAMES),
    Property("a run to resume", run_cases(), check_resuming, share=0.25, keeps=("runs/*/.lock",)),
    Property("metrics.csv", metrics_cases(), check_metrics, ("metrics.csv",)),
    Property("comparison.json", comparison_cases(), check_comparison, ("comparison.json",)),
)
