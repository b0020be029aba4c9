"""`semisup validate` and `semisup test`: the scores of a trained model.

python -m semisup test --ckpt_path runs/digits/pseudolabel/20260101-120000-s0
"""

from __future__ import annotations

from pathlib import Path

from semisup.cli.build import began_precision, build_data, build_trainer
from semisup.cli.config import Config
from semisup.cli.same_data import restore
from semisup.errors import require
from semisup.escape import one_line
from semisup.runs.directory import run_of
from semisup.runs.options import PRECISION, flat
from semisup.runs.run import config_of
from semisup.runtime.console import say


def run(config: Config) -> None:
    """Evaluates a checkpoint on the validation or the test images and prints every score, in percent but the losses.

    Raises:
        InputError: the checkpoint doesn't fit the data, or the data has no such images.
    """
    data = build_data(config.data)
    module = restore(config.own.ckpt_path, data)
    stage = "val" if config.verb == "validate" else "test"
    pool = data.pools.val if stage == "val" else data.pools.test
    require(bool(pool), f"{data.spec.name} has no {'validation' if stage == 'val' else 'test'} images here")
    known = pool is not None and pool.scorable
    require(known, f"the {stage} images of {data.spec.name} have no labels to score; type semisup predict --on {stage}")
    run_dir = run_of(Path(config.own.ckpt_path))
    began = flat((config_of(run_dir) if run_dir else None) or {})
    flags = config.trainer | {"precision": began_precision(config.trainer, began.get(PRECISION))}
    trainer = build_trainer(flags, logger=False, enable_checkpointing=False)
    (trainer.validate if stage == "val" else trainer.test)(module, datamodule=data, verbose=False)
    shown = [
        (one_line(name), f"{value:8.4f}" if name in ("nll", "loss") else f"{100 * value:6.2f} %")
        for name, value in module.scores[stage].scalars.items()
    ]
    width = max(len(name) for name, _ in shown)
    say("\n".join(f"{stage}/{name:<{width}}  {value}" for name, value in shown))
