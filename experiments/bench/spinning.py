"""What bounding OpenMP's spinning costs on an idle machine, and what it saves on a busy one.

    python experiments/bench/spinning.py

Training at several threads with libgomp's own bound of 300,000 looks, with 10,000 and with 1,000 (what `semisup` asks
for), alone and beside as many processes that keep a core busy as there are threads. `small`: FixMatch on the digits,
whose operations are so short that threads meet thousands of times a second. `large`: `solution` on random pictures of
48 pixels. Every arm is a new process, since the bound is read when torch is imported; it trains each network for some
seconds after its first steps. With the defaults it takes less than five minutes.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import pytorch_lightning as pl
from common import Run, alternate, bench_parser, in_new_process, parse, report
from noise import Noise

from datamodules.digits import Digits
from semisup.classifier import Classifier, ModelOptions
from semisup.composition import Composition
from semisup.data.datamodule import DataModule
from semisup.strategy import Strategy
from strategies.fixmatch import FixMatch

BOUNDS = [300_000, 10_000, 1_000]  # the first is libgomp's own
FIRST = 5  # steps that are not counted
SIDE, LARGE_BATCH = 48, 8


class Rate(pl.Callback):
    """Counts the images of the steps after the first ones, and ends the training after some seconds."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.images, self.start, self.end = seconds, 0, 0.0, 0.0

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, idx: int) -> None:
        """After every step."""
        self.end = time.perf_counter()
        if trainer.global_step <= FIRST:
            self.start = self.end
            return
        self.images += len(batch.labeled) + (0 if batch.unlabeled is None else len(batch.unlabeled))
        trainer.should_stop = self.end - self.start >= self.seconds


def rate(data: DataModule, strategies: dict[str, Strategy], backbone: str, seconds: float) -> float:
    """Images a second, of both streams, while training."""
    counted = Rate(seconds)
    module = Classifier(data.spec, Composition(strategies), ModelOptions(backbone))
    silent: Any = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    options: Any = {"max_epochs": 1, "min_epochs": 0, "limit_val_batches": 0, "accelerator": "cpu", **silent}
    pl.Trainer(callbacks=[counted], enable_model_summary=False, **options).fit(module, data)
    return counted.images / (counted.end - counted.start)


def measure(seconds: float) -> None:
    """Trains both networks in this process and prints the rates."""
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    images = np.random.default_rng(0).integers(0, 256, (512, 3, SIDE, SIDE), dtype=np.uint8)
    large = Noise(images, len(images), batch_size=LARGE_BATCH, steps_per_epoch=1_000_000)
    small = Digits(steps_per_epoch=1_000_000)
    rates = {
        "small images/s": rate(small, {"fixmatch": FixMatch()}, "small", seconds),
        "large images/s": rate(large, {}, "solution", seconds),
    }
    print(json.dumps(rates))


@contextmanager
def busy(processes: int) -> Iterator[None]:
    """Meanwhile, so many processes each keep a core busy."""
    started = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(processes)]
    try:
        yield
    finally:
        for process in started:
            process.kill()
            process.wait()


def turn(bound: int, neighbours: int, seconds: float) -> Run:
    """A new process with a bound, beside busy neighbours."""
    os.environ["GOMP_SPINCOUNT"] = str(bound)
    with busy(neighbours):
        return Run(1, in_new_process("--measure", "--seconds", str(seconds)))


def main() -> None:
    """Runs the arms and prints what was measured."""
    parser = bench_parser(__doc__)
    parser.set_defaults(pairs=2)
    parser.add_argument("--seconds", type=float, default=2, help="of training, for each network (%(default)s)")
    parser.add_argument(
        "--bounds", type=int, nargs="+", default=BOUNDS, help="the first is compared with (%(default)s)"
    )
    parser.add_argument("--neighbours", type=int, help="busy processes beside (default: as many as threads)")
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    arguments = parse(parser)
    if arguments.measure:
        measure(arguments.seconds)
        return
    neighbours = arguments.threads if arguments.neighbours is None else arguments.neighbours
    loads = {"idle": 0, "busy": neighbours}
    arms = {
        f"{load}, {bound:,}": partial(turn, bound, count, arguments.seconds)
        for load, count in loads.items()
        for bound in arguments.bounds
    }
    own, *others = arguments.bounds
    ratios = [(f"{load}, {other:,}", f"{load}, {own:,}") for load in loads for other in others]
    report("spinning", arguments, alternate(arms, arguments.pairs), ratios)


if __name__ == "__main__":
    main()
