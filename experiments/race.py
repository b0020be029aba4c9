"""The race: accuracy on test by the minute of training, equal photographs and equal time, ours against a peer's code.

    python experiments/race.py --root data/photographs32 --kekmodel FixMatch-pytorch
    python experiments/race.py --root data/photographs32 --minutes 0.5 --test 500 --out race-try

`--root` holds photographs of 32x32 pixels in the layout of STL-10; `--kekmodel` is a checkout of
kekmodel/FixMatch-pytorch. Arms are processes, one after the other, on all cores. All get the same labeled and
unlabeled photographs; the weights that evaluate are scored on the first `--test` test images every minute, while the
arm's clock stands still. It begins before the first step. Whatever follows `--` goes to `semisup fit` of our arm.

The peer's train.py runs as it lies there, with its defaults (WRN-28-2, 64 labeled and 448 unlabeled photographs a step,
an average of .999, a cosine over 2^20 steps), mended only as far as it needs to start: the CPU for CUDA, `next(loader)`
for `loader.next()`, the photographs in place of torchvision's CIFAR-10, and `--workers` for its loaders.

Arms that are done lie in `--out` and are not run again: the same command goes on. In the end come a table and race.png.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from semisup.data.pools import Pools
from semisup.models.modes import evaluation_mode
from semisup.runs.directory import write_atomically
from semisup.runtime.openmp import bound_spinning

OURS = (
    *("--strategy", "fixmatch", "--model.backbone", "small", "--data.batch_size", "32", "--fixmatch.ema_decay", "0.99"),
    *("--data.steps_per_epoch", "100", "--trainer.max_epochs", "100000", "--trainer.limit_val_batches", "0"),
    *("--trainer.num_sanity_val_steps", "0", "--trainer.enable_checkpointing", "false", "--tracking.mode", "disabled"),
    *("--lr_scheduler", "constant", "--trainer.accelerator", "cpu", "--yes"),
)


class Over(Exception):
    """The minutes are over."""


class Clock:
    """Scores an arm every minute, and stands still meanwhile.

    Args:
        minutes: until `Over` is raised.
        score: of the arm, called at every whole minute and at the end.
    """

    def __init__(self, minutes: float, score: Callable[[], float]) -> None:
        whole = math.ceil(minutes)
        self.marks, self.score = [minutes * (k + 1) / whole for k in range(whole)], score
        self.seen: list[dict[str, float]] = []
        self._steps = 0
        self.begin()

    def begin(self) -> None:
        """Lets the time run from now on."""
        self._start = time.monotonic()

    def step(self) -> None:
        """Called after every step.

        Raises:
            Over: this was the last one.
        """
        now = time.monotonic()
        self._steps += 1
        minutes = (now - self._start) / 60
        if minutes >= self.marks[len(self.seen)]:
            self.seen.append({"minutes": minutes, "steps": self._steps, "accuracy": self.score()})
            print(json.dumps(self.seen[-1]), flush=True)
            while len(self.seen) < len(self.marks) and minutes >= self.marks[len(self.seen)]:  # a step over a minute
                self.seen.append(self.seen[-1])
            self._start += time.monotonic() - now
        if len(self.seen) == len(self.marks):
            raise Over


def scored(predict: Callable[[Tensor], Tensor], images: Tensor, labels: Tensor) -> float:
    """The share of images whose most probable class is right."""
    with torch.no_grad():
        found = torch.cat([predict(part).argmax(1) for part in images.split(256)])
    return float((found == labels).float().mean())


def pools_of(options: argparse.Namespace) -> Pools:
    """The photographs of an arm."""
    from datamodules.stl10 import STL10

    return STL10(root=options.root, labels_per_class=options.labels // 10, seed=options.seed).pools


def test_of(pools: Pools, count: int) -> tuple[Tensor, Tensor]:
    """The first test images, uint8, and their labels."""
    assert pools.test is not None
    rows = torch.arange(min(count, len(pools.test)))
    return pools.test.gather(rows), torch.as_tensor(pools.test.labels)[rows]


def ours(options: argparse.Namespace) -> Clock:
    """`semisup fit` with what `OURS` and the command line say, ended by the clock."""
    import pytorch_lightning as pl

    import semisup.cli.config
    from semisup.cli import fit

    images, labels = test_of(pools_of(options), options.test)

    class Timed(pl.Callback):
        clock: Clock

        def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
            def predict(part: Tensor) -> Tensor:
                with evaluation_mode(pl_module), trainer.precision_plugin.forward_context():
                    logits: Tensor = pl_module(part.float() / 255)
                return logits

            self.clock = Clock(options.minutes, lambda: scored(predict, images, labels))

        def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
            self.clock.step()

    timed = Timed()
    where = ("--data.root", options.root, "--data.labels_per_class", str(options.labels // 10))
    with tempfile.TemporaryDirectory() as folder:
        typed = ["--data", "stl10", *where, "--seed", str(options.seed), *OURS, *options.more]
        config = semisup.cli.config.parse("fit", [*typed, "--trainer.default_root_dir", folder])
        config.trainer["callbacks"] = [timed]
        with suppress(Over):
            fit.train(config)
    return timed.clock


def kekmodel(options: argparse.Namespace) -> Clock:
    """The train.py of a checkout, on our photographs, ended by the clock."""
    sys.path.insert(0, options.kekmodel)
    from dataset import cifar  # type: ignore[import-not-found]
    from models import ema  # type: ignore[import-not-found]

    pools = pools_of(options)
    assert pools.unlabeled is not None
    labeled, unlabeled = (pool.gather(torch.arange(len(pool))) for pool in (pools.labeled, pools.unlabeled))
    images = torch.cat([labeled, unlabeled]).permute(0, 2, 3, 1).contiguous().numpy()
    targets = [*np.asarray(pools.labeled.labels).tolist(), *[-1] * len(unlabeled)]
    test, labels = test_of(pools, options.test)

    class Photographs:
        """What that code uses of torchvision's CIFAR10; its own test set is asked for nothing before an epoch ends."""

        def __init__(self, *args: Any, transform: Any = None, target_transform: Any = None, **kwargs: Any) -> None:
            self.data, self.targets = images, targets
            self.transform, self.target_transform = transform, target_transform

        def __len__(self) -> int:
            return len(self.data)

    def split(args: Any, labels: Any) -> tuple[np.ndarray, np.ndarray]:
        again = math.ceil(args.batch_size * args.eval_step / len(labeled)) if len(labeled) < args.batch_size else 1
        return np.random.permutation(np.tile(np.arange(len(labeled)), again)), np.arange(len(images))

    subset = cifar.CIFAR10SSL

    class Subset(Photographs):
        __getitem__ = subset.__getitem__

        def __init__(self, root: Any, indexs: Any, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.data, self.targets = self.data[indexs], np.array(self.targets)[indexs]

    cifar.datasets = SimpleNamespace(CIFAR10=Photographs)
    cifar.CIFAR10SSL, cifar.x_u_split = Subset, split
    mean, std = (torch.tensor(x).view(3, 1, 1) for x in (cifar.cifar10_mean, cifar.cifar10_std))
    clock, update = Clock(options.minutes, lambda: 0.0), ema.ModelEMA.update

    def timed(self: Any, model: nn.Module) -> None:
        update(self, model)

        def predict(part: Tensor) -> Tensor:
            with evaluation_mode(self.ema):
                logits: Tensor = self.ema((part.float() / 255 - mean) / std)
            return logits

        clock.score = lambda: scored(predict, test, labels)
        clock.step()

    class Average(ema.ModelEMA):  # type: ignore[misc]
        """Theirs, made just before the first step, when the clock begins."""

        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            clock.begin()

        update = timed

    ema.ModelEMA = Average
    source = (Path(options.kekmodel) / "train.py").read_text()
    cuda = "torch.device('cuda', args.gpu_id)"
    assert cuda in source, f"train.py has no {cuda}"
    source = re.sub(r"(\w+)\.next\(\)", r"next(\1)", source.replace(cuda, "torch.device('cpu')"))
    with tempfile.TemporaryDirectory() as folder:
        sys.argv = ["train.py", "--num-labeled", str(options.labels), "--seed", str(options.seed), "--out", folder]
        sys.argv += ["--no-progress", "--num-workers", str(options.workers)]
        program = ModuleType("__main__")
        with suppress(Over):
            exec(compile(source, "train.py", "exec"), program.__dict__)
    return clock


ARMS: dict[str, Callable[[argparse.Namespace], Clock]] = {"ours": ours, "kekmodel": kekmodel}


def results(options: argparse.Namespace) -> dict[tuple[int, str], list[list[dict[str, float]]]]:
    """What every arm has seen that is done, by labels and name, a list for each seed."""
    found: dict[tuple[int, str], list[list[dict[str, float]]]] = {}
    for labels in options.labels:
        for name in ARMS:
            files = [options.out / f"{name}-{labels}-s{seed}.json" for seed in options.seeds]
            if runs := [json.loads(file.read_text())["seen"] for file in files if file.exists()]:
                found[labels, name] = runs
    return found


def draw(found: dict[tuple[int, str], list[list[dict[str, float]]]], path: Path) -> None:
    """One figure: a panel for each number of labels, a line for each arm and seed."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    numbers = sorted({labels for labels, _ in found})
    figure, panels = pyplot.subplots(1, len(numbers), sharey=True, squeeze=False, figsize=(4.5 * len(numbers), 3.5))
    for (labels, name), runs in found.items():
        panel, color = panels[0][numbers.index(labels)], f"C{list(ARMS).index(name)}"
        for number, seen in enumerate(runs):
            x, y = ([one[key] for one in seen] for key in ("minutes", "accuracy"))
            panel.plot(x, [100 * each for each in y], color=color, marker=".", label=None if number else name)
        panel.set(title=f"{labels:,} labels", xlabel="minutes of training")
        panel.legend()
    panels[0][0].set_ylabel("right on test, %")
    figure.savefig(path, dpi=150, bbox_inches="tight")
    pyplot.close(figure)


def main(argv: Sequence[str]) -> None:
    """Runs what isn't done yet, or one arm, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add: Callable[..., Any] = parser.add_argument
    add("--root", default="data/photographs32", help="photographs in STL-10's layout (%(default)s)")
    add("--kekmodel", help="a checkout of kekmodel/FixMatch-pytorch; without it our arm runs alone")
    add("--minutes", type=float, default=15, help="of training, an arm (%(default)s)")
    add("--labels", type=int, nargs="+", default=[250, 4000], help="in all, of ten classes (%(default)s)")
    add("--seeds", type=int, nargs="+", default=[0], help="(%(default)s)")
    add("--test", type=int, default=2000, help="test images to score (%(default)s)")
    add("--workers", type=int, default=2, help="of each of the peer's loaders (%(default)s)")
    add("--out", type=Path, default=Path("race"), help="folder of the results (%(default)s)")
    add("--arm", choices=ARMS, help="be the process of this arm, with one number of labels and one seed")
    split = argv.index("--") if "--" in argv else len(argv)
    options = parser.parse_args(argv[:split])
    options.more = list(argv[split + 1 :])
    options.out.mkdir(parents=True, exist_ok=True)
    if options.arm:
        (options.labels,), (options.seed,) = options.labels, options.seeds
        clock = ARMS[options.arm](options)
        facts = {"arm": options.arm, "labels": options.labels, "seed": options.seed, "torch": torch.__version__}
        content = json.dumps({**facts, "threads": torch.get_num_threads(), "more": options.more, "seen": clock.seen})
        write_atomically(options.out / f"{options.arm}-{options.labels}-s{options.seed}.json", content)
        return
    bound_spinning()  # in the arms' processes
    for labels in options.labels:
        for seed in options.seeds:
            for name in ARMS if options.kekmodel else ["ours"]:
                if (options.out / f"{name}-{labels}-s{seed}.json").exists():
                    continue
                print(f"{name}, {labels:,} labels, seed {seed}", flush=True)
                one = ["--arm", name, "--labels", str(labels), "--seeds", str(seed)]
                subprocess.run([sys.executable, __file__, *argv[:split], *one, *argv[split:]], check=True)
    found = results(options)
    for (labels, name), runs in found.items():
        ends = ", ".join(f"{100 * seen[-1]['accuracy']:.1f} % after {seen[-1]['steps']:,} steps" for seen in runs)
        print(f"{labels:,} labels, {name}: {ends}")
    draw(found, options.out / "race.png")


if __name__ == "__main__":
    main(sys.argv[1:])
