"""The dashboard against what real offline runs wrote for W&B, and against a server that stands in for W&B's."""

from __future__ import annotations

import csv
import json
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import wandb_workspaces.reports.v2 as wr
import wandb_workspaces.workspaces as ws
from comparable_runs import write_run
from dashboards import (
    GROUPS,
    RUNS,
    TINY,
    Record,
    copy,
    drawn,
    found,
    names_of,
    records,
    replace,
    shown,
    specification,
    without_ids,
)
from helpers import alone_with_wandb
from wandb_runs import KEY
from wandb_server import serving
from wandb_workspaces.reports.v2.internal import ReportViewspec
from wandb_workspaces.workspaces.internal import View

from semisup.cli.front import main
from semisup.dashboard import build, panels
from semisup.dashboard.differences import differences
from semisup.dashboard.runs import read
from semisup.dashboard.sweep import METRIC

pytestmark = pytest.mark.slow  # the runs take some seconds each


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with five finished runs, and the dashboard of them, to be read only."""
    folder = tmp_path_factory.mktemp("user")
    with alone_with_wandb(folder):
        for run in RUNS:
            assert main(["fit", *TINY.split(), *run.split()]) == 0
        assert main(["dashboard", "--out", "dashboard"]) == 0
    return folder


@pytest.fixture
def there(made: Path) -> Iterator[Path]:
    """In that folder."""
    with alone_with_wandb(made):
        yield made


@pytest.fixture(scope="module")
def logged(made: Path) -> list[list[Record]]:
    """What W&B's own files hold, a list of records for each run."""
    return [records(folder) for folder in sorted(made.glob("runs/digits/*/*/wandb/offline-run-*"))]


@pytest.mark.parametrize("name", ["workspace", "report"])
def test_no_panel_names_what_nobody_logged(name: str, made: Path, logged: list[list[Record]]) -> None:
    there = set.union(*map(names_of, logged))
    spec = specification(made, name)
    assert len(drawn(spec)) > 20
    assert shown(spec) <= there
    assert {"rounds", METRIC} - there == {"rounds"}  # the comparison can fail; and a sweep's metric is logged


def test_no_group_of_the_report_has_a_panel_that_none_of_its_runs_can_fill(
    made: Path, logged: list[list[Record]]
) -> None:
    of_group: dict[str, set[str]] = {}
    for run in logged:
        group = next(record["run"]["run_group"] for record in run if record["type"] == "run")
        of_group.setdefault(group, set()).update(names_of(run))
    assert sorted(of_group) == GROUPS
    grids = [block for block in specification(made, "report")["blocks"] if block["type"] == "panel-grid"]
    for grid in grids:
        groups = found(grid, "filters")[0]["filters"][0]["value"]
        assert drawn(grid) and shown(grid) <= set.union(*(of_group[group] for group in groups))


@pytest.mark.parametrize("name", ["workspace", "report"])
def test_everything_is_shown(name: str, made: Path) -> None:
    classes = {f"{prefix}/{k}" for prefix in ("best/test_accuracy", "pseudolabel/count") for k in range(10)}
    rounds = {f"pseudolabel/{what}" for what in ("precision", "utilisation", "balance")}
    pictures = {f"figures/{what}" for what in ("filters", "embedding", "augmentations", "pseudolabels", "calibration")}
    scalars = {"val/accuracy", "best/test_accuracy", "last/test_accuracy", "val/ece", "best/test_ece", "train/loss"}
    cost = {"images_per_second", "images", "seconds", "labels", "epoch", "trainer/global_step"}
    assert classes | rounds | pictures | scalars | cost <= shown(specification(made, name))


def test_a_rate_is_what_its_parts_give(logged: list[list[Record]]) -> None:
    for run in logged:
        *_, last = [record["history"]["item"] for record in run if record["type"] == "history"]
        assert last["images_per_second"] == pytest.approx(last["images"] / last["seconds"])


def test_groups_and_job_types_are_those_of_the_runs(made: Path, logged: list[list[Record]]) -> None:
    begun = [next(record["run"] for record in run if record["type"] == "run") for run in logged]
    assert [(run["run_group"], run["job_type"], run["display_name"]) for run in begun] == [
        ("digits-40", "pseudolabel", "pseudolabel-s0"),
        ("digits-40", "pseudolabel", "pseudolabel-s1"),
        ("digits-40", "supervised", "supervised-s0"),
        ("digits-40", "supervised", "supervised-s1"),
        ("digits-80", "supervised", "supervised-s0"),
    ]
    assert {(run["project"], *run["tags"]) for run in begun} == {
        ("semisup", "digits", "pseudolabel"),
        ("semisup", "digits", "supervised"),
    }
    (runs,) = found(specification(made, "workspace"), "runSets")[0]
    group, job_type = {"section": "run", "name": "group"}, {"section": "run", "name": "jobType"}
    assert runs["grouping"] == [group, job_type]
    assert [(f["key"], f["op"], f["value"]) for f in runs["filters"]["filters"]] == [(group, "IN", GROUPS)]
    columns = [name.removeprefix("summary:") for name in runs["runFeed"]["columnOrder"][1:]]
    assert columns == [*panels.COLUMNS]
    for run in logged:
        updates = [record["summary"]["update"] for record in run if record["type"] == "summary"]
        assert set(columns) <= {name for update in updates for name in update}


