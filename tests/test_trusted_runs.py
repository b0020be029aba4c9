"""A run whose options name classes: which verbs go on with it, and where it may have things written."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from class_paths import MARK, NAMED, refused, was_imported, written
from short_fits import finished_run

from experiments.faults.strangers import set_options
from semisup.cli.config import parse
from semisup.cli.front import main

pytestmark = pytest.mark.usefixtures("mark")


# ---- verbs, on a run


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run."""
    return finished_run(tmp_path_factory.mktemp("finished"))


VERBS = ("predict --ckpt_path", "test --ckpt_path", "figures --only augmentations", "compare", "fit --resume")


def changed(finished: Path, tmp_path: Path, **options: Any) -> Path:
    """The run with other options in its config.yaml."""
    run = Path(shutil.copytree(finished, tmp_path / "runs" / "digits" / "supervised" / finished.name))
    set_options(run, **options)
    return run


@pytest.mark.parametrize("verb", VERBS)
def test_verbs_refuse_a_run_whose_options_are_classes(verb: str, finished: Path, mark: Path, tmp_path: Path) -> None:
    run = changed(finished, tmp_path, optimizer__lr=NAMED, data__root=NAMED)
    assert main([*verb.split(), str(run)]) == (0 if verb == "compare" else 2)  # it builds no data and no optimiser
    assert not mark.exists()


@pytest.mark.parametrize("verb", VERBS)
def test_verbs_that_only_read_take_nothing_from_the_trainer(
    verb: str, finished: Path, mark: Path, tmp_path: Path
) -> None:
    run = changed(finished, tmp_path, trainer__callbacks=[NAMED], trainer__logger=NAMED)
    (run / "config.yaml").write_text((run / "config.yaml").read_text() + f"trainer.profiler: {{class_path: {MARK}}}\n")
    assert main([*verb.split(), str(run)]) == (2 if verb == "fit --resume" else 0)
    assert not mark.exists()


def test_a_run_with_a_callback_of_its_own_goes_on_where_it_is_trusted(
    finished: Path, mark: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = changed(finished, tmp_path, trainer__callbacks=[{"class_path": MARK, "init_args": {"x": 1}}])
    assert main(["fit", "--resume", str(run)]) == 2
    said = capsys.readouterr().err
    assert f"asks to import {MARK}; type --trust" in said and not mark.exists()
    assert main(["fit", "--resume", str(run), "--trust"]) == 0
    assert was_imported(mark)


# ---- where a file lets things be written


@pytest.mark.parametrize(
    ("option", "value", "place"),
    [
        (
            "profiler",
            {"class_path": "SimpleProfiler", "init_args": {"dirpath": "/etc", "filename": "x"}},
            "dirpath /etc",
        ),
        ("profiler", {"class_path": "SimpleProfiler", "init_args": {"dirpath": "/etc"}}, "dirpath /etc"),
        ("profiler", {"class_path": "SimpleProfiler", "init_args": {"filename": "../../x"}}, "filename ../../x"),
        ("profiler", {"class_path": "AdvancedProfiler", "init_args": {"dirpath": "here"}}, "dirpath here"),
        ("logger", {"class_path": "CSVLogger", "init_args": {"save_dir": "~/x"}}, "save_dir ~/x"),
        ("logger", [{"class_path": "CSVLogger", "init_args": {"save_dir": "/tmp"}}], "save_dir /tmp"),
        ("logger", {"class_path": "CSVLogger", "init_args": {"save_dir": ".", "name": "/x"}}, "save_dir ."),
    ],
)
def test_a_file_sends_no_logger_and_no_profiler_out_of_the_run(
    option: str, value: Any, place: str, tmp_path: Path
) -> None:
    path = written({}, f"trainer.{option}", value, tmp_path / "x.yaml")
    said = refused("fit", "--config", str(path), "--trust")
    assert "outside the run" in said and f"type --trainer.{option}.{place}" in said


def test_their_places_can_be_typed_and_be_within_the_run(tmp_path: Path) -> None:
    csv = {"class_path": "CSVLogger", "init_args": {"save_dir": "/elsewhere"}}
    path = written({}, "trainer.logger", csv, tmp_path / "x.yaml")
    typed = ["--config", str(path), "--trust", "--trainer.logger.save_dir", str(tmp_path / "mine")]
    assert parse("fit", typed).trainer["logger"].save_dir == str(tmp_path / "mine")
    run = tmp_path / "run"
    csv["init_args"]["save_dir"] = str(run / "csv")  # type: ignore[index]
    written({}, "trainer.logger", csv, run / "config.yaml")
    assert parse("fit", ["--resume", str(run), "--trust"]).trainer["logger"].save_dir == str(run / "csv")


def test_what_a_profiler_writes_lies_in_the_run(finished: Path, tmp_path: Path) -> None:
    path = written({}, "trainer.profiler", "advanced", tmp_path / "x.yaml")
    words = "--data digits --data.steps_per_epoch 2 --model small --trainer.max_epochs 1 --tracking.mode disabled"
    csv = {"class_path": "AdvancedProfiler", "init_args": {"filename": "profile"}}
    written({}, "trainer.profiler", csv, path)
    before = {*tmp_path.iterdir()}
    cpu = ["--trainer.accelerator", "cpu", "--trainer.logger", "false"]
    assert main(["fit", "--config", str(path), "--trust", *words.split(), *cpu]) == 0
    (run,) = (tmp_path / "runs/digits/supervised").iterdir()
    assert {*tmp_path.iterdir()} - before == {tmp_path / "runs"}
    assert [*run.glob("fit-profile*.txt")]
