"""Before its first step a training has imported what that needs, and what comes later is imported later."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

from datamodules.digits import _digits

LATER = ("wandb", "sklearn", "pandas", "joblib", "torch._inductor", "matplotlib.figure", "torchvision.models")
CALLBACK = """
import json, os, sys
import pytorch_lightning as pl

class FirstStep(pl.Callback):
    def on_train_batch_end(self, *args):
        print("loaded", json.dumps(sorted(sys.modules)), flush=True)
        os._exit(0)
"""


def loaded(*arguments: str, path: Path) -> set[str]:
    """What a Python process says that it has imported."""
    environment = {**os.environ, "PYTHONPATH": str(path)}
    output = subprocess.run([sys.executable, *arguments], env=environment, stdout=subprocess.PIPE, text=True, cwd=path)
    (line,) = (line for line in output.stdout.splitlines() if line.startswith("loaded "))
    return set(json.loads(line.removeprefix("loaded ")))


def test_nothing_that_comes_later_is_imported_before_the_first_step(tmp_path: Path) -> None:
    """With W&B on, figures to draw and scikit-learn's data; but for what Lightning itself imports."""
    (tmp_path / "first_step.py").write_text(CALLBACK)
    fit = ("--trainer.callbacks", "first_step.FirstStep", "--tracking.mode", "offline", "--data", "digits")
    alone = "import json, sys, pytorch_lightning; print('loaded', json.dumps(sorted(sys.modules)))"
    lightning = loaded("-c", alone, path=tmp_path)
    added = loaded("-m", "semisup", "fit", *fit, path=tmp_path) - lightning
    assert "semisup.classifier" in added and "semisup.tracking.guarded_wandb" in added
    assert not added.intersection(LATER)


def test_digits_are_scikit_learns() -> None:
    images, classes = _digits()
    digits = load_digits()
    assert np.array_equal(images, digits.images) and np.array_equal(classes, digits.target)
