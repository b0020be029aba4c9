"""A run is read in one place: what it was told, what it logged, what it came to, and how it stands."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
from comparable_runs import CLASSES, write_run

from semisup.errors import InputError
from semisup.runs.directory import find_runs
from semisup.runs.lock import LOCK, Holder, Lock
from semisup.runs.options import changed, identity, own_options, settle_places
from semisup.runs.run import Run


def test_what_a_run_says_is_what_its_files_say(tmp_path: Path) -> None:
    run = Run(write_run(tmp_path, "pseudolabel", 3, 4, 0.75, 0.5))
    assert (run.strategy, run.data, run.seed, run.labels_per_class) == ("pseudolabel", "digits", 3, 4)
    assert (run.finished, run.state, run.steps, run.epochs, run.seconds) == (True, "finished", 100, 2, 2.5)
    assert (run.accuracy("best", "test"), run.accuracy("last", "val")) == (75.0, 50.0)
    best, last = run.validation("best"), run.validation("last")
    assert best is not None and last is not None and (best["epoch"], last["epoch"]) == (0, 1)
    assert run.class_names == list(CLASSES) and run.confusion["3"] == [9, 0, 0, 27, 0, 0, 0, 0, 0, 0]
    assert run.test_images.startswith("360 (") and run.data_digest == "0123456789abcdef fedcba9876543210"
    assert [one.images["0"] for one in run.rounds] == [10, 11] and len(run.history) == 4
    assert own_options(run.options)["pseudolabel.threshold"] == 0.95 and "tracking.mode" not in run.options
    assert run.config["tracking"]["mode"] == "disabled"


def test_nothing_is_opened_before_it_is_asked_for(tmp_path: Path) -> None:
    run = Run(tmp_path / "pseudolabel" / "20260101-120000-s0")
    assert run.name == "pseudolabel/20260101-120000-s0" and run.metrics == [] and not run.finished
    assert (run.steps, run.epochs, run.validation("best"), run.scores, run.began) == (0, None, None, {}, {})
    with pytest.raises(InputError, match=r"it has no config\.yaml"):
        _ = run.strategy


def test_a_run_that_was_prolonged_after_its_end_is_not_finished(tmp_path: Path) -> None:
    """Until it is scored again: the scores on record are those of fewer epochs."""
    directory = write_run(tmp_path)
    with (directory / "metrics.csv").open("a") as file:
        file.write("2,149,0.1" + "," * ((directory / "metrics.csv").read_text().split("\n")[0].count(",") - 2) + "\n")
    run = Run(directory)
    assert not run.finished and run.scores == {} and run.seconds is None and (run.steps, run.epochs) == (150, 3)


def dead() -> int:
    """The number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_how_a_run_stands(tmp_path: Path) -> None:
    directory = write_run(tmp_path, finished=False)
    assert Run(directory).state == "failed"  # its process gave it up
    with Lock(directory / LOCK):
        assert Run(directory).state == "running"
        record = json.loads((directory / f"{LOCK}.json").read_text())
    assert Run(directory).state == "failed"
    (directory / f"{LOCK}.json").write_text(json.dumps(asdict(Holder(**{**record, "pid": dead(), "started": "0"}))))
    assert Run(directory).state == "killed"
    finished = write_run(tmp_path)
    (directory / f"{LOCK}.json").rename(finished / f"{LOCK}.json")
    assert Run(finished).state == "finished"


@pytest.mark.parametrize("words", ["a\n\nb", "a\nb: c", "plain"])
def test_a_command_of_several_lines_hides_no_fact_behind_it(words: str, tmp_path: Path) -> None:
    directory = write_run(tmp_path)
    path = directory / "environment.txt"
    command = f"command: /usr/bin/python -m semisup fit --tracking.notes '{words}'\n"
    lines = [command if x.startswith("command: ") else x for x in path.read_text().splitlines(keepends=True)]
    path.write_text("".join([*lines, "\n", "date: 2027-01-01\ndata: other other\n"]))
    run = Run(directory)
    assert run.data_digest == "0123456789abcdef fedcba9876543210" and len(run.environment) == 2
    assert run.began["command"].startswith("semisup fit --tracking.notes 'a" if words != "plain" else "semisup fit")


def test_of_runs_of_one_second_the_later_has_the_longer_name(tmp_path: Path) -> None:
    names = ["20260101-120001-s0", "20260101-120000-s0-10", "20260101-120000-s0-2", "20260101-120000-s0"]
    assert [run.name for run in sorted((Run(tmp_path / name) for name in names), key=lambda run: run.made)] == [
        f"{tmp_path.name}/{name}" for name in reversed(names)
    ]


def test_a_config_is_read_again_where_it_was_written_anew(tmp_path: Path) -> None:
    directory = write_run(tmp_path, seed=1)
    assert Run(directory).seed == 1
    (directory / "new").write_text((directory / "config.yaml").read_text().replace("\nseed: 1\n", "\nseed: 2\n"))
    os.replace(directory / "new", directory / "config.yaml")
    assert Run(directory).seed == 2


@pytest.mark.parametrize(
    "options",
    [
        ("--trainer.logger", "pytorch_lightning.loggers.CSVLogger", "--trainer.logger.save_dir", "x"),
        ("--trainer.profiler", "simple"),
        ("--data.eval_batch_size", "7", "--trainer.log_every_n_steps", "3", "--trainer.devices", "2"),
        ("--tracking.project", "other", "--model.compile", "true", "--trainer.accelerator", "cpu"),
    ],
)
def test_what_changes_no_result_is_one_table_for_comparing_and_resuming(
    options: tuple[str, ...], tmp_path: Path
) -> None:
    one, other = Run(write_run(tmp_path)), Run(write_run(tmp_path, options=options))
    assert one.options == other.options and one.config != other.config
    assert changed(one.config, other.config) == changed(other.config, one.config) == {}


def test_what_makes_another_run_of_one_that_goes_on() -> None:
    began = {"strategy": "fixmatch", "seed": 0, "data": {"name": "d", "root": "/a"}, "trainer": {"max_epochs": 3}}
    began |= {"lr_scheduler": {"name": "cosine"}, "model": {"token": "***"}}
    longer = {**began, "trainer": {"max_epochs": 9, "callbacks": ["x"]}, "model": {"token": "t"}, "new": {"x": 1}}
    assert changed(began, longer) == {"trainer.max_epochs": (3, 9)}
    constant = {"lr_scheduler": {"name": "constant"}}
    assert changed({**began, **constant}, {**longer, **constant}) == {}
    moved = {**began, "data": {"name": "d", "root": "/b", "labeled_in_unlabeled": True}}
    assert changed(began, moved) == {"data.labeled_in_unlabeled": (False, True), "data.root": ("/a", "/b")}
    assert identity(began)["data.labeled_in_unlabeled"] is False


def test_places_of_the_same_data_become_one() -> None:
    those = [{"data.root": root} for root in ("/b", "/a", "/c", "/a")]
    settle_places(those, ["1 2", "1 2", "", "3 2"])
    assert [its["data.root"] for its in those] == [
        "/a with the images 1",
        "/a with the images 1",
        "/c",
        "/a with the images 3",
    ]


def test_runs_are_found_once_however_they_are_named(tmp_path: Path) -> None:
    one, other = write_run(tmp_path), write_run(tmp_path, seed=1)
    assert find_runs([tmp_path, one / "metrics.csv", one]) == {one: True, other: False}
    with pytest.raises(InputError, match="is neither a run directory nor a file in one"):
        Run.of(tmp_path)
    assert Run.of(one / "checkpoints" / "best.ckpt").directory == one
