"""Whatever lies in a run's file's place, no reader waits for it, follows it out of the run, or fills memory with it."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from short_fits import finished_run

from semisup.cli.front import main
from semisup.errors import InputError
from semisup.runs import run_files


def pipe(path: Path) -> None:
    os.mkfifo(path)


def endless(path: Path) -> None:
    path.symlink_to("/dev/zero")


def terminal(path: Path) -> None:
    path.symlink_to("/dev/tty")


def out_of_the_run(path: Path) -> None:
    other = path.parents[3] / "secret"
    other.write_text("strategy: fixmatch\n")
    path.symlink_to(other)


def to_nothing(path: Path) -> None:
    path.symlink_to("nowhere")


def around(path: Path) -> None:
    path.symlink_to(path.name)


def large(path: Path) -> None:
    """A hole of a terabyte."""
    with path.open("wb") as file:
        file.truncate(1 << 40)


def listening(path: Path) -> None:
    here = os.getcwd()
    os.chdir(path.parent)  # the address of a socket must be short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path.name)
    os.chdir(here)


KINDS: dict[str, tuple[Callable[[Path], None], str]] = {
    "a pipe": (pipe, "is not a regular file but a pipe"),
    "a folder": (Path.mkdir, "is not a regular file but a folder"),
    "a socket": (listening, "is not a regular file but a socket"),
    "an endless device": (endless, "is not a regular file but a device"),
    "a terminal": (terminal, "is not a regular file but a device"),
    "a link out": (out_of_the_run, "is a link that leads out of its run"),
    "a link to nothing": (to_nothing, "can't be read (No such file"),
    "a link to itself": (around, "can't be read (Too many levels"),
    "a hole of a terabyte": (large, "has 1,099,511,627,776 bytes"),
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run."""
    run = finished_run(tmp_path_factory.mktemp("finished"))
    (run / "wandb_id.txt").write_text("abcd1234\n")
    return run


@pytest.fixture
def run(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return Path(shutil.copytree(finished, tmp_path / "runs" / "digits" / "supervised" / finished.name))


def replaced(path: Path, kind: str) -> str:
    """Puts something else in the place of a file, and returns what must be said of it."""
    path.unlink()
    make, said = KINDS[kind]
    make(path)
    return said


@pytest.mark.parametrize("kind", KINDS)
def test_only_regular_files_of_the_run_are_opened(kind: str, run: Path) -> None:
    path = run / "metrics.csv"
    assert run_files.content(path).startswith(b"epoch,step,")
    said = replaced(path, kind)
    assert run_files.is_there(path)
    with pytest.raises(InputError) as caught:
        run_files.content(path)
    assert said in str(caught.value) and str(path) in str(caught.value)


def test_a_link_within_the_run_and_a_run_that_is_a_link_are_as_good(run: Path, tmp_path: Path) -> None:
    text = (run / "metrics.csv").read_bytes()
    (run / "metrics.csv").rename(run / "kept")
    (run / "metrics.csv").symlink_to("kept")
    (tmp_path / "again").symlink_to(run)
    assert run_files.content(run / "metrics.csv") == text == run_files.content(tmp_path / "again" / "metrics.csv")


def test_a_folder_of_checkpoints_that_leads_out_of_the_run_is_refused(run: Path, tmp_path: Path) -> None:
    (run / "checkpoints").rename(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "environment.txt").touch()
    (run / "checkpoints").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="out of its run"), run_files.opened(run / "checkpoints" / "best.ckpt"):
        pass


