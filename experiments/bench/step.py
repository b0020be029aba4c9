"""The price of the framework: a training step under Lightning against the bare PyTorch loop of the same network.

    python experiments/bench/step.py --backbone solution --side 96 --batch 16 --steps 12
    python experiments/bench/step.py --backbone wrn-28-2 --side 32 --batch 64 --steps 40

Both arms take the same batches from the same loader, augment them alike, and step the same optimiser; they run in turn,
five times each, and the ratio is told pair by pair. The bare loop is what a researcher would write by hand: no logging,
no checkpoints, no schedule. Prints a table and a JSON line.
"""

from __future__ import annotations

import argparse
import json
import logging
import platform
import statistics
import time
import warnings

import numpy as np
import pytorch_lightning as pl
import torch
import torch.nn.functional as F

from semisup.classifier import Classifier, ModelOptions
from semisup.data.datamodule import DataModule, DataSpec, Pools
from semisup.data.pool import Pool

PAIRS = 5


class Noise(DataModule):
    """Random pictures of any size: what is in them does not change what a step costs."""

    def __init__(self, side: int, **kwargs: int) -> None:
        super().__init__(**kwargs)
        self.side = side

    @property
    def spec(self) -> DataSpec:
        """Ten classes of colour pictures."""
        return DataSpec("noise", tuple("0123456789"), channels=3, image_size=self.side)

    def read(self) -> Pools:
        """512 labeled pictures."""
        images = np.random.default_rng(0).integers(0, 256, (512, 3, self.side, self.side), dtype=np.uint8)
        return Pools(Pool(images, np.arange(512) % 10), None, None, None, train_size=512)


def ours(module: Classifier, data: Noise, steps: int) -> float:
    """Seconds of `steps` steps under Lightning, logging as the command line does; start-up is not counted."""
    clock = Clock(steps)
    silent = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    pl.Trainer(max_epochs=1, callbacks=[clock], enable_model_summary=False, log_every_n_steps=10, **silent).fit(
        module, data
    )
    return clock.seconds


class Clock(pl.Callback):
    """Times an epoch from the end of its first step to the end of its last."""

    def __init__(self, steps: int) -> None:
        self.steps, self.seconds, self.start = steps, 0.0, 0.0

    def on_train_batch_end(self, *args: object) -> None:
        """The first step pays for what is allocated once."""
        if args[-1] == 0:
            self.start = time.perf_counter()
        if args[-1] == self.steps:
            self.seconds = time.perf_counter() - self.start


def bare(module: Classifier, data: Noise, steps: int) -> float:
    """Seconds of `steps` steps of the same network in a plain loop."""
    network = module.network.train()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.03, momentum=0.9, nesterov=True, weight_decay=5e-4)
    start = 0.0
    for number, raw in enumerate(data.train_dataloader()):
        batch = data.on_after_batch_transfer(raw, 0)
        loss = F.cross_entropy(network(batch.labeled.views["weak"]), batch.labeled.target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if number == 0:
            start = time.perf_counter()
    return time.perf_counter() - start


def main() -> None:
    """Runs the pairs and prints what was measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="wrn-28-2")
    parser.add_argument("--side", type=int, default=32)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--steps", type=int, default=40)
    arguments = parser.parse_args()
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    rows = []
    for _ in range(PAIRS + 1):  # the first pair warms up
        times = []
        for arm in (ours, bare):
            data = Noise(arguments.side, batch_size=arguments.batch, steps_per_epoch=arguments.steps + 1)
            module = Classifier(data.spec, model=ModelOptions(arguments.backbone))
            times.append(arm(module, data, arguments.steps) / arguments.steps)
        rows.append(times)
    ratios = [a / b for a, b in rows[1:]]
    lightning, loop = (statistics.median(1000 * row[arm] for row in rows[1:]) for arm in (0, 1))
    print(f"{'semisup':>10} {lightning:8.2f} ms a step\n{'bare loop':>10} {loop:8.2f} ms a step")
    print(f"{'ratio':>10} {statistics.median(ratios):8.3f}  (pairs from {min(ratios):.3f} to {max(ratios):.3f})")
    facts = {"torch": torch.__version__, "threads": torch.get_num_threads(), "machine": platform.machine()}
    print(json.dumps({"bench": "step", **vars(arguments), **facts, "ms": [lightning, loop], "ratios": ratios}))


if __name__ == "__main__":
    main()
