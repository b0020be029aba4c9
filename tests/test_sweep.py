"""Every value that a sweep or a grid tries is one that `semisup fit` takes."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any, Literal

import pytest
import yaml

from semisup import plugins
from semisup.cli.config import Config, parse
from semisup.cli.front import main
from semisup.dashboard import sweep
from semisup.runs.reading import read_metrics


@pytest.mark.parametrize(
    ("hint", "default", "tried"),
    [
        (Literal["weak", "strong"], "weak", ["weak", "strong"]),
        (bool, True, [False, True]),
        (int, 1000, [500, 1000, 2000]),
        (int, 5, [2, 5, 10]),
        (int, 1, [1, 2]),
        (float, 1.0, [0.5, 1.0, 2.0]),
        (float, 0.1, [0.05, 0.1, 0.2]),
        (float, 0.95, [0.9, 0.95, 0.975]),
        (float, 0.999, [0.998, 0.999, 0.9995]),
        (int, 0, []),
        (float, 0.0, []),
        (float, float("inf"), []),
        (str, "free text", []),
        (int | None, None, []),
    ],
)
def test_values_lie_around_the_default(hint: Any, default: Any, tried: list[sweep.Value]) -> None:
    found = sweep.values(hint, default)
    assert found == tried and [type(value) for value in found] == [type(value) for value in tried]


def of(config: Config, option: str) -> Any:
    group, _, name = option.partition(".")
    return yaml.safe_load(config.yaml)[group][name]


def written(strategy: str, method: str, out: Path) -> dict[str, Any]:
    """The sweep that the command line writes."""
    arguments = ["--strategy", strategy, "--data", "digits", "--trainer.max_epochs", "2", "--seed", "3"]
    assert main(["sweep", *arguments, "--method", method, "--out", str(out)]) == 0
    return dict(yaml.safe_load(out.read_text()))


SWEPT = [name for name in plugins.installed(plugins.STRATEGIES) if name != "saw"]  # whose one number is 0


@pytest.mark.parametrize("strategy", [*SWEPT, "kmeans+pseudolabel"])
def test_every_value_of_a_sweep_parses(strategy: str, tmp_path: Path) -> None:
    found = written(strategy, "grid", tmp_path / "sweep.yaml")
    assert found["metric"] == {"name": "best/val_accuracy", "goal": "maximize"} and found["method"] == "grid"
    *head, last = found["command"]
    assert head[:5] == ["${env}", "${interpreter}", "-m", "semisup", "fit"] and last == "${args}"
    values = {name: parameter["values"] for name, parameter in found["parameters"].items()}
    assert {name.partition(".")[0] for name in values} == set(plugins.split_names(strategy))
    assert all(len(set(tried)) == len(tried) > 1 for tried in values.values())
    for place in range(max(map(len, values.values()))):  # a value of every option at once
        run = {name: tried[min(place, len(tried) - 1)] for name, tried in values.items()}
        config = parse("fit", [*head[5:], *(f"--{name}={value}" for name, value in run.items())])  # as W&B writes them
        assert {name: of(config, name) for name in run} == run
        assert (config.strategy, config.seed, config.trainer["max_epochs"]) == (strategy, 3, 2)


def test_a_search_draws_numbers_between_the_ends_of_the_grid(tmp_path: Path) -> None:
    grid, search = (written("pseudolabel", m, tmp_path / m)["parameters"] for m in ("grid", "random"))
    assert grid.keys() == search.keys()
    assert {name for name in search if "values" in search[name]} == {
        f"pseudolabel.{x}" for x in ("rule", "soft", "restart")
    }
    for name, parameter in search.items():
        tried = grid[name]["values"]
        assert parameter in ({"values": tried}, {"min": min(tried), "max": max(tried)})


def test_a_sweep_names_what_a_run_logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    fixed = ["--data", "digits", "--data.steps_per_epoch", "1", "--trainer.max_epochs", "1"]
    fixed += ["--tracking.mode", "disabled"]
    assert main(["sweep", "--strategy", "supervised", *fixed]) == 0
    command = yaml.safe_load(Path("sweep-supervised.yaml").read_text())["command"]
    assert main([*command[4:-1], "--supervised.view=strong"]) == 0
    (run,) = Path("runs").glob("*/*/*")
    assert sweep.METRIC in read_metrics(run)[-1]


def test_a_grid_is_every_combination_once(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = "--strategy fixmatch --over threshold,fixmatch.joint --data digits --fixmatch.ratio 2"
    assert main(["sweep", "--grid", *arguments.split()]) == 0
    lines = [shlex.split(line) for line in capsys.readouterr().out.splitlines()]
    found = []
    for line in lines:
        config = parse("fit", line[line.index("fit") + 1 :])
        assert (config.data.name, of(config, "fixmatch.ratio")) == ("digits", 2)
        found.append((of(config, "fixmatch.threshold"), of(config, "fixmatch.joint")))
    assert found == [(threshold, joint) for threshold in (0.9, 0.95, 0.975) for joint in (False, True)]


def test_a_grid_leaves_out_what_fit_refuses(capsys: pytest.CaptureFixture[str]) -> None:
    fixed = ["--strategy", "pseudolabel", "--pseudolabel.ramp_start", "300"]
    assert main(["sweep", "--grid", "--over", "ramp_end", *fixed]) == 0  # a ramp to 250 would end before it starts
    ends = [line.rpartition("=")[2] for line in capsys.readouterr().out.splitlines()]
    assert ends == ["500", "1000"]
    tried: dict[str, list[sweep.Value]] = {"pseudolabel.ramp_start": [0, 300], "pseudolabel.ramp_end": [250, 500]}
    left = [*sweep.grid(tried, fixed[:2], sweep.taker(yaml.safe_load(parse("fit", fixed[:2]).yaml)))]
    assert [[argument.rpartition("=")[2] for argument in arguments[2:]] for arguments in left] == [
        ["0", "250"],
        ["0", "500"],
        ["300", "500"],
    ]


def test_what_is_given_is_not_varied() -> None:
    fixed = ["--strategy", "fixmatch", "--data", "digits", "--fixmatch.weight", "3"]
    assert "fixmatch.weight" not in sweep.options("fixmatch", fixed, lambda changes: True)
    assert "fixmatch.weight" in sweep.options("fixmatch", fixed[:4], lambda changes: True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("", "the following arguments are required: --strategy"),
        ("--strategy fixmacth", "there is no strategy 'fixmacth'; did you mean 'fixmatch'?"),
        ("--strategy fixmatch --over treshold", "--over treshold: it is no option that can be varied; did you mean"),
        (
            "--strategy supervised --over ema_decay",
            "--over ema_decay: it is no option that can be varied; type --over ema_decay=VALUE/VALUE",
        ),
        ("--strategy saw", "choices; it has saw.beta; type the values, as in --over saw.beta=VALUE/VALUE"),
        ("--strategy fixmatch+saw --over beta=.9/1.5", "--over saw.beta: the strategy does not take 1.5; "),
        ("--strategy fixmatch --over ratio=many/2", "--over fixmatch.ratio: the strategy does not take 'many'; "),
        ("--strategy fixmatch --over threshold=.9", "0.9 alone varies nothing; type --fixmatch.threshold 0.9 for it"),
        ("--strategy supervised --supervised.view weak", "the strategy supervised has no option to vary"),
        ("--strategy fixmatch --fixmatch.threshold 2", "fixmatch.threshold is 2.0, but must be from 0 to 1"),
        ("--strategy fixmatch --fixmatch.treshold 1", "did you mean --fixmatch.threshold?"),
        ("--strategy pseudolabel --grid", "the grid has 46,656 commands, and may have 200; type --over with some of"),
    ],
)
def test_what_is_wrong_is_said(
    arguments: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["sweep", *arguments.split()]) == 2
    said = capsys.readouterr()
    assert message in said.err and not said.out
    assert not list(tmp_path.iterdir())


def test_values_that_are_named_are_the_ones_that_are_tried(capsys: pytest.CaptureFixture[str]) -> None:
    """Those of a number whose default is 0, of text, and of an option beside the strategy's."""
    over = "beta=0/.9/0.99,threshold=.8/1,model.backbone=small/wrn-28-2"
    assert main(["sweep", "--grid", "--strategy", "fixmatch+saw", "--data", "digits", "--over", over]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 12 == len(set(lines))
    assert lines[0].endswith(" --saw.beta=0 --fixmatch.threshold=0.8 --model.backbone=small")
    assert lines[-1].endswith(" --saw.beta=0.99 --fixmatch.threshold=1 --model.backbone=wrn-28-2")


def test_any_option_of_a_run_can_be_varied(capsys: pytest.CaptureFixture[str]) -> None:
    fixed = ["--strategy", "fixmatch", "--data", "digits", "--data.batch_size", "10"]
    assert main(["sweep", "--grid", "--over", "lr,fixmatch.threshold,trainer.max_epochs", *fixed]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 27
    assert lines[0].endswith(" --optimizer.lr=0.015 --fixmatch.threshold=0.9 --trainer.max_epochs=15")
    assert main(["sweep", "--grid", "--over", "data.batch_size", *fixed]) == 2  # it is fixed
    assert "--over data.batch_size: it is no option that can be varied" in capsys.readouterr().err
