"""What a dashboard shows, by its files, and what runs logged."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from helpers import HANG

TINY = "--data digits --data.batch_size 16 --data.steps_per_epoch 2 --trainer.max_epochs 10 --tracking.mode offline"
ROUNDS = "--pseudolabel.threshold 0.2 --pseudolabel.warmup_epochs 2 --pseudolabel.every_n_epochs 4"
RUNS = (
    "--strategy supervised --seed 0",
    "--strategy supervised --seed 1",
    f"--strategy pseudolabel --seed 0 {ROUNDS}",
    f"--strategy pseudolabel --seed 1 {ROUNDS}",
    "--strategy supervised --seed 0 --data.labels_per_class 8 --trainer.max_epochs 1",
)
GROUPS = ["digits-40", "digits-80"]
Record = dict[str, Any]


def records(folder: Path) -> list[Record]:
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(folder)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True, timeout=HANG)
    return [json.loads(line) for line in done.stdout.splitlines()]


def names_of(run: list[Record]) -> set[str]:
    """The metrics and pictures that a run's W&B file holds."""
    items = [record["history"]["item"] for record in run if record["type"] == "history"]
    return {name.removesuffix("._type") for item in items for name in item}


def found(tree: Any, key: str) -> list[Any]:
    """Every value of a key, at any depth of JSON."""
    if isinstance(tree, list):
        return [value for inner in tree for value in found(inner, key)]
    if isinstance(tree, dict):
        return ([tree[key]] if key in tree else []) + [value for inner in tree.values() for value in found(inner, key)]
    return []


def specification(folder: Path, name: str) -> Any:
    return json.loads((folder / "dashboard" / f"{name}.json").read_text())["spec"]


def shown(spec: Any) -> set[str]:
    """Every metric and picture that a panel names."""
    configs = [panel["config"] for panel in drawn(spec)]
    lists = [name for config in configs for key in ("metrics", "mediaKeys") for name in config.get(key, [])]
    axes = [config[key] for config in configs for key in ("xAxis", "yAxis") if key in config]
    return {name.removeprefix("summary:") for name in (*lists, *axes)}


def drawn(spec: Any) -> list[Record]:
    """All panels."""
    return [panel for listed in found(spec, "panels") if isinstance(listed, list) for panel in listed]


def without_ids(tree: Any) -> Any:
    if isinstance(tree, list):
        return [without_ids(inner) for inner in tree]
    if isinstance(tree, dict):
        return {key: without_ids(inner) for key, inner in tree.items() if key not in ("id", "__id__")}
    return tree


def copy(made: Path, to: Path) -> Path:
    first = next(made.glob("runs/digits/supervised/*"))
    return Path(shutil.copytree(first, to, ignore=shutil.ignore_patterns("wandb", "checkpoints")))


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
