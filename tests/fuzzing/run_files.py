"""Options in YAML, and what a run leaves: its options, metrics, predictions, checkpoints and comparisons."""

from __future__ import annotations

import io
import json
import math
import pickle
import tempfile
from collections.abc import Callable
from contextlib import ExitStack, redirect_stdout
from dataclasses import asdict
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import comparable_runs
import compared
import helpers
import pytorch_lightning as pl
import torch
import yaml
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from fuzzing.damage import TEXT, VALUES, damaged, distorted, some_damaged
from fuzzing.judging import Case, Property
from semisup.classifier import Classifier
from semisup.cli.config import parse
from semisup.cli.resume import run_to_resume
from semisup.cli.yaml_files import Dumper
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
from semisup.runs import safe_yaml
from semisup.runs.directory import find_runs
from semisup.runs.reading import metric_rows, read_metrics
from semisup.runs.run import Run

CPU = torch.device("cpu")

# ---- YAML

_TREES: SearchStrategy[Any] = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), TEXT),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXT, inner, max_size=3)),
    max_leaves=8,
)
_HOSTILE = (
    *("!!python/object/apply:os.system ['touch x']", "!!python/name:os.system", "a: !!binary aGk=", "!!set {a, b}"),
    *("a: &a [*a]", "&a {a: *a}", "a: 1\na: 2", "? [1, 2]\n: 3", "1: 2", "a: 2020-02-30", "a: 2020-01-01 10:00:00"),
    *("--- 1\n--- 2", "%YAML 9.9\n---\na: 1", "[" * 3000, "{a: " * 3000, "a: " + "9" * 5000, "a: 1:1:1:1", "*a"),
    "a: &a [x, x]\n" + "".join(f"{b}: &{b} [*{a}, *{a}, *{a}, *{a}]\n" for a, b in pairwise("abcdefghij")),
    *("<<: 1", "<<: {a: 1}\na: 2", "a: .nan", "a: 1e999", "a: 0o777", "a: 0xfff", "a: 1_000", "\ufeffa: 1", "\0", "\t"),
    *(
        "a: |\n x\n  y",
        "a: !<tag:yaml.org,2002:int> x",
        "a: !!float 1_",
        "a: !!float ",
        "a: !!timestamp x",
        "a: !!int ",
        "a: !!bool x",
        "a: '\\ud800'",
        'a: "\\ud800"',
        "=: 1",
        "a: =",
    ),
)


@st.composite
def yaml_cases(draw: DrawFn) -> Case:
    tree = draw(_TREES)
    text = yaml.dump(tree, Dumper=Dumper, allow_unicode=True).encode()
    if draw(st.booleans()):
        return Case({"x.yaml": text}, tree, valid=True)
    hostile = st.sampled_from(_HOSTILE).map(lambda words: words.encode("utf-8", "surrogatepass"))
    return Case({"x.yaml": draw(st.one_of(damaged(text), hostile, hostile.flatmap(damaged)))}, None)


def check_yaml(case: Case) -> None:
    """What is written comes back; whatever else comes out is options, and not more than there are in the file."""
    found = safe_yaml.read(Path("x.yaml"))
    assert _plain(found)
    if case.valid:
        assert found == case.given


def _plain(tree: Any) -> bool:
    if isinstance(tree, dict):
        return all(type(key) in (str, int, float) and _plain(value) for key, value in tree.items())
    return all(map(_plain, tree)) if isinstance(tree, list) else tree is None or type(tree) in (bool, int, float, str)


# ---- a configuration


@cache
def _options(strategy: str) -> dict[str, Any]:
    tree: dict[str, Any] = yaml.safe_load(comparable_runs.config("--strategy", strategy))
    return tree


@st.composite
def config_cases(draw: DrawFn) -> Case:
    tree = _options(draw(st.sampled_from(("supervised", "pseudolabel", "fixmatch", "combined", "exemplar"))))
    text = yaml.safe_dump(tree).encode()
    match draw(st.integers(0, 5)):
        case 0:
            return Case({"x.yaml": text}, tree, valid=True)
        case 1:
            return Case({"x.yaml": draw(damaged(text))})
    return Case({"x.yaml": yaml.dump(draw(distorted(tree)), allow_unicode=True).encode("utf-8", "surrogatepass")})


def check_config(case: Case) -> None:
    """What is accepted is printed as it was meant, and reads back the same."""
    config = parse("fit", ["--config", "x.yaml"])
    if case.valid:
        assert yaml.safe_load(config.yaml) == case.given
    Path("x.yaml").write_text(config.yaml, encoding="utf-8")
    assert parse("fit", ["--config", "x.yaml"]).yaml == config.yaml


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


# ---- checkpoints


class Opens:
    """What Python's pickle would build by opening a file to be written."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str, str]]:
        return open, ("executed", "w")


class _SavesAfterOneStep(pl.Callback):
    """Keeps the checkpoint of a training's first step in memory."""

    content = b""

    def on_train_batch_end(self, trainer: pl.Trainer, *rest: Any) -> None:
        if not self.content:
            with tempfile.TemporaryDirectory() as folder:
                trainer.save_checkpoint(Path(folder) / "x.ckpt")
                self.content = (Path(folder) / "x.ckpt").read_bytes()


