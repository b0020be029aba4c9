"""From arguments and files to a `Config`."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from semisup import plugins
from semisup.cli import DEFAULTS, expand, resolve_data, take
from semisup.cli.config import Config, parse
from semisup.errors import InputError, unknown_option, wrong_value
from semisup.models.optim import SCHEDULES, Constant, Cosine, Halving
from semisup.plugins import source
from semisup.tracking import TrackingOptions

Write = Callable[..., str]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Writes a file into an empty working directory."""
    monkeypatch.chdir(tmp_path)

    def to_file(text: str, name: str = "x.yaml") -> str:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(text)
        return name

    return to_file


def fails(argv: str | list[str], verb: str = "fit") -> str:
    with pytest.raises(InputError) as caught:
        parse(verb, argv.split() if isinstance(argv, str) else argv)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def fit(line: str = "") -> Config:
    return parse("fit", line.split())


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
    assert vars(config.own) == {"resume": None, "resume_data": "same"}


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


# ---- files


def test_the_command_line_beats_files_and_later_files_earlier_ones(write: Write) -> None:
    one = write("seed: 1\ntrainer: {max_epochs: 1, min_epochs: 1, max_steps: 1}\n", "one.yaml")
    two = write("trainer:\n  max_epochs: 2\n  min_epochs: 2\n", "two.yaml")
    config = fit(f"--trainer.max_epochs 3 --config {one} --config={two}")
    assert [config.trainer[k] for k in ("max_epochs", "min_epochs", "max_steps")] == [3, 2, 1]
    assert config.seed == 1
    assert fit(f"--config {two} --config {one}").trainer["max_epochs"] == 1


def test_short_names_dotted_names_and_empty_groups(write: Write) -> None:
    short = write("data: digits\nmodel: small\noptimizer: adam\nlr_scheduler: constant\ntrainer:\npseudolabel: {}\n")
    config = fit(f"--config {short}")
    assert (config.data.name, config.data.why, config.model.backbone) == ("digits", "", "small")
    assert (config.optimizer.name, config.lr_scheduler) == ("adam", Constant())
    dotted = write("trainer.max_epochs: 4\ndata: {name: digits, batch_size: 5}\ntrainer:\n  max_time: {hours: 1}\n")
    config = fit(f"--config {dotted}")
    assert (config.trainer["max_epochs"], config.trainer["max_time"], config.data.arguments["batch_size"]) == (
        4,
        {"hours": 1},
        5,
    )


def test_a_callback_in_a_file_and_one_more_on_the_command_line(write: Write) -> None:
    path = write("trainer: {callbacks: [{class_path: ModelSummary, init_args: {max_depth: 3}}]}")
    line = f"--config {path} --trust --trainer.callbacks+=LearningRateMonitor"
    summary, monitor = fit(line).trainer["callbacks"]
    assert summary._max_depth == 3
    assert isinstance(monitor, pl.callbacks.LearningRateMonitor)


def test_naming_another_class_leaves_out_what_it_does_not_have(write: Write) -> None:
    path = write("strategy: pseudolabel\npseudolabel: {top_k: 5}\noptimizer: {name: sgd, momentum: 0.5, lr: 0.2}\n")
    config = fit(f"--config {path} --strategy supervised --optimizer adamw")
    assert (config.strategy, config.optimizer.name, config.optimizer.parameters["lr"]) == ("supervised", "adamw", 0.2)
    assert "pseudolabel" not in config.yaml and "momentum" not in config.yaml
    assert fit(f"--config {path}").optimizer.parameters["momentum"] == 0.5
    other = write("strategy: supervised\n", "other.yaml")
    assert fit(f"--config {path} --config {other}").strategy == "supervised"
    assert "is an option of a strategy that is not selected" in fails(f"--config {other} --pseudolabel.top_k 3")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seed: 1\n  a: [1", "x.yaml is not valid YAML: line 2, column "),
        ("- 1\n", "x.yaml must hold options"),
        ("trainer: {max_epoch: 3}", "x.yaml: there is no option trainer.max_epoch; did you mean trainer.max_epochs?"),
        ("trainr: {max_epochs: 3}", "x.yaml: there is no option trainr.max_epochs; did you mean trainer.max_epochs?"),
        ("trainer: 3", "x.yaml: trainer is a group of options; there are: trainer.accelerator, "),
        ("pseudolabel: {top_k: 3}", "x.yaml: pseudolabel.top_k is an option of a strategy that is not selected"),
        ("trainer: {max_epochs: many}", "x.yaml: trainer.max_epochs: expected int or None, got 'many'"),
        ("seed: null", "x.yaml: seed: expected a value, got null"),
        ("resume: run", "x.yaml: there is no option resume"),
        ("optimizer: {name: sgd, momentumm: 0}", "did you mean optimizer.momentum?"),
        ("strategy: psuedolabel", "did you mean 'pseudolabel'?"),
    ],
)
def test_a_wrong_file(write: Write, text: str, message: str) -> None:
    assert message in fails(f"--config {write(text)}")


def test_a_missing_file_and_one_that_is_not_text(write: Write) -> None:
    assert fails("--config missing.yaml") == "missing.yaml can't be read: No such file or directory"
    Path("latin.yaml").write_bytes(b"seed: \xff")
    assert "latin.yaml can't be read" in fails("--config latin.yaml")


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


