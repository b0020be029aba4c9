"""From arguments and files to a `Config`."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from configs import Write, fails, fit
from hypothesis import given, settings
from hypothesis import strategies as st

from semisup import plugins
from semisup.cli import DEFAULTS, expand, resolve_data, take
from semisup.cli.config import Config, parse
from semisup.errors import InputError
from semisup.models.optim import SCHEDULES, Cosine, Halving
from semisup.plugins import source
from semisup.tracking import TrackingOptions

# ---- values


def test_defaults(write: Write) -> None:
    config = fit()
    assert (config.strategy, list(config.plugins), config.seed) == ("supervised", ["supervised"], 0)
    assert (config.data.name, config.data.arguments["batch_size"]) == ("digits", 24)
    assert "no STL-10 in ./data" in config.data.why
    assert "seed" not in config.data.arguments and "name" not in config.data.arguments
    assert (config.model.backbone, config.model.normalization) == ("auto", "channel")
    name, optimizer = config.optimizer.name, config.optimizer.parameters
    assert name == "sgd"
    assert {k: optimizer[k] for k in ("lr", "momentum", "nesterov", "weight_decay")} == {
        "lr": 0.03,
        "momentum": 0.9,
        "nesterov": True,
        "weight_decay": 5e-4,
    }
    assert config.lr_scheduler == Cosine()
    assert config.tracking == TrackingOptions()
    trainer = inspect.signature(pl.Trainer).parameters
    ours = {"max_epochs": 30, "default_root_dir": "runs", "log_every_n_steps": 10}
    assert config.trainer == {name: parameter.default for name, parameter in trainer.items()} | ours
    assert vars(config.own) == {"resume": None, "resume_data": "same", "yes": False}


def test_values_reach_their_objects(write: Write) -> None:
    config = fit(
        "--strategy pseudolabel --pseudolabel.top_k 7 --pseudolabel.soft true --resume some/run --seed 3 "
        "--data digits --data.batch_size=8 --model small --model.decay_norm_and_bias true "
        "--optimizer AdamW --optimizer.betas [0.8,0.9] --optimizer.lr 1e-3 "
        "--lr_scheduler halving --lr_scheduler.every_epochs 5 --tracking.mode offline --trainer.max_epochs 2 "
        "--trainer.callbacks+=LearningRateMonitor --trainer.limit_train_batches 0.5"
    )
    strategy: Any = config.plugins["pseudolabel"]
    assert (type(strategy).__name__, strategy.top_k, strategy.soft) == ("PseudoLabel", 7, True)
    assert (config.data.name, config.data.why, config.data.arguments["batch_size"], config.seed) == ("digits", "", 8, 3)
    assert (config.model.backbone, config.model.decay_norm_and_bias) == ("small", True)
    assert (config.optimizer.name, config.optimizer.parameters["lr"], config.optimizer.parameters["betas"]) == (
        "adamw",
        1e-3,
        (0.8, 0.9),
    )
    assert config.lr_scheduler == Halving(every_epochs=5)
    assert config.tracking.mode == "offline"
    assert (config.trainer["max_epochs"], config.trainer["limit_train_batches"]) == (2, 0.5)
    assert [type(callback) for callback in config.trainer["callbacks"]] == [pl.callbacks.LearningRateMonitor]
    assert config.own.resume == "some/run"


def test_only_sgd_gets_our_defaults() -> None:
    assert (
        fit("--optimizer adam").optimizer.parameters["lr"]
        == inspect.signature(torch.optim.Adam).parameters["lr"].default
    )


@pytest.mark.parametrize("name", sorted(SCHEDULES))
def test_every_schedule(name: str) -> None:
    assert type(fit(f"--lr_scheduler {name}").lr_scheduler) is SCHEDULES[name]


@pytest.mark.parametrize("name", ["supervised", "pseudolabel"])
def test_what_help_reads_of_a_strategy_is_what_the_parser_takes(name: str) -> None:
    described = {o.name: o.default for o in source.describe(plugins.find(plugins.STRATEGIES, name).value).options}
    parsed = fit(f"--strategy {name}").yaml
    for option, default in described.items():
        value = default.strip("'").replace("True", "true").replace("False", "false").replace("None", "null")
        assert f"\n  {option}: {value}\n" in parsed
    assert (f"\n{name}:\n" in parsed) == bool(described)


@pytest.mark.parametrize("name", ["cifar10", "digits", "folder", "mnist", "stl10"])
def test_what_help_reads_of_a_datamodule_is_what_the_parser_takes(name: str) -> None:
    described = {o.name for o in source.describe(plugins.find(plugins.DATAMODULES, name).value).options}
    assert set(fit(f"--data {name}").data.arguments) == described - {"seed"}


# ---- the dataset


def test_resolve_data(tmp_path: Path) -> None:
    root = str(tmp_path)
    assert resolve_data("cifar10", root) == ("cifar10", "")
    name, why = resolve_data(None, root)
    assert name == "digits" and f"semisup data download stl10 --root {root}" in why
    (tmp_path / "train_X.bin").touch()
    assert resolve_data(None, root) == ("stl10", f"STL-10 was found in {root}")
    (tmp_path / "stl10_binary").mkdir()
    (tmp_path / "stl10_binary" / "train_X.bin").touch()
    assert resolve_data(None, root) == ("stl10", f"STL-10 was found in {tmp_path / 'stl10_binary'}")


# ---- printing and reading back


def again(config: Config, write: Write) -> Config:
    typed = ["--trainer.logger.save_dir", "logs"] if "save_dir: logs" in config.yaml else []
    return parse(config.verb, ["--config", write(config.yaml, "again.yaml"), "--trust", *typed])


@pytest.mark.parametrize(
    "line",
    [
        "",
        "--strategy pseudolabel --pseudolabel.top_k 3 --pseudolabel.threshold 1e-3 --data.steps_per_epoch 2",
        "--optimizer lbfgs --lr_scheduler halving --lr_scheduler.decay 1e-7 --trainer.max_time {hours:1}",
        "--trainer.callbacks+=LearningRateMonitor --trainer.callbacks+=ModelSummary --trainer.callbacks.max_depth 2",
        "--trainer.logger CSVLogger --trainer.logger.save_dir logs --trainer.devices [0,1] --trainer.precision 16",
        *(f"--optimizer {name}" for name in ("sgd", "adam", "adafactor", "muon", "rprop", "sparseadam")),
    ],
)
def test_what_is_printed_reads_back_the_same(write: Write, line: str) -> None:
    first = fit(line)
    second = again(first, write)
    assert second.yaml == first.yaml
    plain = ("strategy", "seed", "data", "model", "optimizer", "lr_scheduler", "tracking")
    assert {name: getattr(second, name) for name in plain} == {name: getattr(first, name) for name in plain}
    numbers = {k: v for k, v in first.trainer.items() if isinstance(v, int | float | str | dict | None)}
    assert {k: second.trainer[k] for k in numbers} == numbers


PRINTABLE = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=1, max_size=20)


@given(text=PRINTABLE.filter(lambda text: text != "--"))
@settings(max_examples=20)
def test_any_text_reads_back_the_same(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    first = parse("fit", [f"--tracking.project={text}", "--data", "digits"])
    path = tmp_path_factory.mktemp("text") / "x.yaml"
    path.write_text(first.yaml, encoding="utf-8")
    second = parse("fit", ["--config", str(path)])
    assert first.tracking.project == second.tracking.project == text
    assert first.yaml == second.yaml


@pytest.mark.parametrize("text", ["1e3", "null", "yes", "1_0", "-", "a: b", "# a", "nan", "2020-01-01", "é ü", " a "])
def test_text_that_looks_like_something_else(write: Write, text: str) -> None:
    first = parse("fit", [f"--tracking.project={text}"])
    assert (first.tracking.project, again(first, write).tracking.project) == (text, text)
    assert again(first, write).yaml == first.yaml


def test_what_one_invocation_reads_and_writes_is_not_printed() -> None:
    assert parse("fit", ["--resume", "run"]).yaml == parse("fit", []).yaml


# ---- evaluating


def test_predict() -> None:
    config = parse("predict", ["--ckpt_path", "a.ckpt", "--out", "b.csv", "--format", "kaggle", "--on", "unlabeled"])
    own = {"ckpt_path": "a.ckpt", "out": "b.csv", "format": "kaggle", "on": "unlabeled", "force": False}
    assert vars(config.own) == own
    assert fails("--ckpt_path a --format xml", "predict") == "--format: expected csv or kaggle, got 'xml'"
    assert "type semisup test RUN" in fails("", "test")


# ---- the words


def test_expand_and_take() -> None:
    line = "--data x --model=y --optimizer z --lr_scheduler w --data.root r --seed 1 data"
    expanded = "--data.name x --model.backbone=y --optimizer.name z --lr_scheduler.name w --data.root r --seed 1 data"
    assert expand(line.split()) == expanded.split()
    assert expand(expanded.split()) == expanded.split()
    assert take(["--a", "1", "b", "--a=2", "--c"], "a") == (["1", "2"], ["b", "--c"])


def test_our_defaults_name_options_that_exist() -> None:
    assert {name.removeprefix("trainer.") for name in DEFAULTS if name.startswith("trainer.")} <= set(fit().trainer)


def test_a_root_without_stl10_is_not_taken_for_the_digits(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"no STL-10 in {tmp_path}; type --data folder --data.root {tmp_path}"):
        parse("fit", ["--data.root", str(tmp_path)])
