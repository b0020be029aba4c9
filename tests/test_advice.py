"""What is printed to be pasted into a shell comes to the words that were meant, whatever paths are called."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from datamodules import mnist, stl10_files
from semisup.cli import resolve_data
from semisup.cli.front import main
from semisup.compare.grid import Job, fit_command
from semisup.compare.processes import Task
from semisup.errors import InputError
from semisup.runs.directory import WriteError, find_checkpoint, writing
from semisup.runs.environment import fit_command as recorded
from semisup.runtime.console import typed
from semisup.tracking.guarded_wandb import GuardedWandb

NAMES = ("a  b", "it's", 'say "hi"', "$HOME `id`", "two\nlines", "-rf", "~root", "a;b & c", "猫\u202e")
SMALL = ["--data", "digits", "--data.labels_per_class", "2", "--data.batch_size", "4", "--data.steps_per_epoch", "1"]
SMALL += ["--trainer.max_epochs", "1", "--trainer.accelerator", "cpu", "--tracking.mode", "disabled"]


def words(command: str) -> list[str]:
    """What a shell makes of a command."""
    done = subprocess.run(["bash", "-c", f"printf '%s\\0' {command}"], capture_output=True, check=True)
    return os.fsdecode(done.stdout).split("\0")[:-1]


def after(text: str, mark: str, end: str = "$") -> list[str]:
    """The words of the command between two marks."""
    found = re.search(f"{mark}(.*?){end}", text, re.MULTILINE)
    assert found, text
    return words(found[1])


@pytest.fixture(params=NAMES)
def folder(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with such a name, as a relative path."""
    monkeypatch.chdir(tmp_path)
    made = Path(request.param)
    made.mkdir()
    return made


def same(word: str, path: Path) -> bool:
    """Whether a word is the path, and no option or home."""
    return Path(word) == path and word[0] not in "-~"


def test_errors_name_paths_to_be_pasted(folder: Path) -> None:
    run = folder / "run"
    (run / "checkpoints").mkdir(parents=True)
    (run / "checkpoints" / "x.ckpt").touch()
    with pytest.raises(InputError) as found:
        find_checkpoint(run)
    assert same(*after(str(found.value), "such as "), run / "checkpoints" / "x.ckpt")
    with pytest.raises(InputError) as found:
        find_checkpoint(folder)
    assert same(*after(str(found.value), "the newest is "), run)
    with pytest.raises(WriteError) as failed, writing(run / "metrics.csv", run):
        raise OSError(errno.ENOSPC, "full")
    assert same(*after(str(failed.value), "go on with --resume "), run)
    with pytest.raises(InputError) as found:
        stl10_files.find_folder(folder)
    assert same(*after(str(found.value), "semisup data download stl10 --root ", " to fetch"), folder)
    with pytest.raises(InputError) as found:
        _ = mnist.MNIST(str(folder.absolute())).pools
    assert same(*after(str(found.value), "semisup data download mnist --root ", " to fetch"), folder.absolute())
    assert same(*after(resolve_data(None, str(folder))[1], "--root ", "` brings"), folder)


def test_the_command_line_says_the_same_on_one_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "checkpoints").mkdir()
    (folder / "config.yaml").write_text(yaml.safe_dump({"strategy": "supervised"}))
    assert main(["report", f"./{folder}"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    *_, path = after(said, "let it train: semisup fit --resume ")
    assert Path(path).absolute() == folder.absolute()


def test_commands_of_a_grid_and_of_wandb_can_be_pasted(folder: Path) -> None:
    job = Job("supervised", 1, 0, ["--strategy", "supervised"], {})
    *_, root = words(typed(*fit_command(job, folder)))
    assert same(root, folder)
    *_, run = words(typed(*fit_command(job, Path("runs"), folder)))
    assert same(run, folder)
    assert words(GuardedWandb(folder, "offline")._sync())[:2] == ["wandb", "sync"]
    assert same(words(GuardedWandb(folder, "offline")._sync())[2], folder / "wandb")
    assert Task(["true"], folder / "log").log == folder / "log"


def test_a_python_with_a_space_in_its_path_can_be_pasted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "my env" / "bin" / "python"))
    monkeypatch.setattr(sys, "argv", ["semisup/__main__.py"])
    assert words(typed("test", "--ckpt_path", tmp_path / "a b")) == [
        *("my env/bin/python", "-m", "semisup", "test", "--ckpt_path", "a b")
    ]


@pytest.mark.parametrize("name", ["my fit runs\n'$x'", "plain"])
def test_a_whole_run_says_how_to_go_on(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = ["fit", *SMALL, "--trainer.default_root_dir", name]
    monkeypatch.setattr(sys, "argv", ["/opt/my fit/semisup/__main__.py", *arguments])
    assert main(arguments) == 0
    (run,) = Path(name).glob("digits/supervised/*")
    assert after(capsys.readouterr().out, "look further: ")[-3:] == ["test", "--ckpt_path", str(run)]
    command = re.search("(?m)^command: (.*)$", (run / "environment.txt").read_text())
    assert command and words(recorded(command[1])) == ["semisup", *arguments]


def test_where_no_checkpoint_is_kept_none_is_to_be_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["fit", *SMALL, "--trainer.fast_dev_run", "true"]) == 0
    assert "look further" not in capsys.readouterr().out


@pytest.mark.parametrize("program", ["python -m semisup", "/bin/semisup", "'/my fit dir/semisup'", "srun python x.py"])
def test_a_recorded_command_begins_with_the_program(program: str) -> None:
    assert recorded(f"{program} fit --data 'a fit b'") == "semisup fit --data 'a fit b'"
    assert recorded(f"{program} fit") == "semisup fit" and recorded("pytest tests") == "pytest tests"
