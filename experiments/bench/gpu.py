"""On a GPU: the views, a step of FixMatch against what the chip could do at best, and the time to an accuracy.

    python experiments/bench/gpu.py -- --data cifar10 --data.root data --data.labels_per_class 400 \\
        --trainer.precision bf16-mixed

1. `views`: weak and strong views of images on the GPU, against the same views on this machine's CPU.
2. `step`: a step of FixMatch on WRN-28-2 under Lightning, from pools on the device, against two floors. `operations` is
   the step's multiplications and additions (counted by torch, forward and backward) at the speed of the fastest matrix
   product measured here in the same precision; `traffic` is every byte that the step's kernels read and write as
   PyTorch launches them one by one, at the speed of a copy measured here. Only fused kernels can go below the second.
   A floor over the step is the fraction of that peak which the step reaches.
3. `accuracy`: what follows `--` goes to `semisup fit --strategy fixmatch`, which stops when validation reaches
   `--target`; left out where nothing follows. Seconds of training, validations included, and of the whole process.

Each prints a table and a JSON line. Without a GPU everything runs on the CPU with smaller defaults and in float32, and
the JSON says `"device": "cpu"`: that shows that it works, and nothing about speed.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from callbacks import fit
from common import Run, alternate, bench_parser, device, machine, parse, report, synchronize
from noise import Noise
from step import lightning
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from semisup.augment.views import find_view
from semisup.classifier import Classifier, ModelOptions
from semisup.composition import Composition
from semisup.randomness import Draw
from strategies.fixmatch import FixMatch

RATIO = 7


class Traffic(TorchDispatchMode):
    """Counts the bytes that operations read and write, each tensor once for each operation; views cost nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        """Runs an operation and counts."""
        result = func(*args, **(kwargs or {}))
        if not func.is_view:
            self.bytes += sum(x.nbytes for x in tree_leaves((args, kwargs, result)) if isinstance(x, Tensor))
        return result


def best_seconds(work: Callable[[], object], repeats: int = 10) -> float:
    """The fastest of some runs, after one that isn't counted."""
    found = []
    for _ in range(repeats + 1):
        synchronize()
        start = time.perf_counter()
        work()
        synchronize()
        found.append(time.perf_counter() - start)
    return min(found[1:])


def peak_operations(size: int, dtype: torch.dtype) -> float:
    """Operations a second of a product of two matrices of `size` x `size`."""
    a, b = torch.randn(2, size, size, device=device()).to(dtype)
    return 2 * size**3 / best_seconds(lambda: a @ b)


def peak_bandwidth(megabytes: int) -> float:
    """Bytes a second, read and written, of copying a tensor of so many MB."""
    source = torch.zeros(megabytes * 10**6, dtype=torch.uint8, device=device())
    target = torch.empty_like(source)
    return 2 * source.nbytes / best_seconds(lambda: target.copy_(source))


def classifier(data: Noise) -> Classifier:
    """WRN-28-2 to be trained by FixMatch."""
    return Classifier(data.spec, Composition({"fixmatch": FixMatch(RATIO)}), ModelOptions("wrn-28-2"))


def cost(data: Noise, half: bool) -> tuple[int, int]:
    """Operations and bytes of one step, forward and backward."""
    module = classifier(data).to(device()).train()
    assert isinstance(module.strategy.owner, FixMatch)
    data.needs = module.strategy.needs
    raw = next(iter(data.train_dataloader()))
    batch = data.on_after_batch_transfer(data.transfer_batch_to_device(raw, device(), 0), 0)
    with FlopCounterMode(display=False) as operations, Traffic() as traffic:
        with torch.autocast(device().type, torch.bfloat16, enabled=half):
            loss, *_ = module.strategy.loss(module, batch)
        loss.backward()
    return operations.get_total_flops(), traffic.bytes


def views(images: Tensor, where: torch.device, repeats: int) -> Run:
    """Weak and strong views of a batch that lies on a device already."""
    images = images.to(where)
    position = torch.arange(len(images), device=where)
    start = 0.0
    for step in range(repeats + 1):
        if step == 1:
            synchronize()
            start = time.perf_counter()
        for name in ("weak", "strong"):
            find_view(name)(images, Draw(0, step, name, position, len(images)))
    synchronize()
    count = repeats * len(images)
    return Run(count, {"images/s": count / (time.perf_counter() - start)})


def to_accuracy(target: float, options: list[str]) -> None:
    """Trains until validation reaches an accuracy, and prints how long it took; null where it never did."""
    accuracy = ("--trainer.callbacks.accuracy", str(target), "--strategy", "fixmatch", "--tracking.mode", "disabled")
    start, seen = fit("Reached", *accuracy, *options)
    found = {"training s": seen["training"], "process s": seen["time"] - start, "step": seen["step"]} if seen else None
    print(f"{100 * target:.0f} % on validation: {found}")
    print(json.dumps({"bench": "gpu accuracy", "target": target, "fit": options, **machine(), "reached": found}))


def main() -> None:
    """Measures all three."""
    cuda = device().type == "cuda"
    parser = bench_parser(__doc__)
    add: Callable[..., argparse.Action] = parser.add_argument
    add("--batch", type=int, default=64 if cuda else 4, help="labeled images; 7 times as many are unlabeled")
    add("--steps", type=int, default=100 if cuda else 2, help="of each turn")
    add("--matrix", type=int, default=8192 if cuda else 512, help="rows and columns of the products")
    add("--copy", type=int, default=4000 if cuda else 64, help="MB of the copies")
    add("--precision", choices=["32-true", "bf16-mixed"], default="bf16-mixed" if cuda else "32-true")
    add("--target", type=float, default=0.9, help="accuracy to reach")
    split = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    arguments = parse(parser, sys.argv[1:split])
    torch.set_float32_matmul_precision("high")  # what cuDNN's convolutions do by default
    half, steps = arguments.precision == "bf16-mixed", arguments.steps
    images = np.random.default_rng(0).integers(0, 256, (8 * arguments.batch, 3, 32, 32), dtype=np.uint8)

    batch = torch.from_numpy(images)
    arms: dict[str, Callable[[], Run]] = {
        "device": partial(views, batch, device(), steps),
        "CPU": partial(views, batch, torch.device("cpu"), steps),
    }
    report("gpu views", arguments, alternate(arms, arguments.pairs))

    data = Noise(images, arguments.batch, batch_size=arguments.batch, steps_per_epoch=steps + 1)
    operations, traffic = cost(data, half)

    def floor(amount: int, peak: Callable[[], float]) -> Run:
        return Run(steps, {"ms a step": 1000 * amount / peak()})

    dtype = torch.bfloat16 if half else torch.float32
    arms = {
        "step": lambda: lightning(classifier(data), data, steps, arguments.precision),
        "operations": partial(floor, operations, partial(peak_operations, arguments.matrix, dtype)),
        "traffic": partial(floor, traffic, partial(peak_bandwidth, arguments.copy)),
    }
    ratios = [("operations", "step"), ("traffic", "step")]
    report("gpu step", arguments, alternate(arms, arguments.pairs), ratios, operations=operations, bytes=traffic)

    if sys.argv[split + 1 :]:
        to_accuracy(arguments.target, sys.argv[split + 1 :])


if __name__ == "__main__":
    main()
