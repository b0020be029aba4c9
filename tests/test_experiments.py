"""Every experiment that is shipped parses, and trains for a step on pictures of the size that it is meant for."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from test_stl10 import write_stl10

from semisup.cli.front import main
from semisup.tracking.reading import read_metrics

EXPERIMENTS = sorted((Path(__file__).parents[1] / "experiments").glob("*.yaml"))
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