@pytest.mark.parametrize("name", ["checkpoints", "model_checkpoints", "wandb", "tensorboard"])
def test_a_run_that_goes_on_writes_and_removes_nothing_out_of_it(
    name: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "elsewhere").mkdir()
    shutil.copy(run / "checkpoints" / "last.ckpt", tmp_path / "elsewhere/mine.ckpt")
    for left in ("mine.temporary", ".mine.tmp"):  # as the names of half-written ones end
        (tmp_path / "elsewhere" / left).touch()
    before = sorted((tmp_path / "elsewhere").iterdir())
    if name == "checkpoints":
        shutil.rmtree(run / "checkpoints")
    (run / name).symlink_to(tmp_path / "elsewhere")
    for resume in (str(run), str(tmp_path / "again")):
        (tmp_path / "again").exists() or (tmp_path / "again").symlink_to(run)
        assert main(["fit", "--resume", resume]) == 2
        assert f"{name} is a link that leads out of its run, to {tmp_path / 'elsewhere'}" in capsys.readouterr().err
    assert sorted((tmp_path / "elsewhere").iterdir()) == before


def test_a_run_that_has_lost_its_options_does_not_go_on_with_others(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (run / "config.yaml").unlink()
    options = ["--data", "digits", "--tracking.mode", "disabled", "--trainer.max_epochs", "1", "--model", "small"]
    before = (run / "metrics.csv").read_bytes()
    assert main(["fit", "--resume", str(run), *options]) == 2
    assert "has a checkpoint and no config.yaml, so nobody knows how it was trained" in capsys.readouterr().err
    assert (run / "metrics.csv").read_bytes() == before


def test_a_checkpoint_that_lies_in_no_run_may_be_a_link(run: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "x.ckpt").symlink_to(run / "checkpoints" / "best.ckpt")
    with run_files.opened(tmp_path / "mine" / "x.ckpt") as file:
        assert file.read(2) == b"PK"


def test_what_grows_while_it_is_read_is_read_no_further(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x").write_bytes(bytes(11))
    assert run_files.content(tmp_path / "x", 11) == bytes(11)
    monkeypatch.setattr(run_files, "_check", lambda *_: None)  # it was smaller then
    with pytest.raises(InputError, match="more than 10 bytes"):
        run_files.content(tmp_path / "x", 10)


READERS = {
    "config.yaml": ("fit --resume", "predict --ckpt_path", "test --ckpt_path", "report", "compare", "dashboard"),
    "metrics.csv": ("fit --resume", "report", "compare", "dashboard", "figures --only curves"),
    "environment.txt": ("fit --resume", "report", "compare"),
    "wandb_id.txt": ("fit --tracking.mode offline --resume", "dashboard"),
    "predictions.csv": ("compare",),
    "confusion.csv": ("compare",),
    "checkpoints/best.ckpt": (
        "predict --ckpt_path",
        "test --ckpt_path",
        "validate --ckpt_path",
        "figures --only filters",
    ),
    "checkpoints/last.ckpt": ("fit --resume",),
}


@pytest.mark.parametrize("verb", ["test", "validate", "predict", "fit --resume"])
def test_a_number_in_the_place_of_an_option_is_one_line(
    verb: str, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with (run / "config.yaml").open("a") as file:
        file.write("1: 2\n")
    assert main([*verb.split(), str(run)]) == 2
    said = capsys.readouterr().err
    assert "config.yaml" in said and "option" in said and said.count("\n") == 1


@pytest.mark.parametrize("kind", ["a pipe", "an endless device", "a link out", "a folder"])
@pytest.mark.parametrize(("name", "verb"), [(name, verb) for name, verbs in READERS.items() for verb in verbs])
def test_every_verb_refuses_them(
    name: str, verb: str, kind: str, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if verb == "dashboard":
        pytest.importorskip("wandb_workspaces")
    if name == "checkpoints/last.ckpt":  # the best one would serve as well
        (run / "checkpoints" / "best.ckpt").unlink()
    said = replaced(run / name, kind)
    words = [*verb.split(), str(run)]
    code = main([*words, "--mode", "offline"] if verb == "dashboard" else words)
    printed = "".join(capsys.readouterr())
    assert code == 2 and said in printed, printed
    assert not (run / "metrics.csv").is_file() or (run / "metrics.csv").stat().st_size < 10_000
