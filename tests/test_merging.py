"""What files, the saved configuration of a run and the command line say of an option, and who has the last word."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
from configs import Write, fails, fit

from semisup.cli.config import parse
from semisup.models.optim import Constant


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


def test_a_value_on_the_command_line_replaces_a_wrong_one_in_a_file(write: Write) -> None:
    path = write("trainer: {max_epochs: many}")
    assert fit(f"--config {path} --trainer.max_epochs 3").trainer["max_epochs"] == 3


def test_a_run_of_before_an_option_went_is_read_and_nothing_else_with_it_is(write: Write) -> None:
    config = fit("--data digits --strategy exemplar")
    Path("run/checkpoints").mkdir(parents=True)
    old = config.yaml.replace("exemplar:\n", "exemplar:\n  save_every: 1000\n")
    assert old != config.yaml
    path = write(old, "run/config.yaml")
    for restored in (fit("--resume run"), parse("predict", ["--ckpt_path", "run"])):
        assert vars(restored.plugins["exemplar"]).keys() == vars(config.plugins["exemplar"]).keys()
    assert "there is no option exemplar.save_every" in fails(f"--config {path}")
    write(old.replace("save_every", "save_each"), "run/config.yaml")
    assert "there is no option exemplar.save_each" in fails("--resume run")


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
