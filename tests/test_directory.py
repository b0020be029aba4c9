"""Run directories, checkpoints found by path, and what a run says of its environment."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from semisup.errors import InputError
from semisup.runs import directory as runs
from semisup.runs.redaction import redacted
from semisup.runtime.launch import ANSWER

NOON = time.struct_time((2025, 3, 9, 12, 0, 0, 6, 68, 0))


@pytest.fixture
def noon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every run starts in the same second."""
    real = time.strftime
    monkeypatch.setattr(runs.time, "strftime", lambda form, *args: real(form, NOON))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run directory with both checkpoints."""
    folder = tmp_path / "digits" / "supervised" / "20250309-120000-s0"
    (folder / "checkpoints").mkdir(parents=True)
    for name in ("best.ckpt", "last.ckpt"):
        (folder / "checkpoints" / name).touch()
    return folder


def test_a_run_directory_is_named_by_data_strategy_time_and_seed(tmp_path: Path) -> None:
    path = runs.new_run_dir(tmp_path / "runs", "stl10", "kmeans+pseudolabel", 3)
    assert path.is_dir()
    assert path.parent == tmp_path / "runs" / "stl10" / "kmeans+pseudolabel"
    assert re.fullmatch(r"\d{8}-\d{6}-s3", path.name)


@pytest.mark.usefixtures("noon")
def test_runs_of_the_same_second_do_not_share_a_directory(tmp_path: Path) -> None:
    names = [runs.new_run_dir(tmp_path, "digits", "supervised", 0).name for _ in range(3)]
    assert names == ["20250309-120000-s0", "20250309-120000-s0-2", "20250309-120000-s0-3"]


@pytest.mark.usefixtures("noon")
def test_runs_started_at_once_do_not_share_a_directory(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        paths = list(pool.map(lambda _: runs.new_run_dir(tmp_path, "digits", "supervised", 0), range(16)))
    assert len(set(paths)) == 16


CHILD = (
    "import sys; from pathlib import Path; from semisup.runs.directory import current_run_dir as c; "
    "print(c(Path('x'), 'd', 's', 0))"
)


def test_a_rank_takes_the_directory_of_the_rank_that_launched_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    monkeypatch.setenv(ANSWER, "")
    path = runs.current_run_dir(tmp_path, "digits", "supervised", 0)
    child = subprocess.run(
        [sys.executable, "-c", CHILD], env=os.environ | {"LOCAL_RANK": "1"}, capture_output=True, text=True
    )
    assert child.stdout.strip() == str(path)


@pytest.mark.parametrize("local_rank", [None, "0"])
def test_rank_0_does_not_believe_a_variable_left_in_the_shell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, local_rank: str | None
) -> None:
    stale = tmp_path / "stale"
    monkeypatch.setenv(ANSWER, f"{os.getppid()}:{stale}")
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    if local_rank:
        monkeypatch.setenv("LOCAL_RANK", local_rank)
    path = runs.current_run_dir(tmp_path, "digits", "supervised", 0)
    assert path.is_dir()
    assert path != stale
    assert os.environ[ANSWER] == f"{os.getpid()}:{path}"


@pytest.mark.parametrize("stale", ["", "1:/elsewhere"])
def test_a_rank_launched_by_something_else_is_an_error(monkeypatch: pytest.MonkeyPatch, stale: str) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setenv(ANSWER, stale)
    with pytest.raises(InputError, match=r"--trainer\.devices"):
        runs.current_run_dir(Path("x"), "digits", "supervised", 0)


def test_a_checkpoint_is_found_from_a_run_or_from_itself(run: Path) -> None:
    best, last = run / "checkpoints" / "best.ckpt", run / "checkpoints" / "last.ckpt"
    assert runs.find_checkpoint(run) == best
    assert runs.find_checkpoint(run / "checkpoints") == best
    assert runs.find_checkpoint(run, "last") == last
    assert runs.find_checkpoint(last) == last
    best.unlink()
    assert runs.find_checkpoint(run) == last
    last.rename(best)
    with pytest.raises(InputError, match=r"holds no checkpoints/last\.ckpt; found best\.ckpt; type the path"):
        runs.find_checkpoint(run, "last")


def test_a_checkpoint_that_is_not_there_is_an_error_that_helps(run: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere does not exist; type the path of a run directory"):
        runs.find_checkpoint(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"does not exist"):
        runs.find_checkpoint(tmp_path / "nowhere.ckpt")
    (run / "config.yaml").touch()
    with pytest.raises(InputError, match=r"config\.yaml is not a checkpoint"):
        runs.find_checkpoint(run / "config.yaml")
    later = run.with_name("20250310-120000-s0")
    (later / "checkpoints").mkdir(parents=True)
    with pytest.raises(InputError, match=rf"found 2 run\(s\) in it; name one of them, the newest is {later}"):
        runs.find_checkpoint(tmp_path)
    with pytest.raises(InputError, match=r"best\.ckpt or checkpoints/last\.ckpt; found checkpoints; type"):
        runs.find_checkpoint(later)


def test_the_run_that_a_path_belongs_to(run: Path, tmp_path: Path) -> None:
    assert runs.run_of(run) == run
    assert runs.run_of(run / "checkpoints") == run
    assert runs.run_of(run / "checkpoints" / "best.ckpt") == run
    assert runs.run_of(tmp_path / "alone.ckpt") is None


def test_writing_atomically_replaces_and_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.txt"
    runs.write_atomically(path, "one\n")
    runs.write_atomically(path, "zwö\n")
    assert path.read_bytes() == "zwö\n".encode()

    def fails(*_: object) -> None:
        raise OSError("disk")

    monkeypatch.setattr(runs.os, "replace", fails)
    with pytest.raises(OSError, match="disk"):
        runs.write_atomically(path, "three\n")
    assert path.read_bytes() == "zwö\n".encode()
    assert [child.name for child in tmp_path.iterdir()] == ["a.txt"]


SECRET = "5f" * 20


@pytest.mark.parametrize(
    ("word", "shown"),
    [
        (["--wandb.api_key", "abc", "--seed", "1"], ["--wandb.api_key", "***", "--seed", "1"]),
        (["--token=abc"], ["--token=***"]),
        (["WANDB_API_KEY=abc"], ["WANDB_API_KEY=***"]),
        (["--password", "--seed"], ["--password", "--seed"]),
        ([SECRET], ["***"]),
        ([f"--data.url=https://me:{SECRET[:9]}@host/x"], ["--data.url=https://***@host/x"]),
        (["hf_abcdefgh12"], ["***"]),
        (["--pseudolabel.top_k", "1000"], ["--pseudolabel.top_k", "1000"]),
        (["runs/stl10/kmeans+pseudolabel/20250309-120000-s0"], ["runs/stl10/kmeans+pseudolabel/20250309-120000-s0"]),
    ],
)
def test_secrets_are_redacted_and_nothing_else(word: list[str], shown: list[str]) -> None:
    assert redacted(word) == shown


def test_it_is_light() -> None:
    code = "import sys, semisup.runs.run, semisup.runs.statistics, semisup.tracking\n"
    code += "print({'torch', 'wandb', 'numpy', 'pydantic'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_a_folder_of_somebody_elses_checkpoints_makes_no_run_of_what_it_lies_in(tmp_path: Path) -> None:
    run = tmp_path / "runs/digits/supervised/20260101-120000-s0"
    (run / "checkpoints").mkdir(parents=True)
    (run / "config.yaml").write_text("strategy: supervised\n")
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints/last.ckpt").write_bytes(b"")
    assert [*runs.find_runs([tmp_path])] == [*runs.find_runs([tmp_path / "runs"])] == [run]