def test_two_dashes_are_no_value() -> None:  # Python's argparse takes them for the end of the options
    with pytest.raises(InputError, match=r"--tracking\.project: expected a value, got --$"):
        parse("fit", ["--tracking.project=--"])


@pytest.mark.parametrize("text", ["1e3", "null", "yes", "1_0", "-", "a: b", "# a", "nan", "2020-01-01", "é ü", " a "])
def test_text_that_looks_like_something_else(write: Write, text: str) -> None:
    first = parse("fit", [f"--tracking.project={text}"])
    assert (first.tracking.project, again(first, write).tracking.project) == (text, text)
    assert again(first, write).yaml == first.yaml


def test_what_one_invocation_reads_and_writes_is_not_printed() -> None:
    assert parse("fit", ["--resume", "run"]).yaml == parse("fit", []).yaml


# ---- evaluating


def test_the_config_of_the_run_comes_first(write: Write) -> None:
    trained = fit("--strategy pseudolabel --pseudolabel.top_k 9 --data digits --seed 5 --trainer.limit_test_batches 1")
    write(trained.yaml, "run/config.yaml")
    write("", "run/environment.txt")
    write("", "run/checkpoints/best.ckpt")
    for path in ("run", "run/checkpoints/best.ckpt"):
        config = parse("test", ["--ckpt_path", path])
        strategy: Any = config.plugins["pseudolabel"]
        assert (strategy.top_k, config.seed, config.data.name, config.own.ckpt_path) == (9, 5, "digits", path)
        assert config.trainer["limit_test_batches"] is None
    assert parse("test", ["--ckpt_path", "run", "--seed", "6", "--strategy", "supervised"]).seed == 6


def test_predict() -> None:
    config = parse("predict", ["--ckpt_path", "a.ckpt", "--out", "b.csv", "--format", "kaggle", "--on", "unlabeled"])
    own = {"ckpt_path": "a.ckpt", "out": "b.csv", "format": "kaggle", "on": "unlabeled", "force": False}
    assert vars(config.own) == own
    assert fails("--ckpt_path a --format xml", "predict") == "--format: expected csv or kaggle, got 'xml'"
    assert "type semisup test --ckpt_path PATH" in fails("", "test")


# ---- mistakes


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
            "there are: --pseudolabel.every_n_epochs, --pseudolabel.ramp_end,",
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


def test_a_value_on_the_command_line_replaces_a_wrong_one_in_a_file(write: Write) -> None:
    path = write("trainer: {max_epochs: many}")
    assert fit(f"--config {path} --trainer.max_epochs 3").trainer["max_epochs"] == 3


def test_required_parameters_of_a_plugin(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write("[semisup.strategies]\ndemanding = demanding_m:A\n", "demanding-1.dist-info/entry_points.txt")
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
    write("[semisup.strategies]\ndemanding = demanding_m:B\n", "demanding-1.dist-info/entry_points.txt")
    assert "not a subclass of semisup's Strategy" in fails("--strategy demanding")


# ---- the words


def test_expand_and_take() -> None:
    line = "--data x --model=y --optimizer z --lr_scheduler w --data.root r --seed 1 data"
    expanded = "--data.name x --model.backbone=y --optimizer.name z --lr_scheduler.name w --data.root r --seed 1 data"
    assert expand(line.split()) == expanded.split()
    assert expand(expanded.split()) == expanded.split()
    assert take(["--a", "1", "b", "--a=2", "--c"], "a") == (["1", "2"], ["b", "--c"])


def test_unknown_option_prefers_the_shortest() -> None:
    assert unknown_option("strateg", ["trainer.strategy", "strategy"]).endswith("did you mean strategy?")
    assert unknown_option("lr", ["optimizer.lr", "seed"], "--").endswith("did you mean --optimizer.lr?")


def test_wrong_value_keeps_what_it_does_not_know() -> None:
    assert wrong_value("something\n  else") == ("", "something else")
    assert wrong_value('Parser key "a.b":\n  Not of type X') == ("a.b", "Not of type X")


def test_our_defaults_name_options_that_exist() -> None:
    assert {name.removeprefix("trainer.") for name in DEFAULTS if name.startswith("trainer.")} <= set(fit().trainer)


def test_a_root_without_stl10_is_not_taken_for_the_digits(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"no STL-10 in {tmp_path}; type --data folder --data.root {tmp_path}"):
        parse("fit", ["--data.root", str(tmp_path)])


def test_a_run_of_before_an_option_came_goes_on_as_it_was(write: Write) -> None:
    config = fit("--data digits --strategy fixmatch")
    assert config.data.arguments["labeled_in_unlabeled"] is True
    assert "  labeled_in_unlabeled: true\n" in config.yaml
    Path("run/checkpoints").mkdir(parents=True)
    write(config.yaml.replace("  labeled_in_unlabeled: true\n", ""), "run/config.yaml")
    assert fit("--resume run").data.arguments["labeled_in_unlabeled"] is False
    assert parse("predict", ["--ckpt_path", "run"]).data.arguments["labeled_in_unlabeled"] is False
    write(config.yaml, "run/config.yaml")
    assert fit("--resume run").data.arguments["labeled_in_unlabeled"] is True
    Path("run/config.yaml").unlink()
    write("data: digits\n", "mine.yaml")
    assert fit("--resume run --config mine.yaml").data.arguments["labeled_in_unlabeled"] is True
