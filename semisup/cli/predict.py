"""`semisup predict`: the classes of a pool's images, by a trained model.

python -m semisup predict --ckpt_path runs/digits/pseudolabel/20260101-120000-s0
"""

from __future__ import annotations

import torch

from semisup.cli.build import build_data
from semisup.cli.config import Config
from semisup.cli.predictions import HEAD, KAGGLE_HEAD, write_predictions
from semisup.cli.same_data import restore
from semisup.errors import InputError
from semisup.runs.paths import output_file
from semisup.runtime.console import say


def run(config: Config) -> None:
    """Predicts and writes the file that `--out` names, by default `predictions.csv` in the working folder.

    Raises:
        InputError: the file may not be written, the checkpoint doesn't fit the data, or the pool that `--on` names is
            empty.
    """
    own = config.own
    path = output_file(own.out or "predictions.csv", own.force, lambda head: head.startswith((HEAD, KAGGLE_HEAD)))
    data = build_data(config.data)
    module = restore(own.ckpt_path, data)
    pools = {"test": data.pools.test, "val": data.pools.val, "unlabeled": data.pools.without_label}
    pool = pools[own.on]
    if not pool:
        there = ", ".join(name for name, other in pools.items() if other) or "none"
        raise InputError(f"{data.spec.name} has no {own.on} images here; --on can be: {there}")
    device = "cuda" if torch.cuda.is_available() and config.trainer.get("accelerator") != "cpu" else "cpu"
    write_predictions(path, module.to(device), pool, data.eval_batch_size, own.format)
    say(f"{len(pool):,} predictions: {path}")
