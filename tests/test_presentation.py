"""An outside strategy's figures, panels and report are seen wherever those of ours are; what is logged has a panel."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers import HANG, Blobs, alone_with_wandb, install, trainer
from methods import NAMES, parts

from semisup import figures, plugins
from semisup.classifier import Classifier
from semisup.cli.front import main
from semisup.composition import Composition
from semisup.dashboard.panels import shown
from semisup.errors import InputError
from semisup.figures import FIGURES, figures_of
from semisup.figures.lines import lines
from semisup.presentation import EPOCH, Figure, Panel, line, load
from semisup.runs.reading import read_metrics

RUN = (
    "fit --strategy everything --data blobs --trainer.max_epochs 2 "
    "--trainer.log_every_n_steps 1 --trainer.accelerator cpu --trainer.devices 1 --tracking.mode offline"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a run of a strategy that another package brings, its figures, a report and a dashboard."""
    folder = tmp_path_factory.mktemp("user")
    with alone_with_wandb(folder), pytest.MonkeyPatch.context() as patch:
        brought = {"everything": (plugins.STRATEGIES, "outside:Everything")}
        install(patch, blobs=(plugins.DATAMODULES, "helpers:Blobs"), **brought)
        quick = [one for one in FIGURES if one.name not in ("embedding", "calibration")]
        patch.setattr(figures, "FIGURES", quick)
        for line in (
            RUN,
            "figures RUN --only bank",
            "report RUN --out report",
            "dashboard --mode offline --out dashboard",
        ):
            assert main([str(*Path().glob("runs/*/*/*")) if word == "RUN" else word for word in line.split()]) == 0
        yield folder


def run_of(folder: Path) -> Path:
    (run,) = folder.glob("runs/*/*/*")
    return run


@pytest.mark.parametrize("name", NAMES)
def test_what_a_strategy_logs_in_its_steps_has_a_panel_and_what_its_targets_are_worth_a_figure(name: str) -> None:
    data, composed = Blobs(steps_per_epoch=1), parts(name)
    module = Classifier(data.spec, Composition(composed))
    fitting = trainer(1, log_every_n_steps=1, limit_val_batches=0)
    fitting.fit(module, data)
    logged = [metric for metric in fitting.callback_metrics if not metric.endswith(("_step", "_epoch"))]
    brought = [load(part.presentation) for part in composed.values()]
    panels = {metric for section in shown(logged, brought) for panel in section.panels for metric in panel.names}
    own = {metric for metric in logged if metric.startswith("train/")}
    assert own and own <= panels
    drawn = figures_of(brought)["targets"].panels
    worth = {"train/precision", "train/utilisation", "train/balance", "train/threshold", "train/confident"} & own
    assert {metric for panel in drawn if (there := panel.of(logged)) for metric in there.metrics} == worth


@pytest.mark.slow
def test_its_figures_are_drawn_among_those_of_the_framework(folder: Path) -> None:
    assert {path.stem for path in run_of(folder).glob("figures/*.png")} == {"bank-0-all", "bank-1-first"}
    names = {path.stem for path in folder.glob("report/figures/*/*.png")}
    assert {"bank-0-all", "bank-1-first", "terms", "filters", "confusion"} <= names
    assert not {"pseudolabels", "centroids", "targets"} & names  # others bring these, and a step logged no targets


def test_a_figure_of_a_framework_s_name_is_drawn_in_its_place() -> None:
    brought = load("outside:PRESENTATION")
    found = figures_of([brought])
    assert found["filters"].draw == "outside:draw_filters" and len(found) == len(figures.FIGURES) + 2


@pytest.mark.slow
def test_the_live_log_has_its_pictures(folder: Path) -> None:
    logged = {path.name.rsplit("_", 2)[0] for path in run_of(folder).glob("wandb/*/files/media/images/figures/*.png")}
    assert {"bank-0-all", "bank-1-first", "augmentations"} <= logged
    assert "terms" not in logged  # W&B draws these lines itself


