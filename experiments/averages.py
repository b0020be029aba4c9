"""Moving averages of one training, and the weights that they follow: test accuracy in percent.

    python experiments/averages.py --data digits --strategies supervised fixmatch
    python experiments/averages.py --data stl10 --root data/photographs32 --labels 25 --batch 8 --ratio 1

An average keeps its decay from the first step on, or is warmed up, min(decay, (1 + k) / (10 + k)) after k updates;
the running statistics of batch normalisation are averaged like weights, or copied. Ours is semisup/models/ema.py. No
average takes part in the training, so that all follow the same weights. The learning rate falls over the steps of each
run. A line for every run; figures in RESULTS.md.
"""

from __future__ import annotations

import argparse
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import nn

from semisup import plugins
from semisup.classifier import Classifier, ModelOptions
from semisup.composition import Composition
from semisup.models.ema import EMA
from semisup.models.modes import evaluation_mode

RULES = {  # name -> (warmed up, buffers copied)
    "fixed, averaged": (False, False),
    "fixed, copied": (False, True),
    "warmed up, averaged": (True, False),
    "warmed up, copied": (True, True),
}
OURS = "ours"


class Averages(pl.Callback):
    """Follows the network of a fit by every rule.

    Args:
        decay: of all of them.
    """

    def __init__(self, decay: float) -> None:
        self.decay, self.updates = decay, 0
        self.networks: dict[str, nn.Module] = {}
        self.ours: EMA | None = None

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begins with copies."""
        assert isinstance(pl_module, Classifier)
        self.networks = {name: deepcopy(pl_module.network).eval() for name in RULES}
        self.ours = EMA(pl_module.network, self.decay)
        self.networks[OURS] = self.ours.average

    @torch.no_grad()
    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *args: Any) -> None:
        """One step towards the network."""
        assert isinstance(pl_module, Classifier) and self.ours is not None
        warm, network = min(self.decay, (1 + self.updates) / (10 + self.updates)), pl_module.network
        self.updates += 1
        self.ours.update(network)
        for name, (warmed, copied) in RULES.items():
            keep, average = warm if warmed else self.decay, self.networks[name]
            for ours, theirs in zip(average.parameters(), network.parameters(), strict=True):
                ours.lerp_(theirs, 1 - keep)
            for ours, theirs in zip(average.buffers(), network.buffers(), strict=True):
                if copied or not ours.is_floating_point():
                    ours.copy_(theirs)
                else:
                    ours.lerp_(theirs, 1 - keep)


def main() -> None:
    """Trains every strategy, number of steps and seed, and prints a line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="digits")
    parser.add_argument("--root", type=Path)
    parser.add_argument("--strategies", nargs="+", default=["supervised", "fixmatch"])
    parser.add_argument("--backbone", default="small")
    parser.add_argument("--steps", nargs="+", type=int, default=[500, 1500, 10000])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1])
    parser.add_argument("--labels", type=int, default=4, help="for each class")
    parser.add_argument("--batch", type=int, default=24, help="labeled images")
    parser.add_argument("--ratio", type=int, default=7, help="unlabeled images for each labeled one, of fixmatch")
    parser.add_argument("--decay", type=float, default=0.999)
    options = parser.parse_args()
    print("| data, backbone, strategy | decay | steps | seed | weights | " + " | ".join([*RULES, OURS]) + " |")
    print("|---|---|---|---|---|" + "---|" * (len(RULES) + 1), flush=True)
    for strategy in options.strategies:
        for steps in options.steps:
            for seed in options.seeds:
                scores = [f"{100 * score:.2f}" for score in run(options, strategy, steps, seed)]
                what = f"{options.data}, {options.backbone}, {strategy}"
                print(f"| {what} | {options.decay} | {steps} | {seed} | " + " | ".join(scores) + " |", flush=True)


def run(options: argparse.Namespace, name: str, steps: int, seed: int) -> list[float]:
    """Trains once; test accuracies of the weights and of every average, in [0, 1]."""
    root = {"root": str(options.root)} if options.root else {}
    data = plugins.load(plugins.DATAMODULES, options.data)(
        labels_per_class=options.labels, batch_size=options.batch, steps_per_epoch=steps, seed=seed, **root
    )
    arguments = {"ratio": options.ratio} if name == "fixmatch" else {}
    strategy = plugins.load(plugins.STRATEGIES, name)(ema_decay=0.0, **arguments)
    module = Classifier(data.spec, Composition({name: strategy}), ModelOptions(options.backbone), seed=seed)
    averages = Averages(options.decay)
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = pl.Trainer(
        max_epochs=1, accelerator="cpu", limit_val_batches=0, callbacks=[averages], enable_model_summary=False, **quiet
    )
    trainer.fit(module, data)
    return [accuracy(network, data) for network in (module.network, *averages.networks.values())]


def accuracy(network: nn.Module, data: Any) -> float:
    """Of a network on the test images, in [0, 1]."""
    right, pool = 0, data.pools.test
    with evaluation_mode(network):
        for rows in torch.arange(len(pool)).split(256):
            logits = network(pool.gather(rows).float() / 255)
            right += int((logits.argmax(1) == torch.as_tensor(pool.labels)[rows]).sum())
    return right / len(pool)


if __name__ == "__main__":
    main()
