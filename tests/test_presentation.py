"""An outside strategy's figures, panels and report are seen wherever those of ours are; and what is wrong with one."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers import HANG, alone_with_wandb, install

from semisup import plugins
from semisup.cli.front import main
from semisup.figures import FIGURES, figures_of
from semisup.presentation import load
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


@pytest.mark.slow
def test_its_figures_are_drawn_among_those_of_the_framework(folder: Path) -> None:
    assert {path.stem for path in run_of(folder).glob("figures/*.png")} == {"bank-0-all", "bank-1-first"}
    names = {path.stem for path in folder.glob("report/figures/*/*.png")}
    assert {"bank-0-all", "bank-1-first", "terms", "filters", "confusion"} <= names
    assert not {"pseudolabels", "centroids", "targets"} & names  # others bring these, and a step logged no targets


def test_a_figure_of_a_framework_s_name_is_drawn_in_its_place() -> None:
    brought = load("outside:PRESENTATION")
    found = figures_of([brought])
    assert found["filters"].draw == "outside:draw_filters" and len(found) == len(FIGURES) + 2


@pytest.mark.slow
def test_the_live_log_has_its_pictures(folder: Path) -> None:
    logged = {path.name.rsplit("_", 2)[0] for path in run_of(folder).glob("wandb/*/files/media/images/figures/*.png")}
    assert {"bank-0-all", "bank-1-first", "embedding", "augmentations"} <= logged
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
