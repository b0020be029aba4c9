"""How the linear head begins, as in PyTorch or as in the papers' code: test accuracy in percent, and differences.

    python experiments/head.py --data digits
    python experiments/head.py --data stl10 --root data/photographs32 --labels 25 --batch 16 --strategies supervised

PyTorch draws weights and biases uniformly from +-1 / sqrt(features); FixMatch's code, TorchSSL and USB draw the weights
from Glorot's normal distribution, of standard deviation sqrt(2 / (features + classes)), and begin with biases of zero.
All other weights and every draw are the same in both, so that differences are paired. The last weights are scored.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pytorch_lightning as pl
import torch
from averages import accuracy
from paired import with_error
from torch import nn

from semisup import plugins
from semisup.classifier import Classifier, ModelOptions
from semisup.composition import Composition
from semisup.runs.statistics import mean


def main() -> None:
    """Trains every strategy and seed both ways, and prints a line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="digits")
    parser.add_argument("--root", type=Path)
    parser.add_argument("--strategies", nargs="+", default=["supervised", "fixmatch"])
    parser.add_argument("--backbone", default="small")
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--labels", type=int, default=4, help="for each class")
    parser.add_argument("--batch", type=int, default=24, help="labeled images")
    options = parser.parse_args()
    for strategy in options.strategies:
        pairs = []
        for seed in range(options.seeds):
            pairs.append([100 * run(options, strategy, seed, as_papers) for as_papers in (False, True)])
            print(f"{strategy} seed {seed}: default {pairs[-1][0]:.2f}, Glorot {pairs[-1][1]:.2f}", flush=True)
        default, glorot = zip(*pairs, strict=True)
        means = f"default {mean(default):.2f}, Glorot {mean(glorot):.2f}"
        print(f"{strategy}: {means}, difference {with_error(glorot, default)}", flush=True)


def run(options: argparse.Namespace, name: str, seed: int, glorot: bool) -> float:
    """Trains once; the test accuracy in [0, 1]."""
    root = {"root": str(options.root)} if options.root else {}
    data = plugins.load(plugins.DATAMODULES, options.data)(
        labels_per_class=options.labels, batch_size=options.batch, steps_per_epoch=options.steps, seed=seed, **root
    )
    strategy = plugins.load(plugins.STRATEGIES, name)(ema_decay=0.0)
    module = Classifier(data.spec, Composition({name: strategy}), ModelOptions(options.backbone), seed=seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        head = module.network.head
        head.reset_parameters()
        if glorot:
            nn.init.xavier_normal_(head.weight)
            nn.init.zeros_(head.bias)
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = pl.Trainer(max_epochs=1, accelerator="cpu", limit_val_batches=0, enable_model_summary=False, **quiet)
    trainer.fit(module, data)
    return accuracy(module.network, data)


if __name__ == "__main__":
    main()
