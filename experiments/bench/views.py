"""The input pipeline: source images a second, each giving the views that a step of training needs.

    python experiments/bench/views.py --side 96 --batch 64
    python experiments/bench/views.py --side 32 --batch 448
    python experiments/bench/views.py --side 96 --batch 64 --views course
    for s in 96 32; do for b in 448 64; do  # USB itself, from a checkout of it, on a machine that does nothing else
        python experiments/bench/views.py --side $s --batch $b --batches 20 --arms --peer USB; done; done

`fixmatch` is one weak and one strong view of every image: ours against USB's pipeline in Pillow and against that of
torchvision, and with `--peer` against USB's own classes. `course` is the course's single view, against torchvision's.
Ours gathers whole batches from a memory map in STL-10's layout and augments them as training does, in this process, on
`--threads` threads; the peers get `--workers` processes, and hold their images in memory in the order of axes that they
like best. Every arm hands normalised float32 batches to this process (in `course` they are left in [0, 1]). Each turn
goes through the same number of batches; the clock starts when as many are through as workers prepare in advance.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from common import Run, alternate, bench_parser, parse, report
from noise import Noise, map_noise, write_noise
from peers import MEAN, STD, batches, torchvision, torchvision_course, usb, usb_itself
from torch import Tensor

from semisup.batch import Needs
from semisup.models.normalization import Normalization
from semisup.runtime.memory import keep_freed_memory

PEERS = {"fixmatch": {"usb": usb, "torchvision": torchvision}, "course": {"torchvision": torchvision_course}}
VIEWS = {"fixmatch": ("weak", "strong"), "course": ("weak",)}


def ours(data: Noise, normalize: Callable[[Tensor], Tensor]) -> Iterator[tuple[Tensor, ...]]:
    """The views of an epoch's batches, as the training loop gets them."""
    for raw in data.train_dataloader():
        batch = data.on_after_batch_transfer(raw, 0)
        yield tuple(normalize(batch.labeled.views[name]) for name in data.needs.labeled_views)


def throughput(epoch: Callable[[], Iterable[tuple[Tensor, ...]]], skip: int) -> Run:
    """Goes through an epoch's batches, and times those after the first `skip`."""
    images, start = 0, time.perf_counter()
    for number, views in enumerate(epoch(), start=1):
        assert all(view.dtype == torch.float32 and len(view) == len(views[0]) for view in views)
        if number > skip:
            images += len(views[0])
        elif number == skip:
            start = time.perf_counter()
    return Run(images, {"images/s": images / (time.perf_counter() - start)})


def main() -> None:
    """Runs the arms and prints what was measured."""
    parser = bench_parser(__doc__)
    parser.add_argument("--side", type=int, default=96, help="pixels")
    parser.add_argument("--batch", type=int, default=64, help="source images in a batch")
    parser.add_argument("--batches", type=int, default=40, help="timed in each turn")
    parser.add_argument("--images", type=int, default=4096, help="in the dataset")
    parser.add_argument("--views", choices=VIEWS, default="fixmatch")
    parser.add_argument("--workers", type=int, default=2, help="processes of each peer")
    parser.add_argument("--peer", help="a checkout of USB, whose own code is another arm of fixmatch")
    parser.add_argument("--arms", nargs="*", default=["usb", "torchvision"], help="peers to compare with")
    arguments = parse(parser)
    keep_freed_memory()  # as training does; the peers' processes inherit it
    skip = 2 * arguments.workers  # what a DataLoader prepares in advance
    count, size = skip + arguments.batches, arguments.batch
    with tempfile.TemporaryDirectory() as folder:
        write_noise(Path(folder) / "images.bin", arguments.images, arguments.side)
        mapped = map_noise(Path(folder) / "images.bin", arguments.side)
        augmentation = "course" if arguments.views == "course" else "weak"
        data = Noise(mapped, len(mapped), batch_size=size, steps_per_epoch=count, augmentation=augmentation)
        data.needs = Needs(labeled_views=VIEWS[arguments.views])
        normalization = Normalization("none" if arguments.views == "course" else "channel", 3)
        if arguments.views == "fixmatch":
            normalization.mean, normalization.std = torch.tensor(MEAN), torch.tensor(STD)
        arms = {"semisup": partial(throughput, partial(ours, data, normalization), skip)}
        pixels = np.ascontiguousarray(mapped.transpose(0, 2, 3, 1))
        peers = {name: peer for name, peer in PEERS[arguments.views].items() if name in arguments.arms}
        if arguments.peer and arguments.views == "fixmatch":
            peers["USB itself"] = partial(usb_itself, source=Path(arguments.peer))
        for name, peer in peers.items():
            loader = batches(peer(pixels), size, count, arguments.workers)
            arms[name] = partial(throughput, partial(iter, loader), skip)
        runs = alternate(arms, arguments.pairs)
    report("views", arguments, runs)


if __name__ == "__main__":
    main()
