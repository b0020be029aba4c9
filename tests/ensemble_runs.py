"""Runs to ask, and fits that ask them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from helpers import Blobs, classifier, trainer

from semisup.classifier import Classifier, ModelOptions
from strategies.ensemble import Ensemble


def run(path: Path, data: Blobs | None = None, steps: int = 1, **options: Any) -> str:
    """A checkpoint of a network that was trained on a dataset."""
    fitting, data = trainer(1, max_steps=steps, limit_val_batches=0), data or Blobs()
    fitting.fit(classifier(data, **options), data)
    fitting.save_checkpoint(path)
    return str(path)


def fit(strategy: Ensemble, data: Blobs | None = None, **options: Any) -> Classifier:
    data = data or Blobs()
    module = classifier(data, strategy, name="ensemble", model=ModelOptions("small"))
    trainer(1, max_steps=1, limit_val_batches=0, **options).fit(module, data)
    return module
