"""What `semisup list strategies` says of every strategy that was measured: python experiments/measured.py

It writes strategies/measured.json, which is installed beside them: what a step costs, counted here, and the figures of
the table "Every strategy on digits" of RESULTS.md. Run it again when a strategy or that table has changed.

A step's cost is that of the images that pass through networks in it, forward 1 and backward 2 each, of the costliest
step of a short training with the defaults, over that of supervised training; a pass of a teacher counts, one at an
epoch's end does not. A strategy that is added to another one is counted with FixMatch.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from inspect import signature
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from datamodules.digits import Digits
from semisup import plugins
from semisup.classifier import Classifier
from semisup.composition import Composition
from semisup.errors import InputError
from semisup.models.backbones.small import Small
from semisup.strategy import TermStrategy

ROOT = Path(__file__).parents[1]
FILE = ROOT / "strategies" / "measured.json"
LABELED = 8  # images in a batch
# What makes a training short, for the strategies that have it: rounds that come early, few images that are drawn.
SHORT: dict[str, Any] = {"warmup_epochs": 1, "every_n_epochs": 1, "epochs": 1, "generations": 1, "step": 100}
SHORT |= {
    "threshold": 0.0,
    "images": 20,
    "samples_per_class": 4,
    "patches_per_image": 5,
    "svm": False,
    "warmup": 0.0,
    "batch_size": 16,
}


class Count(pl.Callback):
    """Counts the images of every training step, three for one that a gradient flows back through."""

    def __init__(self) -> None:
        self.now, self.steps = 0, list[int]()

    def passed(self, module: nn.Module, given: Any, features: Tensor) -> None:
        """Counts a pass through a backbone, and its way back when it is gone."""
        if isinstance(module, Small):
            self.now += len(features)
            if features.requires_grad:
                features.register_hook(lambda gradient: self._back(len(gradient)))

    def _back(self, images: int) -> None:
        self.now += 2 * images

    def on_train_batch_start(self, *arguments: Any) -> None:
        """Begins to count."""
        self.now = 0

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *rest: Any) -> None:
        """Keeps the count of the training's own steps, not those of a phase before or after it."""
        if pl_module.phase.loss is None:
            self.steps.append(self.now)


def cost(name: str) -> float | None:
    """What a step of a strategy costs, 1 as supervised; None where it can't be made without being told more."""
    made = {part: plugins.load(plugins.STRATEGIES, part) for part in whole(name).split("+")}
    options = {part: signature(cls).parameters for part, cls in made.items()}
    parts = {part: cls(**{key: SHORT[key] for key in options[part] if key in SHORT}) for part, cls in made.items()}
    data, count = Digits(labels_per_class=4, batch_size=LABELED, steps_per_epoch=2), Count()
    module = Classifier(data.spec, Composition(parts))
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    fitter = pl.Trainer(
        max_epochs=3, limit_val_batches=0, accelerator="cpu", devices=1, callbacks=[count],
        enable_model_summary=False, **quiet,
    )  # fmt: skip
    handle = torch.nn.modules.module.register_module_forward_hook(count.passed)
    try:
        fitter.fit(module, data)
    except InputError:
        return None
    finally:
        handle.remove()
    return round(max(count.steps) / (3 * LABELED), 1)


def whole(name: str) -> str:
    """The composition that a strategy is measured in: what is added to another is added to FixMatch."""
    cls = plugins.load(plugins.STRATEGIES, name)
    return f"fixmatch+{name}" if issubclass(cls, TermStrategy) or cls.refines else name


def shown(name: str, path: Path = ROOT / "experiments" / "RESULTS.md") -> tuple[str, str]:
    """Accuracy and difference to supervised training of a strategy, as a table has them; empty where it has none."""
    spec = importlib.util.spec_from_file_location("docs_results", ROOT / "docs" / "results.py")
    assert spec is not None and spec.loader is not None
    results = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = results  # its dataclasses look for themselves there
    spec.loader.exec_module(results)
    tables = [x for x in results.read(path) if x.section == "Every strategy on digits" and x.head[0] == "strategy"]
    rows = {row[0].strip("`"): row[1:3] for table in tables[:1] for row in table.rows}
    begun = next((row for row in rows if row.startswith(f"{name}+")), "")
    accuracy, difference = rows.get(whole(name)) or rows.get(begun) or ("", "")
    return accuracy, difference


def measured(name: str) -> dict[str, Any]:
    """What is known of a strategy."""
    accuracy, difference = shown(name)
    return {"measured_as": whole(name), "cost": cost(name), "accuracy": accuracy, "difference": difference}


if __name__ == "__main__":
    found: dict[str, Any] = {}
    for strategy in sorted(plugins.installed(plugins.STRATEGIES)):
        found[strategy] = measured(strategy)
        print(f"{strategy}: {found[strategy]['cost']}", flush=True)
    FILE.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
