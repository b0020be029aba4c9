"""What surrogate classes teach a network, by a linear SVM on its features, beside the same network with random weights.

    python experiments/exemplar_svm.py --seeds 3 -- --config experiments/photographs32.yaml --exemplar.images 1000

What follows `--` goes to `semisup fit --strategy exemplar`, of whose labeled training one step is made; that comes
after the pretraining, and the SVM sees nothing of it. Prints test accuracies in percent and their paired difference.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import torch
from paired import fit, with_error

from semisup.classifier import Classifier
from semisup.cli.build import build_data
from semisup.cli.config import Config, parse
from semisup.features.linear import linear_svm
from semisup.features.pooling import pooled_features
from semisup.runs.statistics import mean
from semisup.runtime.openmp import restart_bounded


def untrained(config: Config) -> float:
    """Test accuracy of an SVM on the features of the network as the fit initialises it; C is chosen on validation."""
    data = build_data(config.data)
    module, pools = Classifier(data.spec, model=config.model, seed=config.seed), data.pools
    module.network.normalization.fit(pools.labeled.chunks(data.eval_batch_size))
    network = torch.nn.Sequential(module.network.normalization, module.network.backbone)
    sets = [
        (pooled_features(network, pool, data.eval_batch_size, torch.device("cpu")), pool.labels)
        for pool in (pools.labeled, pools.val, pools.test)
        if pool is not None and pool.labels is not None
    ]
    return linear_svm(*sets[0], *sets[1], *sets[2], seed=config.seed).test_accuracy


def main() -> None:
    """Runs both arms with every seed and prints the table and a JSON line."""
    restart_bounded()
    split = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("runs/exemplar_svm"))
    arguments, extra = parser.parse_args(sys.argv[1:split]), sys.argv[split + 1 :]
    options = ["--strategy", "exemplar", *extra, "--trainer.max_epochs", "1", "--data.steps_per_epoch", "1"]
    rows = []
    for seed in range(arguments.seeds):
        random = 100 * untrained(parse("fit", [*options, "--seed", str(seed)]))
        learned = 100 * fit("exemplar", seed, arguments.out, options)["exemplar/svm_test_accuracy"]
        rows.append((random, learned, learned - random))
        print(f"| {seed} | {random:.2f} | {learned:.2f} | {learned - random:+.2f} |", flush=True)
    randoms, learned_ones, _ = zip(*rows, strict=True)
    print(f"| mean | {mean(randoms):.2f} | {mean(learned_ones):.2f} | {with_error(learned_ones, randoms)} |")
    print(json.dumps({"date": time.strftime("%Y-%m-%d"), "fit": extra, "random_learned_difference": rows}))


if __name__ == "__main__":
    main()
