"""Mistakes in options: each is one clear error."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from configs import Write, fails, fit

from semisup.cli.config import parse
from semisup.cli.front import main
from semisup.errors import InputError, unknown_option, wrong_value


def test_two_dashes_are_no_value() -> None:  # Python's argparse takes them for the end of the options
    with pytest.raises(InputError, match=r"--tracking\.project: expected a value, got --$"):
        parse("fit", ["--tracking.project=--"])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--strategy ddp", "--trainer.strategy ddp"),
        ("--optimizer sdg", "there is no optimizer 'sdg'; did you mean 'sgd'?"),
        ("--lr_scheduler cosin", "there is no lr_scheduler 'cosin'; did you mean 'cosine'?"),
        (
            "--strategy pseudolabel --pseudolabel.topk 3",
            "no option --pseudolabel.topk; did you mean --pseudolabel.top_k?",
        ),
        (
            "--strategy pseudolabel --pseudolabel.qqq 3",
            "there are: --pseudolabel.after, --pseudolabel.every_n_epochs,",
        ),
        ("--pseudolabel.top_k 3", "--pseudolabel.top_k is an option of a strategy that is not selected"),
        ("--trainer.max_epoch 3", "no option --trainer.max_epoch; did you mean --trainer.max_epochs?"),
        ("--trainer 3", "--trainer is a group of options; there are: --trainer.accelerator,"),
        ("--top_k 3 --strategy pseudolabel", "did you mean --pseudolabel.top_k?"),
        ("--strateg x", "did you mean --strategy?"),
        ("--resum x", "did you mean --resume?"),
        ("--ckpt_path x", "--ckpt_path is not of fit; type --resume RUN to go on with a run"),
        ("--zzzzz x", "there is no option --zzzzz; `semisup fit --help` lists them"),
        ("--data.seed 3", "there is no option --data.seed"),
        ("--seed -1", "--seed: expected 0 or more, got -1"),
        ("--seed x", "--seed: expected int, got 'x'"),
        ("--trainer.max_epochs x", "--trainer.max_epochs: expected int or None, got 'x'"),
        ("--trainer.max_epochs", "--trainer.max_epochs: expected one argument"),
        (
            "--model.normalization x",
            "--model.normalization: expected one of 'none', 'channel', 'yuv', 'local7', 'local15', 'bytes', got 'x'",
        ),
        ("--optimizer.lr x", "--optimizer.lr: expected float, got 'x'"),
        ("--trainer.callbacks+=LearningRateMonitor --trainer.callbacks.foo 3", "Option 'foo' is not accepted"),
        ("--data", "--data expects a value"),
        ("--config", "--config expects a value"),
        ("stray", "stray"),
        ("--strategy pseudolabel --pseudolabel.weight -1", "pseudolabel.weight is -1.0, but must be at least 0"),
        ("--lr_scheduler.cycles 3", "lr_scheduler.cycles is 3.0"),
    ],
)
def test_a_mistake(line: str, message: str) -> None:
    assert message in fails(line)


def test_required_parameters_of_a_plugin(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(
        "[semisup.strategies]\ndemanding = demanding_m:A\nwrong = demanding_m:B\n",
        "demanding-1.dist-info/entry_points.txt",
    )
    write("Metadata-Version: 2.1\nName: demanding\nVersion: 1\n", "demanding-1.dist-info/METADATA")
    write(
        "from semisup.strategy import Strategy\nclass A(Strategy):\n"
        "    def __init__(self, untyped, *, size: int) -> None: self.got = (untyped, size)\nclass B: pass\n",
        "demanding_m.py",
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    assert "demanding.size" in fails("--strategy demanding --demanding.untyped 1")
    path = write("demanding: {size: 4}")
    config = fit(f"--strategy demanding+supervised --demanding.untyped abc --config {path}")
    strategy: Any = config.plugins["demanding"]
    assert (strategy.got, list(config.plugins)) == (("abc", 4), ["demanding", "supervised"])
    assert "not a subclass of semisup's Strategy" in fails("--strategy wrong")


def test_unknown_option_prefers_the_shortest() -> None:
    assert unknown_option("strateg", ["trainer.strategy", "strategy"]).endswith("did you mean strategy?")
    assert unknown_option("lr", ["optimizer.lr", "seed"], "--").endswith("did you mean --optimizer.lr?")


CALLBACKS = "--data digits --trainer.callbacks "


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (f"{CALLBACKS}EarlyStopping", "EarlyStopping: it needs monitor; type --trainer.callbacks.monitor VALUE"),
        (f"{CALLBACKS}ModelCheckpoint --trainer.callbacks.nope 1", "ModelCheckpoint: Option 'nope' is not accepted"),
        (
            f"{CALLBACKS}EarlyStopping --trainer.callbacks.monitor a --trainer.callbacks.patience b",
            "EarlyStopping: patience: expected int, got 'b'",
        ),
        (
            f"{CALLBACKS}EarlyStopping --trainer.callbacks.monitor a --trainer.callbacks.stopping_threshold b",
            "EarlyStopping: stopping_threshold: expected float or None, got 'b'",
        ),
        (
            "--data digits --trainer.logger CSVLogger",
            "CSVLogger: it needs save_dir; type --trainer.logger.save_dir VALUE",
        ),
    ],
)
def test_what_is_wrong_with_a_class_is_said_without_what_else_was_tried(line: str, told: str) -> None:
    with pytest.raises(InputError, match=f"{re.escape(told)}$"):
        parse("fit", line.split())


def test_how_often_to_validate_must_be_more_than_never() -> None:
    for value in ("0", "0.0"):
        with pytest.raises(InputError, match="val_check_interval: expected more than 0"):
            parse("fit", ["--data", "digits", "--trainer.val_check_interval", value])


def test_wrong_value_keeps_what_it_does_not_know() -> None:
    assert wrong_value("something\n  else") == ("", "something else")
    assert wrong_value('Parser key "a.b":\n  Not of type X') == ("a.b", "Not of type X")


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("--epochs", "--trainer.max_epochs"),
        ("--steps", "--trainer.max_steps"),
        ("--lr", "--optimizer.lr"),
        ("--labels", "--data.labels_per_class"),
        ("--gpus", "--trainer.devices"),
        ("--network", "--model.backbone"),
        ("--bs", "--data.batch_size"),
    ],
)
def test_options_by_the_names_that_they_have_elsewhere(typed: str, meant: str, capsys: Any) -> None:
    assert main(["fit", "--strategy", "exemplar", typed, "3"]) == 2
    assert f"there is no option {typed}; did you mean {meant}?" in capsys.readouterr().err


def test_verbs_by_the_names_that_they_have_elsewhere(capsys: Any) -> None:
    for typed, meant in {"train": "fit", "evaluate": "test", "infer": "predict"}.items():
        assert main([typed]) == 2
        assert f"there is no verb {typed!r}; did you mean '{meant}'?" in capsys.readouterr().err
