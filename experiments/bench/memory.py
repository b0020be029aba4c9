"""What STL-10 costs to have: time and memory of opening it, and of going through it once.

    python experiments/bench/memory.py

Opens all of STL-10 with our datamodule and with torchvision's `STL10` (`train+unlabeled` and `test`, its md5 checks
left out), each time in a new process, from files of random bytes in STL-10's layout that are written first (3.1 GB for
100,000 unlabeled images, in the folder for temporary files) and removed afterwards. Then gathers every unlabeled image
once, in random order, 448 at a time: a memory map that opens in no time still has to be read. Memory is what the
process gained since its imports, which both arms share; USS counts pages of the mapped file too, "own" does not. The
files are in the system's cache in both arms; ours looks for duplicates of test images in the turn that isn't counted,
and finds that answer in a file afterwards.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import Run, alternate, bench_parser, in_new_process, parse, private_memory, report
from noise import write_noise
from torchvision.datasets import STL10 as Torchvision

from datamodules.stl10 import STL10

_BATCH = 448  # 7 times 64
_LABELED, _TEST = 20, 12.5  # unlabeled images for each labeled and each test image, as in STL-10


class Unchecked(Torchvision):
    """torchvision's STL-10 from files of any content."""

    def _check_integrity(self) -> bool:
        return True


def semisup(root: str) -> tuple[int, Any, Any]:
    """Opens the pools: number of images, number of unlabeled ones, and how to gather these."""
    pools = STL10(root, labeled_in_unlabeled=False).pools
    assert pools.unlabeled and pools.val and pools.test
    count = sum(len(pool) for pool in (pools.labeled, pools.unlabeled, pools.val, pools.test))
    return count, len(pools.unlabeled), pools.unlabeled.gather


def torchvision(root: str) -> tuple[int, Any, Any]:
    """The same with torchvision, whose unlabeled images follow the labeled ones."""
    train, test = Unchecked(root, "train+unlabeled"), Unchecked(root, "test")
    labeled = int((train.labels >= 0).sum())
    pool = train.data[labeled:]
    return len(train) + len(test), len(pool), lambda rows: torch.from_numpy(pool[rows.numpy()])


ARMS = {"semisup": semisup, "torchvision": torchvision}


def measure(arm: str, root: str) -> None:
    """Opens and reads STL-10 in this process, and prints what it took."""
    before, start = private_memory(), time.perf_counter()
    count, unlabeled, gather = ARMS[arm](root)
    figures = {"load s": time.perf_counter() - start, **_gained(before, "load")}
    rows = torch.randperm(unlabeled, generator=torch.Generator().manual_seed(0))
    start, read = time.perf_counter(), 0
    for index in rows.split(_BATCH):
        read += len(gather(index))
    figures |= {"pass s": time.perf_counter() - start, **_gained(before, "pass")}
    assert read == unlabeled
    print(json.dumps({"count": count, **figures}))


def _gained(before: dict[str, float], when: str) -> dict[str, float]:
    return {f"{when} {unit}": value - before[unit] for unit, value in private_memory().items()}


def write(folder: Path, unlabeled: int) -> None:
    """Random files in STL-10's layout, with its proportions of labeled, test and unlabeled images."""
    folder.mkdir()
    sizes = {"train": int(unlabeled / _LABELED), "test": int(unlabeled / _TEST), "unlabeled": unlabeled}
    for part, count in sizes.items():
        write_noise(folder / f"{part}_X.bin", count, 96)
        if part != "unlabeled":
            (np.arange(count) % 10 + 1).astype(np.uint8).tofile(folder / f"{part}_y.bin")
    (folder / "class_names.txt").write_text("\n".join("abcdefghij"))


def turn(arm: str, root: str) -> Run:
    """A new process that opens and reads STL-10."""
    figures = in_new_process("--measure", arm, "--root", root)
    return Run(int(figures.pop("count")), figures)


def main() -> None:
    """Writes the files, runs the arms and prints what was measured."""
    parser = bench_parser(__doc__)
    parser.add_argument("--images", type=int, default=100_000, help="unlabeled images")
    parser.add_argument("--measure", choices=ARMS, help=argparse.SUPPRESS)
    parser.add_argument("--root", help=argparse.SUPPRESS)
    arguments = parse(parser)
    if arguments.measure:
        measure(arguments.measure, arguments.root)
        return
    with tempfile.TemporaryDirectory() as root:
        write(Path(root) / "stl10_binary", arguments.images)
        report("memory", arguments, alternate({arm: partial(turn, arm, root) for arm in ARMS}, arguments.pairs))


if __name__ == "__main__":
    main()
