"""What W&B would upload of a run: its figures and its names, of a resumed and of a failed run too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from wandb_runs import CONFIG, history, inspect, loggers_of, wandb_of

from semisup.cli.config import parse
from semisup.errors import InputError
from semisup.runs.reading import read_metrics
from semisup.tracking import TrackingOptions, finish, make_loggers

pytestmark = pytest.mark.usefixtures("without_login")


# W&B


def test_an_offline_run_says_what_was_logged_and_a_resume_goes_on(
    run_dir: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for steps in ([0, 1], [2]):  # the second time, the run is resumed
        loggers = loggers_of(run_dir, TrackingOptions("offline", project="demo"))
        for step in steps:
            for logger in loggers:
                logger.log_metrics({"epoch": 0, "loss": 1 / (step + 3)}, step)
        loggers[1].log_image("samples", [np.zeros((8, 8, 3), np.uint8)], step=steps[-1])  # type: ignore[attr-defined]
        loggers[1].experiment.summary["test/acc"] = 0.75  # type: ignore[attr-defined]
        finish(loggers)
    assert capfd.readouterr() == ("", "")

    first, second = (inspect(folder) for folder in sorted((run_dir / "wandb").glob("offline-run-*")))
    for records in (first, second):
        run = next(record["run"] for record in records if record["type"] == "run")
        assert run["project"] == "demo"
        assert run["run_group"] == "digits-100"
        assert run["job_type"] == "kmeans+pseudolabel"
        assert run["display_name"] == "kmeans+pseudolabel-s3"
        assert run["tags"] == ["t1", "t2"]
        assert run["resume"] is True
        assert run["run_id"] == (run_dir / "wandb_id.txt").read_text().strip()
        config = run["config"]["update"]
        assert {name: config[name] for name in CONFIG} == CONFIG
        summary: dict[str, Any] = {}
        for record in records:
            summary |= record.get("summary", {}).get("update", {})
        assert summary["test/acc"] == 0.75
        assert [record["exit"]["exit_code"] for record in records if record["type"] == "exit"] == [0]
    assert history(first, "trainer/global_step", "loss") == [(0, 1 / 3), (1, 1 / 4)]
    assert history(second, "trainer/global_step", "loss") == [(2, 1 / 5)]
    assert [row["loss"] for row in read_metrics(run_dir)] == [1 / 3, 1 / 4, 1 / 5]
    assert len(list((run_dir / "wandb").glob("offline-run-*/files/media/images/samples*.png"))) == 2


def started(run_dir: Path, options: TrackingOptions) -> dict[str, Any]:
    """What W&B is told of a run when it starts."""
    loggers = loggers_of(run_dir, options)
    loggers[1].log_metrics({"loss": 1.0}, 0)
    finish(loggers)
    records = inspect(max((run_dir / "wandb").glob("offline-run-*")))
    return dict(next(record["run"] for record in records if record["type"] == "run"))


NAMED = {
    "project": "p",
    "entity": "e",
    "display_name": "n",
    "notes": "x y",
    "run_group": "g",
    "tags": ["a", "b c"],
}
VARIABLES = {"PROJECT": "p", "ENTITY": "e", "NAME": "n", "NOTES": "x y", "RUN_GROUP": "g", "TAGS": "a, b c"}


def test_wandbs_variables_win_over_our_defaults(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in VARIABLES.items():
        monkeypatch.setenv(f"WANDB_{name}", value)
    monkeypatch.setenv("WANDB_JOB_TYPE", "j")
    said = started(run_dir, TrackingOptions("offline"))
    assert {name: said[name] for name in NAMED} == NAMED and said["job_type"] == "j"


def test_options_win_over_wandbs_variables(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.setenv(f"WANDB_{name}", "of the environment")
    flags = [f"--tracking.{name}={value}" for name, value in (("project", "p"), ("entity", "e"), ("name", "n"))]
    flags += ["--tracking.notes=x y", "--tracking.group=g", "--tracking.tags=a, b c", "--tracking.mode=offline"]
    parsed = parse("fit", ["--data", "digits", *flags])
    said = started(run_dir, parsed.tracking)
    assert {name: said[name] for name in NAMED} == NAMED
    assert parse("fit", ["--data", "digits", "--tracking.tags=[a, b c]"]).tracking.tag_list == ["a", "b c"]


def test_a_resumed_run_stays_where_it_began(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_PROJECT", "first")
    (run_dir / "config.yaml").write_text(parse("fit", ["--data", "digits"]).yaml)
    (run_dir / "checkpoints").mkdir()
    monkeypatch.setenv("WANDB_PROJECT", "second")
    assert parse("fit", ["--data", "digits"]).tracking.project == "second"
    assert parse("fit", ["--resume", str(run_dir)]).tracking.project == "first"


def test_a_tag_that_wandb_refuses_is_told_and_none_of_ours_is_one(run_dir: Path) -> None:
    with pytest.raises(InputError, match="WANDB_TAGS: W&B takes tags of at most 64 characters, not 'xxx"):
        TrackingOptions(tags="a," + "x" * 65)
    logger = make_loggers(TrackingOptions("offline"), run_dir, "d", "1", "s", 0, {}, ["x" * 65, "", "y" * 64])[1]
    assert logger._wandb_init["tags"] == ["y" * 64]  # type: ignore[attr-defined]


def test_two_runs_have_two_ids_whatever_the_seed(tmp_path: Path) -> None:
    ids = set()
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        torch.manual_seed(0)
        ids.add(wandb_of(tmp_path / name).version)
    assert len(ids) == 2


def test_a_failed_run_is_marked_as_failed(run_dir: Path) -> None:
    logger = wandb_of(run_dir)
    logger.log_metrics({"loss": 1.0}, 0)
    finish([logger], exit_code=1)
    records = inspect(next((run_dir / "wandb").glob("offline-run-*")))
    assert [record["exit"]["exit_code"] for record in records if record["type"] == "exit"] == [1]


def test_a_run_left_over_from_a_failure_gets_nothing_of_the_next_one(tmp_path: Path, run_dir: Path) -> None:
    (tmp_path / "failed").mkdir()
    failed = make_loggers(TrackingOptions("offline"), tmp_path / "failed", "digits", "all", "supervised", 0, {}, [])[1]
    failed.log_metrics({"loss": 9.0}, 0)
    logger = wandb_of(run_dir)
    logger.log_metrics({"loss": 1.0}, 0)
    finish([logger])
    assert history(inspect(next((run_dir / "wandb").glob("offline-run-*"))), "loss") == [(1.0,)]
    assert history(inspect(next((tmp_path / "failed" / "wandb").glob("offline-run-*"))), "loss") == [(9.0,)]


def test_what_is_logged_after_the_end_goes_nowhere(run_dir: Path) -> None:
    logger = wandb_of(run_dir)
    finish([logger])  # nothing was logged, so nothing was started
    logger.log_metrics({"loss": 1.0}, 0)
    assert not (run_dir / "wandb").exists()
