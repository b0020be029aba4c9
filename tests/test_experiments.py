"""Every experiment that is shipped parses, and trains for a step on pictures of the size that it is meant for."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from test_stl10 import write_stl10

from semisup.cli.config import parse
from semisup.cli.front import main
from semisup.runs.reading import read_metrics

FOLDER = Path(__file__).parents[1] / "experiments"
EXPERIMENTS = sorted(FOLDER.glob("*.yaml"))
SIDES = {"photographs32.yaml": 32}


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.name)
@pytest.mark.parametrize("strategy", ["supervised", "pseudolabel"])
def test_an_experiment_trains(path: Path, strategy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    root = yaml.safe_load(path.read_text())["data"].get("root", "data")
    write_stl10(tmp_path / root, side=SIDES.get(path.name, 96))
    short = ["--data.batch_size", "4", "--data.steps_per_epoch", "1", "--trainer.max_epochs", "1"]
    local = ["--trainer.accelerator", "cpu", "--trainer.devices", "1", "--tracking.mode", "disabled"]
    assert main(["fit", "--config", str(path), "--strategy", strategy, *short, *local]) == 0
    (run,) = tmp_path.glob(f"runs/stl10/{strategy}/*")
    written = yaml.safe_load((run / "config.yaml").read_text())
    for group, options in yaml.safe_load(path.read_text()).items():
        asked = {name: value for name, value in options.items() if f"--{group}.{name}" not in [*short, *local]}
        assert asked.items() <= written[group].items()
    assert read_metrics(run)[-1]["step"] == 1


LADDER = sorted((Path(__file__).parents[1] / "experiments" / "ladder").glob("*.yaml"))


def flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """group.option -> value."""
    found: dict[str, Any] = {}
    for name, value in tree.items():
        found |= flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return found


def test_every_rung_of_the_ladder_changes_one_thing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An option, or a strategy that comes in with its own options."""
    write_stl10(tmp_path / "data", side=96)
    monkeypatch.chdir(tmp_path)
    rungs = []
    for count in range(1, len(LADDER) + 1):
        files = [argument for path in LADDER[:count] for argument in ("--config", str(path))]
        rungs.append(flat(yaml.safe_load(parse("fit", files).yaml)))
    changed = [
        sorted(name for name in {**below, **rung} if below.get(name) != rung.get(name))
        for below, rung in pairwise(rungs)
    ]
    assert changed[:3] == [["model.backbone"], ["model.normalization"], ["data.augmentation"]]
    groups = [{name.partition(".")[0] for name in names} for names in changed[3:]]
    assert groups == [{"strategy", "supervised", "kmeans"}, {"strategy", "pseudolabel"}, {"strategy", "exemplar"}]
    strategies = ["supervised", "kmeans", "kmeans+pseudolabel", "exemplar+kmeans+pseudolabel"]
    assert [rung["strategy"] for rung in rungs[3:]] == strategies
    assert rungs[0]["optimizer.lr"] == 1.0 and rungs[0]["lr_scheduler.every_epochs"] == 25


@pytest.mark.slow
def test_the_ladder_is_climbed(tmp_path: Path) -> None:
    write_stl10(tmp_path / "data", side=96)
    short = ["--data.batch_size", "4", "--data.steps_per_epoch", "1", "--trainer.max_epochs", "1"]
    local = ["--trainer.accelerator", "cpu", "--trainer.devices", "1", "--tracking.mode", "disabled"]
    climb = [
        sys.executable,
        str(LADDER[0].parent / "climb.py"),
        "--seeds",
        "1",
        "--rungs",
        "4",
        "5",
        "--second",
        "small",
        "--",
        *short,
        *local,
    ]
    done = subprocess.run(climb, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    scores = json.loads(done.stdout.splitlines()[-1])["scores"]
    assert list(scores) == ["4-augmentation", "5-kmeans"]
    runs = [yaml.safe_load(path.read_text()) for path in sorted(tmp_path.glob("runs/ladder/*/*/*/*/config.yaml"))]
    assert [(run["strategy"], run["data"]["augmentation"], run["model"]["backbone"]) for run in runs] == [
        ("supervised", "course", "small"),
        ("kmeans", "course", "small"),
    ]


@pytest.mark.slow
def test_surrogate_classes_are_compared_with_random_weights(tmp_path: Path) -> None:
    script = LADDER[0].parents[1] / "exemplar_svm.py"
    small = ["--exemplar.images", "20", "--exemplar.samples_per_class", "10", "--exemplar.epochs", "1"]
    local = ["--data", "digits", "--trainer.accelerator", "cpu", "--tracking.mode", "disabled"]
    command = [sys.executable, str(script), "--seeds", "1", "--", *small, *local]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    ((random, learned, difference),) = json.loads(done.stdout.splitlines()[-1])["random_learned_difference"]
    (run,) = tmp_path.glob("runs/exemplar_svm/*/digits/exemplar/*")
    assert learned == 100 * read_metrics(run)[-1]["exemplar/svm_test_accuracy"]
    assert difference == learned - random and random > 50  # of ten classes: random filters are worth something
