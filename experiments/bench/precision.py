"""What bf16 and a second thread are worth on this CPU: a training step of several networks, each in both precisions.

    python experiments/bench/precision.py
    python experiments/bench/precision.py --threads 1 --networks small:8:64 solution:96:16

A network is NAME:SIDE:BATCH, of labeled images alone. With `--threads` above 1 every step is also timed on one thread.
What the figures decide is in semisup/models/precision.py.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from common import Run, alternate, bench_parser, parse, report
from noise import Noise
from step import lightning

from semisup.classifier import Classifier, ModelOptions

PRECISIONS = ("32-true", "bf16-mixed")
NETWORKS = (
    *("small:8:64", "small:8:512", "wrn-28-2:8:64", "small:16:64", "small:28:64", "lenet-tanh:32:64", "small:32:64"),
    *("small:48:64", "small:96:16", "wrn-28-2:32:16", "solution:32:64", "solution:48:32", "solution:96:16"),
)


def step(network: str, precision: str, threads: int, steps: int) -> Run:
    """Some steps of a network on a number of threads."""
    name, side, batch = network.split(":")
    torch.set_num_threads(threads)
    images = np.random.default_rng(0).integers(0, 256, (512, 3, int(side), int(side)), dtype=np.uint8)
    data = Noise(images, len(images), batch_size=int(batch), steps_per_epoch=steps + 1)
    return lightning(Classifier(data.spec, model=ModelOptions(name)), data, steps, precision)


def main() -> None:
    """Runs the arms network by network."""
    parser = bench_parser(__doc__)
    parser.add_argument("--networks", nargs="+", default=NETWORKS)
    parser.add_argument("--seconds", type=float, default=1.0, help="of an arm's turn, about")
    arguments = parse(parser)
    counts = sorted({1, arguments.threads})
    for network in arguments.networks:
        once = step(network, "32-true", 1, 2).figures["ms a step"]
        steps = max(3, min(100, int(1000 * arguments.seconds / once)))
        arms = {
            f"{precision}, {threads}": partial(step, network, precision, threads, steps)
            for threads in counts
            for precision in PRECISIONS
        }
        ratios = [(f"32-true, {threads}", f"bf16-mixed, {threads}") for threads in counts]
        ratios += [(f"{precision}, 1", f"{precision}, {n}") for n in counts[1:] for precision in PRECISIONS]
        print(network)
        report("precision", arguments, alternate(arms, arguments.pairs), ratios, network=network)


if __name__ == "__main__":
    main()