def test_bands_are_over_seeds_and_the_report_has_every_group(made: Path) -> None:
    blocks = specification(made, "report")["blocks"]
    titles = [block["children"][0]["text"] for block in blocks if block["type"] == "heading"]
    assert titles[:2] == ["Accuracy by number of labels", "digits-40"]
    sections = ["Accuracy", "Classes", "Pseudo-labels", "Calibration", "Training", "Throughput and cost", "Pictures"]
    short = [name for name in sections if name not in ("Pseudo-labels", "Training")]  # two steps, with no loss logged
    assert titles[2:] == [*sections, "digits-80", *short]
    grids = [block["metadata"] for block in blocks if block["type"] == "panel-grid"]
    of = [grid["runSets"][0]["filters"]["filters"][0]["value"] for grid in grids]
    assert of == [GROUPS] + [["digits-40"]] * 7 + [["digits-80"]] * 5
    pooled, *others = [panel for grid in grids for panel in grid["panelBankSectionConfig"]["panels"]]
    assert pooled["config"]["groupBy"] == "jobType" and pooled["config"]["xAxis"] == "labels"
    lines = [p["config"] for p in (pooled, *others) if p["viewType"] in ("Run History Line Plot", "Bar Chart")]
    assert {(line["groupAgg"], line["groupArea"]) for line in lines} == {("mean", "stddev")}
    for grid in grids:
        pictures = all(p["viewType"] == "Media Browser" for p in grid["panelBankSectionConfig"]["panels"])
        assert [key["name"] for key in grid["runSets"][0]["grouping"]] == ([] if pictures else ["jobType"])
        places = [tuple(p["layout"].values()) for p in grid["panelBankSectionConfig"]["panels"]]
        assert len(set(places)) == len(places) and all(x + w <= 24 for x, _, w, _ in places)


def test_the_files_are_wandb_workspaces_own(made: Path) -> None:
    text = (made / "dashboard" / "workspace.json").read_text()
    assert build.as_json(ws.Workspace._from_model(View.model_validate_json(text))) == text
    text = (made / "dashboard" / "report.json").read_text()
    document = ReportViewspec.model_validate_json(text)
    again = wr.Report._from_model(document)
    again.width = document.spec.width  # which the package forgets
    assert without_ids(json.loads(build.as_json(again))) == without_ids(json.loads(text))


def test_differences_are_those_of_the_confusion_tables(made: Path) -> None:
    def accuracy(strategy: str, seed: int) -> list[float]:
        (path,) = [p for p in made.glob(f"runs/digits/{strategy}/*-s{seed}/confusion.csv") if is_of_40(p.parent)]
        with path.open(newline="") as file:
            rows = [[int(count) for count in counts] for _, *counts in list(csv.reader(file))[1:]]
        return [row[k] / sum(row) for k, row in enumerate(rows)]

    def is_of_40(run: Path) -> bool:
        return "labels_per_class: 4\n" in (run / "config.yaml").read_text()

    arms = [[accuracy(strategy, seed) for seed in (0, 1)] for strategy in ("pseudolabel", "supervised")]
    expected = [statistics.fmean(ours[k] - theirs[k] for ours, theirs in zip(*arms, strict=True)) for k in range(10)]
    blocks = specification(made, "report")["blocks"]
    (table,) = [block["content"] for block in blocks if block["type"] == "markdown-block"]
    title, _, head, _, *lines = table.splitlines()
    assert title.startswith("Difference to supervised in percentage points of test accuracy")
    assert head == "| class | pseudolabel (2 seeds) |"
    assert lines == [f"| {k} | {100 * value:+.1f} |" for k, value in enumerate(expected)]
    assert any(abs(value) > 0.001 for value in expected)
    panel = [panel["config"] for panel in drawn(specification(made, "workspace")) if "Markdown" in panel["viewType"]]
    assert panel == [{"value": f"**digits-40**\n\n{table}"}]


def test_without_another_strategy_there_is_no_difference_and_no_round(there: Path) -> None:
    runs = read(there.glob("runs/digits/supervised/*"))
    assert len(runs) == 3 and differences(runs) == ""
    names = [section.name for section in panels.shown(name for run in runs for name in run.names)]
    assert "Pseudo-labels" not in names and names[:3] == ["Accuracy by number of labels", "Accuracy", "Classes"]


