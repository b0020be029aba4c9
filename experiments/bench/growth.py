"""Whether time and memory stay in bounds as the unlabeled pool grows.

    python experiments/bench/growth.py --sizes 1000000 100000 10000

Pools of random 32x32 pictures in a memory-mapped file (3 GB for a million, in the folder for temporary files, removed
afterwards), each size in a new process. `ms a step` is what the loader takes for a batch of 64 labeled and 448
unlabeled images, once the epoch's first batch has shuffled the pool (`first ms`). `us an image` is a round of
pseudo-labels, per image of the pool, without the network: it is replaced by one that hands on a few pixels, so that
reading, selecting and relabeling remain. `own MB` is all private memory of the process after the round, libraries
included; the mapped file's pages, which the system takes back when it needs them, are not counted.
"""

from __future__ import annotations

import argparse
import json
import logging
import tempfile
import time
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from common import Run, alternate, bench_parser, in_new_process, parse, private_memory, report
from noise import Noise, map_noise, write_noise
from torch import Tensor, nn

from semisup.batch import Needs
from semisup.classifier import Classifier, ModelOptions
from semisup.composition import Composition
from strategies.pseudolabel import PseudoLabel

SIDE, LABELED, BATCH, RATIO = 32, 640, 64, 7


class FewPixels(nn.Module):
    """Features that cost nothing: the first pixels of an image."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features

    def forward(self, images: Tensor) -> Tensor:
        """(B, num_features) of (B, C, H, W)."""
        return images.flatten(1)[:, : self.num_features]


class TimedRound(PseudoLabel):
    """A round after the first epoch, of the 20 % most confident images, and how long it takes."""

    def __init__(self) -> None:
        super().__init__(rule="percentile", warmup_epochs=1, ratio=RATIO)
        self.seconds = 0.0

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """The round, timed."""
        start = time.perf_counter()
        super().on_train_epoch_end(trainer, pl_module)
        self.seconds = time.perf_counter() - start


def measure(path: Path, size: int, steps: int) -> None:
    """Loads batches from a pool of `size` images and pseudo-labels it, in this process; prints what it took."""
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    images = map_noise(path, SIDE)[: LABELED + size]
    first, rest = load(Noise(images, LABELED, batch_size=BATCH, steps_per_epoch=steps + 1))
    timed = TimedRound()
    data = Noise(images, LABELED, batch_size=BATCH, steps_per_epoch=1)
    model = ModelOptions("small", normalization="none")
    module = Classifier(data.spec, Composition({"pseudolabel": timed}), model)
    module.network.backbone = FewPixels(module.network.head.in_features)
    silent: Any = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    pl.Trainer(max_epochs=1, accelerator="cpu", enable_model_summary=False, **silent).fit(module, data)
    assert len(data.relabeled) == size // 5
    figures = {"first ms": 1e3 * first, "ms a step": 1e3 * rest / steps, "us an image": 1e6 * timed.seconds / size}
    print(json.dumps(figures | {"own MB": private_memory()["own MB"]}))


def load(data: Noise) -> tuple[float, float]:
    """Seconds of an epoch's first batch, and of all others."""
    data.needs = Needs(unlabeled_views=("weak",), unlabeled_ratio=RATIO)
    start = middle = time.perf_counter()
    for number, batch in enumerate(data.train_dataloader()):
        assert batch.unlabeled is not None and len(batch.unlabeled) == RATIO * BATCH
        if number == 0:
            middle = time.perf_counter()
    return middle - start, time.perf_counter() - middle


def turn(path: Path, size: int, steps: int) -> Run:
    """A new process with a pool of `size` images."""
    arguments = ("--measure", str(path), "--sizes", str(size), "--steps", str(steps))
    return Run(steps, in_new_process(*arguments))


def main() -> None:
    """Writes the file, runs every size and prints what was measured."""
    parser = bench_parser(__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000_000, 100_000, 10_000], help="largest first")
    parser.add_argument("--steps", type=int, default=100, help="batches that are loaded")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    arguments = parse(parser)
    if arguments.measure:
        measure(arguments.measure, arguments.sizes[0], arguments.steps)
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "images.bin"
        write_noise(path, LABELED + max(arguments.sizes), SIDE)
        arms = {f"{size:,} images": partial(turn, path, size, arguments.steps) for size in arguments.sizes}
        report("growth", arguments, alternate(arms, arguments.pairs))


if __name__ == "__main__":
    main()
