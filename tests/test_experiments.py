"""Every experiment that is shipped parses, and trains for a step on pictures of the size that it is meant for."""

from __future__ import annotations

import json
import runpy
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import forked
import pytest
import scipy
import yaml
from test_stl10 import write_stl10

from semisup.cli.config import parse
from semisup.cli.front import main
from semisup.compare import processes
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
        if "root" in asked:  # where the data lies, from any working directory
            asked["root"] = str(tmp_path / asked["root"])
        assert asked.items() <= written[group].items()
    assert read_metrics(run)[-1]["step"] == 1


LADDER = sorted((FOLDER / "ladder").glob("[0-9]-*.yaml"))


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
    groups = [{name.partition(".")[0] for name in names} for names in changed[3:5]]
    assert groups == [{"strategy", "supervised", "kmeans"}, {"strategy", "pseudolabel"}]
    assert changed[5:] == [["data.split"]]
    strategies = ["supervised", "kmeans", "kmeans+pseudolabel", "kmeans+pseudolabel"]
    assert [rung["strategy"] for rung in rungs[3:]] == strategies
    assert rungs[0]["optimizer.lr"] == 1.0 and rungs[0]["lr_scheduler.every_epochs"] == 25


def test_the_last_rung_is_the_courses_procedure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All that is known of it, and the recipe in one file says the same."""
    write_stl10(tmp_path / "data", side=96)
    monkeypatch.chdir(tmp_path)
    files = [argument for path in LADDER for argument in ("--config", str(path))]
    last = flat(yaml.safe_load(parse("fit", files).yaml))
    course = {
        **{"model.backbone": "solution", "model.normalization": "bytes", "model.decay_norm_and_bias": True},
        **{"data.augmentation": "course_copies", "data.batch_size": 64, "data.split": "full"},
        **{"data.labeled_in_unlabeled": False},
        **{"kmeans.images": 10_000, "kmeans.patches_per_image": 5, "kmeans.whitening": True, "kmeans.method": "lloyd"},
        **{"kmeans.iterations": 3000, "kmeans.scale": "own", "kmeans.mapped_back": False},
        **{"pseudolabel.rule": "top_k_overall", "pseudolabel.top_k": 1000, "pseudolabel.after": "training"},
        **{"pseudolabel.restart": True},
        **{"optimizer.name": "sgd", "optimizer.lr": 1.0, "optimizer.momentum": 0.9, "optimizer.dampening": 0.9},
        **{"optimizer.weight_decay": 5e-4, "optimizer.nesterov": False},
        **{"lr_scheduler.name": "halving", "lr_scheduler.every_epochs": 25, "lr_scheduler.gamma": 0.5},
        **{"lr_scheduler.decay": 1e-7, "trainer.max_epochs": 130},
    }
    assert course.items() <= last.items()
    arguments = ["--config", str(FOLDER / "stl10_course.yaml"), "--strategy", "kmeans+pseudolabel"]
    recipe = flat(yaml.safe_load(parse("fit", arguments).yaml))
    assert {name: recipe[name] for name in course if not name.startswith("pseudolabel.")} == {
        name: "course" if name == "data.split" else value
        for name, value in course.items()
        if not name.startswith("pseudolabel.")
    }


def test_surrogate_classes_stand_on_the_first_six_rungs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_stl10(tmp_path / "data", side=96)
    monkeypatch.chdir(tmp_path)
    paths = [*LADDER[:6], FOLDER / "ladder" / "exemplar.yaml"]
    config = flat(yaml.safe_load(parse("fit", [x for path in paths for x in ("--config", str(path))]).yaml))
    assert config["strategy"] == "exemplar+kmeans+pseudolabel" and config["data.split"] == "course"
    assert (config["exemplar.images"], config["exemplar.samples_per_class"], config["exemplar.batch_size"]) == (
        4000,
        100,
        128,
    )
    assert config["exemplar.images"] * config["exemplar.samples_per_class"] // config["exemplar.batch_size"] == 3125


def test_the_ladders_table_compares_each_rung_with_the_one_before() -> None:
    """Over the seeds that both have; the last checkpoint counts where no best one was chosen."""
    climb = runpy.run_path(str(FOLDER / "ladder" / "climb.py"))

    def run(best: float | None, last: float, val: float | None) -> Any:
        found = {"best/test_accuracy": best, "last/test_accuracy": last, "best/val_accuracy": val}
        scores = {name: value for name, value in found.items() if value is not None}
        return SimpleNamespace(scores=scores, seconds=90.0)

    below = {0: run(0.50, 0.48, 0.60), 1: run(0.54, 0.5, 0.62), 2: run(0.52, 0.5, 0.58)}
    middle = {0: run(0.55, 0.54, 0.7), 2: run(0.53, 0.5, 0.64)}
    top = {2: run(None, 0.6, None)}
    _, _, *lines = climb["table"]({"1-baseline": below, "2-other": middle, "5-kmeans": top})
    low, high = scipy.stats.t.interval(0.95, 1, 3.0, 2.0)  # of the differences 5 and 1
    assert [line.strip("| ").split(" | ") for line in lines] == [
        ["1-baseline", "60.00 ± 2.00", "52.00 ± 2.00", "-", "49.33 ± 1.15", "72", "2 ± 0"],
        ["2-other", "67.00 ± 4.24", "54.00 ± 1.41", f"+3.00 [{low:+.2f}, {high:+.2f}]", "52.00 ± 2.83", "-", "2 ± 0"],
        ["5-kmeans", "-", "60.00", "+7.00", "60.00", "86", "2"],
    ]


@pytest.mark.slow
def test_the_ladder_is_climbed_and_what_is_finished_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "_start", forked.task)
    write_stl10(tmp_path / "data", side=16)
    short = ["--data.batch_size", "4", "--data.steps_per_epoch", "1", "--trainer.max_epochs", "1"]
    local = ["--trainer.accelerator", "cpu", "--trainer.devices", "1", "--tracking.mode", "disabled"]
    climb = ["--seeds", "1", "--jobs", "1", "--rungs"]
    behind = ["--", *short, *local, "--model.backbone", "small", "--kmeans.images", "9"]

    def climbed(*rungs: str) -> dict[str, Any]:
        done = forked.script(FOLDER / "ladder" / "climb.py", *climb, *rungs, *behind, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        scores: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])["scores"]
        return scores

    first = climbed("4")
    both = climbed("4", "5")
    assert list(both) == ["4-augmentation", "5-kmeans"]
    assert both["4-augmentation"] == first["4-augmentation"] and "best/test_accuracy" in both["5-kmeans"]["0"]
    configs = sorted(tmp_path.glob("runs/ladder/runs/*/*/*/config.yaml"))  # one a rung: the fourth was not run again
    runs = [yaml.safe_load(path.read_text()) for path in configs]
    assert [(run["strategy"], run["data"]["augmentation"], run["model"]["backbone"]) for run in runs] == [
        ("kmeans", "course_copies", "small"),
        ("supervised", "course_copies", "small"),
    ]
    assert runs[0]["kmeans"]["images"] == 9 and "kmeans" not in runs[1]


@pytest.mark.slow
def test_a_change_of_a_rung_is_told_with_how_far_the_filters_travelled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A learning rate of next to nothing leaves centroids, and filters that began by the seed, where they were."""
    monkeypatch.setattr(processes, "_start", forked.task)
    write_stl10(tmp_path / "data", side=16)
    changes = ("kmeans,lr-0.1", "raw-pixels,lr-0.1")
    short = ["--data.batch_size", "4", "--data.steps_per_epoch", "1", "--kmeans.images", "9", "--optimizer.lr", "1e-12"]
    local = ["--trainer.accelerator", "cpu", "--trainer.devices", "1", "--tracking.mode", "disabled"]
    behind = ["--", *short, *local, "--model.backbone", "small", "--trainer.max_epochs", "1"]
    done = forked.script(FOLDER / "ladder" / "change.py", "--jobs", "1", "--changes", *changes, *behind, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    scores = json.loads(done.stdout.splitlines()[-1])["scores"]
    for name, each in scores.items():
        assert 0 <= each["0"]["best/test_accuracy"] <= 1 and each["0"]["travelled"] < 1e-9, name
    assert "| kmeans, lr 0.1 |" in done.stdout


@pytest.mark.slow
def test_surrogate_classes_are_compared_with_random_weights(tmp_path: Path) -> None:
    small = ["--exemplar.images", "20", "--exemplar.samples_per_class", "10", "--exemplar.epochs", "1"]
    local = ["--data", "digits", "--trainer.accelerator", "cpu", "--tracking.mode", "disabled"]
    done = forked.script(FOLDER / "exemplar_svm.py", "--seeds", "1", "--", *small, *local, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    ((random, learned, difference),) = json.loads(done.stdout.splitlines()[-1])["random_learned_difference"]
    (run,) = tmp_path.glob("runs/exemplar_svm/*/digits/exemplar/*")
    assert learned == 100 * read_metrics(run)[-1]["exemplar/svm_test_accuracy"]
    assert difference == learned - random and random > 50  # of ten classes: random filters are worth something