def test_offline_it_says_what_to_type_later(there: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = sorted(str(path.relative_to(there)) for path in there.glob("runs/digits/*/*/wandb/offline-run-*"))
    mark = there / folders[0] / "run-x.wandb.synced"
    mark.touch()
    try:
        assert main(["dashboard", "runs/digits", "--project", "other", "--out", "elsewhere"]) == 0
    finally:
        mark.unlink()
    *files, head, login, sync, again = capsys.readouterr().out.splitlines()
    assert files == ["elsewhere/workspace.json", "elsewhere/report.json"]
    assert head == "W&B: not logged in to https://api.wandb.ai, so nothing is saved there; later:"
    assert login == "  wandb login"
    assert sync.startswith("  wandb sync ") and sorted(sync.split()[2:]) == folders[1:]
    assert again.endswith("semisup dashboard runs/digits --project=other --out=elsewhere")
    assert json.loads(Path("elsewhere/workspace.json").read_text())["project"] == "other"
    assert sorted(path.name for path in Path("elsewhere").glob("*.json")) == ["report.json", "workspace.json"]


def test_online_it_saves_both_and_says_where(
    there: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(monkeypatch) as (server, url):
        assert main(["dashboard", "--out", "online"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert server.projects == [{"entityName": "me", "name": "semisup"}]
    report, workspace = server.views
    for name, view, kind in (("report", report, "runs"), ("workspace", workspace, "project-view")):
        text = json.loads(Path(f"online/{name}.json").read_text())
        assert json.loads(view["spec"]) == text["spec"]
        assert (view["entityName"], view["projectName"]) == ("me", "semisup")
        assert (view["displayName"], view["type"]) == ("semisup digits", kind)
    assert lines[2].startswith(f"workspace: {url}/me/semisup?nw=")
    assert lines[3] == f"report: {url}/me/semisup/reports/semisup-digits--Vmlldzo1"
    assert lines[4] == "W&B: 5 of the runs were logged offline, and show when they are uploaded:"
    assert lines[5].startswith("  wandb sync runs/digits/") and len(lines) == 6


def test_a_server_that_refuses_leaves_the_files(
    there: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(monkeypatch, refuses=True) as (_, url):
        assert main(["dashboard", "--out", "refused"]) == 0
        out = capsys.readouterr().out
        assert main(["dashboard", "--out", "refused", "--mode", "online"]) == 2
    assert f"W&B: {url} fails (" in out and "semisup dashboard --out=refused" in out and KEY not in out
    assert capsys.readouterr().err.startswith(f"semisup: error: --mode online: {url} fails (")
    assert sorted(path.name for path in Path("refused").glob("*.json")) == ["report.json", "workspace.json"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--mode", "online"],
            "--mode online: not logged in to https://api.wandb.ai; type: wandb login, or --mode auto",
        ),
        (["nowhere"], "nowhere does not exist; type the path of a run directory"),
        (["--mode", "offline", "--out", "netrc"], "netrc is a file; type --out with the name of a folder"),
        (["--mode", "both"], "argument --mode: invalid choice: 'both'"),
    ],
)
def test_what_is_wrong_is_said(
    arguments: list[str], message: str, there: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("netrc").touch()
    before = sorted(there.rglob("*.json"))
    assert main(["dashboard", *arguments]) == 2
    assert message in capsys.readouterr().err
    assert sorted(there.rglob("*.json")) == before


def test_without_the_package_it_says_what_to_install(
    there: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "wandb_workspaces", None)  # type: ignore[arg-type]
    assert main(["dashboard"]) == 2
    expected = "semisup dashboard needs wandb-workspaces; type: pip install 'semisup[dashboard]'"
    assert capsys.readouterr().err == f"semisup: error: {expected}\n"


def test_runs_that_can_not_be_shown_together(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with alone_with_wandb(tmp_path):
        untracked = write_run(tmp_path / "runs", "supervised")
        assert main(["dashboard"]) == 2
        said = capsys.readouterr()
        assert said.out == f"left out {untracked.relative_to(tmp_path)}: it was not logged to W&B\n"
        assert "there is no run to show; train one: semisup fit" in said.err

        one, other, unfinished = (copy(made, tmp_path / "runs" / name) for name in ("one", "other", "unfinished"))
        foreign = copy(made, tmp_path / "foreign")
        replace(other / "config.yaml", "project: semisup", "project: theirs")
        replace(foreign / "config.yaml", "name: digits", "name: stl10")
        metrics = (unfinished / "metrics.csv").read_text().splitlines(keepends=True)
        (unfinished / "metrics.csv").write_text("".join(metrics[:-1]))
        assert main(["dashboard"]) == 2
        said = capsys.readouterr()
        assert "left out runs/unfinished: it has not finished\n" in said.out
        assert "the runs are of several W&B projects (semisup, theirs); type --project semisup" in said.err
        assert main(["dashboard", "--project", "ours"]) == 0
        assert main(["dashboard", str(one), str(foreign)]) == 2
        assert "the runs are of several datasets (digits, stl10); type the runs of one" in capsys.readouterr().err