@cache
def _fit() -> tuple[bytes, dict[str, torch.Tensor]]:
    """A checkpoint after the first of two steps, and the weights that the second one ends with."""
    data, saving = helpers.Blobs(), _SavesAfterOneStep()
    module = helpers.classifier(data)
    with redirect_stdout(io.StringIO()):
        helpers.trainer(1, max_steps=2, callbacks=[saving]).fit(module, data)
    return saving.content, helpers.weights(module)


def trained() -> bytes:
    """A checkpoint of a training's first step."""
    return _fit()[0]


@cache
def _content() -> dict[str, Any]:
    content: dict[str, Any] = torch.load(io.BytesIO(trained()), weights_only=True)
    return content


def packed(content: Any, legacy: bool = False) -> bytes:
    """What torch saves."""
    file = io.BytesIO()
    torch.save(content, file, _use_new_zipfile_serialization=not legacy)
    return file.getvalue()


_TENSORS = st.sampled_from(
    (
        *(
            torch.zeros(()),
            torch.zeros(1),
            torch.zeros(0),
            torch.full((3,), math.nan),
            torch.zeros(1).expand(10**6, 10**6),
        ),
        *(torch.zeros(3, dtype=kind) for kind in (torch.int64, torch.bool, torch.complex64, torch.bfloat16)),
        *(torch.eye(3).to_sparse(), torch.empty(2, device="meta")),
    )
)


@st.composite
def checkpoint_cases(draw: DrawFn) -> Case:
    match draw(st.sampled_from(("whole", "bytes", "bytes", "tree", "tree", "tree", "known", "known", "code", "other"))):
        case "whole":
            return Case({"x.ckpt": trained()}, valid=True)
        case "bytes":
            return Case({"x.ckpt": draw(damaged(trained()))})
        case "tree":
            return Case({"x.ckpt": _saved(draw(distorted(_content(), st.one_of(VALUES, _TENSORS))))})
        case "known":
            known = draw(distorted(_content()["semisup"], st.one_of(VALUES, _TENSORS)))
            return Case({"x.ckpt": _saved({**_content(), "semisup": known})})
        case "code":
            content = {**_content(), draw(st.sampled_from(tuple(_content()))): Opens()}
            kinds = (packed(content), packed(content, legacy=True), pickle.dumps(content), pickle.dumps(Opens()))
            return Case({"x.ckpt": draw(st.sampled_from(kinds))})
    return Case({"x.ckpt": draw(st.one_of(st.binary(), VALUES.map(_saved), _TENSORS.map(packed)))})


def _saved(content: Any) -> bytes:
    try:
        return packed(content)
    except (RuntimeError, NotImplementedError, UnicodeEncodeError):  # what can't be saved can't come in
        return b""


def check_checkpoint(case: Case) -> None:
    """Nothing runs; what is accepted predicts, and what is whole predicts as it did."""
    try:
        known, module = Classifier.saved(Path("x.ckpt")), Classifier.from_checkpoint(Path("x.ckpt"))
    finally:
        assert not Path("executed").exists()
    spec = module.spec
    assert type(known["epochs"]) is int
    images = torch.linspace(0, 1, 2 * spec.channels * spec.image_size**2)
    with torch.no_grad():
        logits = module.eval().evaluate(images.reshape(2, spec.channels, spec.image_size, spec.image_size))
    assert logits.shape == (2, len(spec.class_names))
    if case.valid:
        expected = _content()["state_dict"]
        assert helpers.same({k: v for k, v in module.state_dict().items() if k in expected}, expected)


def check_resumed_fit(case: Case) -> None:
    """A training goes on from a checkpoint as if it had not stopped, or not at all."""
    Classifier.saved(Path("x.ckpt"), sealed=True)
    data = helpers.Blobs()
    module = helpers.classifier(data)
    helpers.trainer(1, max_steps=2).fit(module, data, ckpt_path="x.ckpt", weights_only=True)
    assert helpers.same(helpers.weights(module), _fit()[1])


_NAMES = ("config.yaml", "metrics.csv", "confusion.csv", "predictions.csv", "environment.txt", "runs")
PROPERTIES = (
    Property("YAML", yaml_cases(), check_yaml, ("x.yaml",)),
    Property("a configuration", config_cases(), check_config, share=0.25),
    Property("runs to compare", run_cases(), check_comparison_of_runs, _NAMES, (FILE,), share=0.5),
    Property("a run to report", run_cases(), check_report_of_a_run, _NAMES),
    Property("a run to resume", run_cases(), check_resuming, share=0.25, keeps=("runs/*/.lock",)),
    Property("metrics.csv", metrics_cases(), check_metrics, ("metrics.csv",)),
    Property("comparison.json", comparison_cases(), check_comparison, ("comparison.json",)),
    Property("checkpoints", checkpoint_cases(), check_checkpoint, ("x.ckpt",)),
    Property("a checkpoint to go on from", checkpoint_cases(), check_resumed_fit, ("x.ckpt",), share=0.5),
)
