"""On a GPU, in at most 8 minutes: the views, a step against what the chip could do, the pass over a pool, an accuracy.

    python experiments/bench/gpu.py -- --data cifar10 --data.root data
    python experiments/bench/gpu.py --small

1. `views`: weak and strong views of images on the GPU, against the same views on this machine's CPU.
2. `step`: a step of FixMatch on WRN-28-2 under Lightning, from pools on the device, against two floors. `operations` is
   the step's multiplications and additions (counted by torch, forward and backward) at the speed of the fastest matrix
   product measured here in the same precision; `traffic` is every byte that the step's kernels read and write as
   PyTorch launches them one by one, at the speed of a copy measured here. Only fused kernels can go below the second.
   A floor over the step is the fraction of that peak which the step reaches.
3. `pool`: the pass that makes pseudo-labels, as in pool_pass.py.
4. `accuracy`: FixMatch with 400 labels of each class and validation every 200 steps; what follows `--` goes to its
   `semisup fit` as well. It ends when validation reaches the last of `--targets` or the minutes are over, and prints at
   which second of the training, validations included, and of the whole process each was reached; null where it wasn't.
   Left out where nothing follows.

Each prints a table and a JSON line. Without a GPU everything runs on the CPU with smaller defaults, and the JSON says
`"device": "cpu"`: that shows that it works, and nothing about speed. `--small` takes seconds, on the digits.
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
from pool_pass import measured
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
SCORING = 40.0  # seconds that a fit takes to start, and to score the test images in the end
FIXMATCH = (
    *("--strategy", "fixmatch", "--data.labels_per_class", "400", "--model.backbone", "wrn-28-2"),
    *("--data.steps_per_epoch", "200", "--trainer.max_epochs", "5000"),
)
DIGITS = [
    *("--data", "digits", "--data.labels_per_class", "10", "--model.backbone", "small", "--data.steps_per_epoch", "30"),
    *("--trainer.max_epochs", "3", "--fixmatch.ratio", "1", "--fixmatch.ema_decay", "0"),
]


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


def to_accuracies(targets: list[float], seconds: float, options: list[str]) -> None:
    """Trains until validation reaches the last of some accuracies or the time is over, and prints when which was."""
    hours, rest = divmod(int(seconds), 3600)
    limit = ("--trainer.max_time", f"00:{hours:02}:{rest // 60:02}:{rest % 60:02}", "--tracking.mode", "disabled")
    start, told = fit("Reached", "--trainer.callbacks.accuracies", json.dumps(targets), *limit, *FIXMATCH, *options)
    seen = {one["accuracy"]: one for one in told}
    reached: dict[str, dict[str, float] | None] = dict.fromkeys(map(str, targets))
    for target in targets:
        if one := seen.get(target):
            reached[str(target)] = {
                "training s": one["training"],
                "process s": one["time"] - start,
                "step": one["step"],
            }
        print(f"{100 * target:.0f} % on validation: {reached[str(target)]}")
    print(json.dumps({"bench": "gpu accuracy", "fit": options, **machine(), "seconds": seconds, "reached": reached}))


def main() -> None:
    """Measures all four."""
    began, cuda, small = time.monotonic(), device().type == "cuda", "--small" in sys.argv
    parser = bench_parser(__doc__)
    add: Callable[..., argparse.Action] = parser.add_argument
    size = 2 if small else 1 if cuda else 0
    add("--small", action="store_true", help="seconds on any machine, to see that it works")
    add("--minutes", type=float, default=8, help="of everything (%(default)s)")
    add("--batch", type=int, default=(4, 64, 1)[size], help="labeled images; 7 times as many are unlabeled")
    add("--steps", type=int, default=(2, 100, 1)[size], help="of each turn")
    add("--pool", type=int, default=(512, 50_000, 64)[size], help="images of the pass")
    add("--matrix", type=int, default=(512, 8192, 64)[size], help="rows and columns of the products")
    add("--copy", type=int, default=(64, 4000, 1)[size], help="MB of the copies")
    add("--precision", choices=["32-true", "bf16-mixed"], default="bf16-mixed" if cuda else "32-true")
    add("--targets", type=float, nargs="+", default=[0.1, 0.2] if small else [0.9, 0.94], help="accuracies to reach")
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

    report("gpu pool", arguments, measured("wrn-28-2", 32, arguments.pool, min(arguments.pool, 1024), arguments.pairs))

    if options := sys.argv[split + 1 :] or (DIGITS if small else []):
        left = 60 * arguments.minutes - (time.monotonic() - began)
        to_accuracies(arguments.targets, max(30.0, left - SCORING), options)


if __name__ == "__main__":
    main()
