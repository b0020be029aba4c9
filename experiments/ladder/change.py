"""One change at a time to a rung of the course's ladder, at a quarter of its length: what its accuracy hangs on.

    python experiments/ladder/change.py --seeds 1 -- --data.root data/photographs48 --trainer.precision bf16-mixed

What follows `--` goes to `semisup fit`, but options of a strategy only where that is trained. The same command again
keeps the runs that are finished. Prints accuracies in percent of the checkpoint that is best on validation and of the
last one, and how far the filters of the first convolution have travelled in the end, as a share of their length in the
beginning: |w - w0| / |w0|.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import torch
from climb import job, options, script

from semisup.classifier import Classifier
from semisup.cli.build import build_data
from semisup.cli.config import parse
from semisup.compare.grid import find
from semisup.compare.train import train
from semisup.runs import checkpoint_file
from semisup.runs.run import Run
from semisup.runs.statistics import over_seeds
from strategies.kmeans import first_convolution

QUARTER = ["--trainer.max_epochs", "32", "--lr_scheduler.every_epochs", "6"]
CHANGES = {  # name -> the rung, and what is changed of it
    "raw-pixels": (3, ""),
    "raw-pixels,pixels-to-1": (3, "--model.normalization none"),
    "raw-pixels,lr-0.1": (3, "--optimizer.lr .1"),
    "raw-pixels,lr-0.03": (3, "--optimizer.lr .03"),
    "augmentation": (4, ""),
    "augmentation,all-on-every-image": (4, "--data.augmentation course"),
    "augmentation,longer-epochs": (
        4,
        "--data.steps_per_epoch 312 --trainer.max_epochs 6 --lr_scheduler.every_epochs 1",
    ),
    "kmeans": (5, ""),
    "kmeans,flips-alone": (5, "--data.augmentation flip_half"),
    "kmeans,scale-initial": (5, "--kmeans.scale initial"),
    "kmeans,mapped-back": (5, "--kmeans.mapped_back true"),
    "kmeans,no-whitening": (5, "--kmeans.whitening false"),
    "kmeans,pixels-to-1": (5, "--model.normalization none"),
    "kmeans,lr-0.1": (5, "--optimizer.lr .1"),
    "kmeans,lr-0.03": (5, "--optimizer.lr .03"),
}

COLUMNS = {"best/val_accuracy": 100.0, "best/test_accuracy": 100.0, "last/test_accuracy": 100.0, "travelled": 1.0}


def main() -> None:
    """Makes the runs that are missing, and prints the table and a JSON line."""
    split = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--changes", nargs="+", choices=CHANGES, default=[*CHANGES], help="all by default")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--jobs", type=int, metavar="N", help="runs at once (default: as `semisup compare`)")
    parser.add_argument("--out", type=Path, default=Path("runs/changes"))
    arguments, extra = parser.parse_args(sys.argv[1:split]), sys.argv[split + 1 :]
    own = {name: [*options(CHANGES[name][0]), *QUARTER, *CHANGES[name][1].split()] for name in arguments.changes}
    jobs = [job(name, own[name], seed, extra) for seed in range(arguments.seeds) for name in own]
    failures = train(jobs, arguments.out, arguments.jobs)
    print("| rung and change | best, val | best, test | last, test | filters travelled |")
    print("|---" * 5 + "|")
    scores: dict[str, dict[int, dict[str, float]]] = {}
    for name in arguments.changes:
        found = {each.seed: find(each, arguments.out / "runs") for each in jobs if each.strategy == name}
        runs = {seed: Run(directory) for seed, (directory, finished) in found.items() if directory and finished}
        scores[name] = {seed: {**run.scores, "travelled": travelled(run)} for seed, run in runs.items()}
        columns = [
            over_seeds([factor * its[key] for its in scores[name].values() if key in its])
            for key, factor in COLUMNS.items()
        ]
        print(f"| {name.replace(',', ', ').replace('-', ' ')} | {' | '.join(columns)} |")
    print(json.dumps({"date": time.strftime("%Y-%m-%d"), "fit": extra, "scores": scores}))
    if failures:
        sys.exit(1)


def travelled(run: Run) -> float:
    """How far the first convolution's filters are from where the training began with them, relative to their length."""
    last = run.directory / "checkpoints" / "last.ckpt"
    trained = first_convolution(Classifier.from_checkpoint(last)).weight.detach()
    centroids = checkpoint_file.read(last)["callbacks"].get("KMeans")
    if centroids:
        start: torch.Tensor = centroids["filters"]
    else:
        config = parse("fit", ["--config", str(run.directory / "config.yaml")])
        untrained = Classifier(build_data(config.data).spec, model=config.model, seed=config.seed)
        start = first_convolution(untrained).weight.detach()
    return float((trained - start).norm() / start.norm())


if __name__ == "__main__":
    script(main)
