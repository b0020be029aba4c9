"""Mistakes at the front door are one line, and errors of the program keep their traceback."""

from __future__ import annotations

import signal
from pathlib import Path

import forked
import pytest
from front_door import semisup, stub
from helpers import until

from semisup.__main__ import main as command_line
from semisup.cli import front
from semisup.cli.lightning_errors import Refused
from semisup.errors import InputError


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("fitt", "there is no verb 'fitt'; did you mean 'fit'?"),
        ("--seed 3", "the verb comes first: semisup VERB --seed; there are: fit, validate, test, predict, "),
        ("list strategie", "there is nothing like 'strategie' to list; did you mean 'strategies'?"),
        ("list strategies more", "unrecognized arguments: more; `semisup list --help` tells more"),
        ("data download stll10", "there is no datamodule 'stll10'; did you mean 'stl10'?"),
        ("data upload stl10", "argument action: invalid choice: 'upload'"),
        ("fit --help trainr", "there is no help on 'trainr'; did you mean 'trainer'?"),
        ("fit --help --strategy psuedolabel", "there is no strategy 'psuedolabel'; did you mean 'pseudolabel'?"),
        ("fit --help --optimizer sdg", "torch.optim has no optimizer 'sdg'; did you mean 'sgd'?"),
        ("fit --help --lr_scheduler x", "there is no lr_scheduler 'x'; there are: constant, cosine, halving"),
        ("fit --data stll10", "there is no datamodule 'stll10'; did you mean 'stl10'?"),
    ],
)
def test_a_mistake_is_one_line(line: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert front.main(line.split()) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("semisup: error: ") and printed.err.count("\n") == 1
    assert message in printed.err


def test_a_mistake_from_outside() -> None:
    done = semisup("fit", "--strategy", "psuedolabel")
    expected = "semisup: error: there is no strategy 'psuedolabel'; did you mean 'pseudolabel'?\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", expected)


def test_a_mistyped_backbone() -> None:
    done = forked.semisup("fit", "--data", "digits", "--model", "smal", "--tracking.mode", "disabled")
    assert done.returncode == 2
    assert done.stderr == "semisup: error: there is no backbone 'smal'; did you mean 'small'?\n"


@pytest.mark.parametrize("error", [InputError("two\nlines"), Refused("two\nlines")])
def test_an_error_while_a_verb_runs(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stub(monkeypatch, "evaluate", error)
    argv = ["test", "--ckpt_path", "x", "--data", "digits"]
    assert front.main(argv) == 2
    assert capsys.readouterr().err == "semisup: error: two lines\n"
    monkeypatch.setenv("SEMISUP_DEBUG", "1")
    with pytest.raises(InputError, match="two"):
        front.main(argv)


def test_a_programming_error_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    stub(monkeypatch, "evaluate", KeyError("ours"))
    with pytest.raises(KeyError, match="ours"):
        front.main(["validate", "--ckpt_path", "x", "--data", "digits"])


def test_ctrl_c(monkeypatch: pytest.MonkeyPatch) -> None:
    argv = ["validate", "--ckpt_path", "x", "--data", "digits"]
    stub(monkeypatch, "evaluate", KeyboardInterrupt())
    assert front.main(argv) == 130
    leaving = SystemExit(1)  # what Lightning makes of it
    leaving.__context__ = KeyboardInterrupt()
    stub(monkeypatch, "evaluate", leaving)
    assert front.main(argv) == 130
    stub(monkeypatch, "evaluate", SystemExit(3))
    with pytest.raises(SystemExit) as caught:
        front.main(argv)
    assert caught.value.code == 3


def test_ctrl_c_while_training(tmp_path: Path) -> None:
    argv = ["semisup", "fit", "--data", "digits", "--tracking.mode", "disabled"]
    argv += ["--trainer.max_epochs", "100000", "--trainer.default_root_dir", str(tmp_path)]
    with forked.Forked(command_line, argv) as process:
        until(lambda: "\nepoch 2 " in process.said, lambda: process.poll() is None)
        process.send_signal(signal.SIGINT)
        _, error = process.communicate()
    assert process.returncode == 130
    assert "Traceback" not in error
