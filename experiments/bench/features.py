"""Training steps on features that were computed once, against the same steps on images: images a second.

    python experiments/bench/features.py --steps 4 -- --data stl10 --data.root data/photographs32 \\
        --data.labels_per_class 4 --model timm:tf_efficientnet_lite0 --model.input_size 128

FixMatch with a frozen backbone and 32 labeled images a batch, of which every step sees 32 + 2 * 224 views. Seconds are
those of the process's own time on a core, so that what else the machine does changes little; the first step of each is
left out. What follows `--` goes to `semisup fit`.
"""

from __future__ import annotations

import argparse
import sys
import time
from typing import Any

import pytorch_lightning as pl

from semisup.classifier import Classifier
from semisup.cli.build import build_data
from semisup.cli.config import parse
from semisup.composition import Composition


class Clock(pl.Callback):
    """Seconds of the process's own time for each step, that of fetching its batch included."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._since = 0.0

    def on_train_epoch_start(self, *args: Any) -> None:
        self._since = time.process_time()

    def on_train_batch_end(self, *args: Any) -> None:
        now = time.process_time()
        self.seconds.append(now - self._since)
        self._since = now


def images_per_second(draws: int, steps: int, extra: list[str]) -> float:
    """Views that a second of FixMatch's steps takes."""
    typed = f"--strategy fixmatch --data.batch_size 32 --model.adapt head --model.draws {draws}"
    config = parse("fit", [*typed.split(), *extra])
    data, clock = build_data(config.data), Clock()
    options = (config.model, config.optimizer, config.lr_scheduler, config.seed)
    module = Classifier(data.spec, Composition(config.plugins), *options)
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = pl.Trainer(
        max_steps=steps + 1,
        limit_val_batches=0,
        callbacks=[clock],
        accelerator="cpu",
        enable_model_summary=False,
        **quiet,
    )
    trainer.fit(module, datamodule=data)
    return (32 + 2 * 224) * steps / sum(clock.seconds[1:])


def main() -> None:
    """Prints both."""
    split = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=4, help="on images; a hundred times as many on features")
    asked, extra = parser.parse_args(sys.argv[1:split]), sys.argv[split + 1 :]
    on_images = images_per_second(0, asked.steps, extra)
    on_features = images_per_second(2, 100 * asked.steps, extra)
    print(f"{on_images:,.0f} images/s, {on_features:,.0f} on features: {on_features / on_images:,.0f} times")


if __name__ == "__main__":
    main()
