"""`semisup predict`: the classes of a pool's images, by a trained model.

python -m semisup predict --ckpt_path runs/digits/pseudolabel/20260101-120000-s0
"""

from __future__ import annotations

from pathlib import Path

import torch

from semisup.cli.build import build_data, restore
from semisup.cli.config import Config
from semisup.cli.predictions import HEAD, write_predictions
from semisup.cli.same_data import check_evaluated
from semisup.errors import InputError
from semisup.runs.directory import run_of
from semisup.runs.paths import output_file
from semisup.runtime.console import say


def run(config: Config) -> None:
    """Predicts and writes the file that `--out` names, by default `predictions.csv` in the run directory.

    Raises:
        InputError: the file may not be written, the checkpoint doesn't fit the data, or the pool that `--on` names is
            empty.
    """
    assert config.ckpt_path is not None
    usual = (run_of(Path(config.ckpt_path)) or Path()) / "predictions.csv"
    path = output_file(config.out or usual, config.force or not config.out, lambda head: head.startswith(HEAD))
    data = build_data(config)
    module, checkpoint = restore(config.ckpt_path, data.spec)
    check_evaluated(module, checkpoint, data)
    pools = {"test": data.pools.test, "val": data.pools.val, "unlabeled": data.pools.without_label}
    pool = pools[config.on]
    if not pool:
        there = ", ".join(name for name, other in pools.items() if other) or "none"
        raise InputError(f"{data.spec.name} has no {config.on} images here; --on can be: {there}")
    device = "cuda" if torch.cuda.is_available() and config.trainer.get("accelerator") != "cpu" else "cpu"
    kaggle = config.format == "kaggle"
    write_predictions(path, module.to(device), pool, data.eval_batch_size, "kaggle" if kaggle else "csv")
    say(f"{len(pool):,} predictions: {path}")