@pytest.mark.slow
def test_the_dashboard_has_its_panels(folder: Path) -> None:
    spec = json.loads((folder / "dashboard" / "workspace.json").read_text())["spec"]
    sections = {one["name"]: one["panels"] for one in spec["section"]["panelBankConfig"]["sections"] if one["panels"]}
    (panel,) = sections["Mine"]
    assert panel["config"]["chartTitle"] == "Unlabeled images" and panel["config"]["metrics"] == ["train/unsupervised"]
    media = {panel["config"]["chartTitle"]: panel["config"]["mediaKeys"] for panel in sections["Pictures"]}
    assert media["Memory bank"] == ["figures/bank-0-all", "figures/bank-1-first"]


@pytest.mark.slow
def test_the_report_has_its_section_figures_and_last_values(folder: Path) -> None:
    text = (folder / "report" / "report.md").read_text()
    last = [row["train/unsupervised"] for row in read_metrics(run_of(folder)) if "train/unsupervised" in row][-1]
    assert "## Strategies\n" in text and "The bank holds 30 keys." in text
    assert f"| loss of the unlabeled images | {last:.4g} |" in text
    for caption in ("The memory bank, a row for each key, all", "Filters, and their negatives", "The terms"):
        assert caption in text


def test_it_is_listed_without_being_imported() -> None:
    """Nor is torch, nor what draws, nor W&B."""
    code = """
import sys
from semisup.cli.figures import captions
names = captions()
assert {"filters", "centroids", "surrogate", "pseudolabels", "targets", "curves"} <= names.keys(), names
assert not {"torch", "matplotlib", "wandb", "strategies.kmeans"} & sys.modules.keys()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=HANG)
    assert done.returncode == 0, done.stderr


def test_lines_are_the_metrics_over_steps_or_epochs() -> None:
    metrics = [{"epoch": k // 2, "step": 10 * k, "train/a": k / 10, "train/b/x": -1.0} for k in range(4)]
    metrics += [{"epoch": 1, "step": 39, "count/one": 3.0}, {"step": 40, "train/a": 9.0}]
    panels = [line("A", "train/*"), line("Nobody's", "other"), line("B", "count/*", x=EPOCH)]
    first, second = lines(panels, metrics).axes
    assert [axes.get_title("left") for axes in (first, second)] == ["A", "B"]
    drawn = {one.get_label(): (list(one.get_xdata()), list(one.get_ydata())) for one in first.lines}
    assert drawn == {"a": ([1, 11, 21, 31, 41], [0, 0.1, 0.2, 0.3, 9]), "b/x": ([1, 11, 21, 31], [-1] * 4)}
    (one,) = second.lines
    assert (list(one.get_xdata()), list(one.get_ydata()), second.get_xlabel()) == ([2], [3], "epochs")
    assert [text.get_text() for text in first.get_legend().get_texts()] == ["a", "b/x"]
    with pytest.raises(InputError, match="the run logged none of other, another"):
        lines([line("Nobody's", "other", "another")], metrics)


def test_a_panel_shows_what_was_logged_of_it() -> None:
    logged = ["a/one", "a/two", "b"]
    assert line("A", "b", "a/*").of(logged) == line("A", "b", "a/one", "a/two")
    assert line("A", "c*").of(logged) is None
    assert Panel("scatter", "A", ("b",), "c").of(logged) is None and Panel("scatter", "A", ("b",), "a/one").of(logged)


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("nowhere_at_all:PRESENTATION", "nowhere_at_all:PRESENTATION can't be imported: ModuleNotFoundError"),
        ("outside:WIDTH", "outside:WIDTH is no semisup.presentation.Presentation but 5"),
    ],
)
def test_a_presentation_that_is_wrong_is_left_out_in_one_line(
    target: str, words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(plugins.source, "attribute", lambda strategy, name: target)
    assert plugins.presentations(["supervised", "supervised"]) == {}
    assert capsys.readouterr().out.startswith(f"left out the figures of supervised: {words}")


def test_a_figure_s_name_is_one_of_files() -> None:
    with pytest.raises(InputError, match="a figure is named 'a/b'; type letters, digits and underscores"):
        Figure("a/b", "")
