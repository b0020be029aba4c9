"""The price of the framework: a training step under Lightning against the bare PyTorch loop of the same network.

    python experiments/bench/step.py --backbone solution --side 96 --batch 16 --steps 12
    python experiments/bench/step.py --backbone wrn-28-2 --side 32 --batch 64 --steps 40

Both arms take the same batches from the same loader, augment them alike and step the same optimiser, on the GPU where
there is one; the bare loop is what a researcher would write by hand: no logging, no checkpoints, no schedule. Neither
start-up nor the first step is counted.
"""

from __future__ import annotations

import logging
import time
import warnings
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from common import Run, alternate, bench_parser, device, parse, report, synchronize
from noise import Noise

from semisup.classifier import Classifier, ModelOptions


class Clock(pl.Callback):
    """Times an epoch from the end of its first step, which pays for what is allocated once, to the end of its last."""

    def __init__(self, steps: int) -> None:
        self.steps, self.seconds, self._start = steps, 0.0, 0.0

    def on_train_batch_end(self, *args: object) -> None:
        """Starts after the first step and stops after `steps` more."""
        if args[-1] in (0, self.steps):
            synchronize()
            now = time.perf_counter()
            self._start, self.seconds = (now, 0.0) if args[-1] == 0 else (self._start, now - self._start)


def lightning(module: Classifier, data: Noise, steps: int, precision: str = "32-true") -> Run:
    """`steps` steps under Lightning, logging as the command line does."""
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    clock = Clock(steps)
    silent: Any = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    options: Any = {"max_epochs": 1, "devices": 1, "log_every_n_steps": 10, "precision": precision, **silent}
    pl.Trainer(callbacks=[clock], enable_model_summary=False, **options).fit(module, data)
    return Run(steps, {"ms a step": 1000 * clock.seconds / steps})


def bare(module: Classifier, data: Noise, steps: int) -> Run:
    """`steps` steps of the same network in a plain loop."""
    network = module.to(device()).network.train()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.03, momentum=0.9, nesterov=True, weight_decay=5e-4)
    done, start = 0, 0.0
    for number, raw in enumerate(data.train_dataloader()):
        batch = data.on_after_batch_transfer(data.transfer_batch_to_device(raw, device(), 0), 0)
        loss = F.cross_entropy(network(batch.labeled.views["weak"]), batch.labeled.target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if number == 0:
            synchronize()
            start = time.perf_counter()
        done = number
    synchronize()
    return Run(done, {"ms a step": 1000 * (time.perf_counter() - start) / done})


def main() -> None:
    """Runs the pairs and prints what was measured."""
    parser = bench_parser(__doc__)
    parser.add_argument("--backbone", default="wrn-28-2")
    parser.add_argument("--side", type=int, default=32)
    parser.add_argument("--batch", type=int, default=64, help="labeled images in a batch")
    parser.add_argument("--steps", type=int, default=40)
    arguments = parse(parser)
    images = np.random.default_rng(0).integers(0, 256, (512, 3, arguments.side, arguments.side), dtype=np.uint8)

    def fresh() -> tuple[Classifier, Noise, int]:
        data = Noise(images, len(images), batch_size=arguments.batch, steps_per_epoch=arguments.steps + 1)
        return Classifier(data.spec, model=ModelOptions(arguments.backbone)), data, arguments.steps

    arms = {"semisup": lambda: lightning(*fresh()), "bare loop": lambda: bare(*fresh())}
    report("step", arguments, alternate(arms, arguments.pairs))


if __name__ == "__main__":
    main()
