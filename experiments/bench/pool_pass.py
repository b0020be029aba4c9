"""The pass over the unlabeled pool that makes pseudo-labels, against nothing but the network.

    python experiments/bench/pool_pass.py --backbone solution --side 96 --images 2048
    python experiments/bench/pool_pass.py --backbone wrn-28-2 --side 32 --images 4096

Ours predicts the pool as a round of pseudo-labels does: it gathers uint8 images from a memory map in STL-10's layout,
makes floats of them, and gives every image's class probabilities. The floor is the forward pass of the same network, in
evaluation mode and without gradients, over the same batches, which lie decoded on the device, in the fastest order of
axes, before the clock starts.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from common import Run, alternate, bench_parser, device, parse, report, synchronize
from noise import Noise, map_noise, write_noise
from torch import Tensor

from semisup.classifier import Classifier, ModelOptions
from semisup.data.pool import Pool
from semisup.predict import predict
from semisup.runtime.memory import keep_freed_memory


def whole_pass(module: Classifier, pool: Pool, size: int) -> int:
    """What a round does with every image; returns how many there were."""
    return sum(len(rows) for rows, _ in predict(module, pool, size))


def forward(module: Classifier, batches: list[Tensor]) -> int:
    """The network alone, over (B, 3, H, W) float32 batches; returns how many images there were."""
    module.network.eval()
    with torch.no_grad():
        return sum(len(module.network(images)) for images in batches)


def timed(arm: Callable[[], int]) -> Run:
    """Images a second."""
    start = time.perf_counter()
    images = arm()
    synchronize()
    return Run(images, {"images/s": images / (time.perf_counter() - start)})


def measured(backbone: str, side: int, images: int, size: int, pairs: int) -> dict[str, list[Run]]:
    """What both arms did with a pool of so many images, `size` of them in a batch."""
    with tempfile.TemporaryDirectory() as folder:
        write_noise(Path(folder) / "images.bin", images + 1, side)
        data = Noise(map_noise(Path(folder) / "images.bin", side), labeled=1)
        pool = data.pools.without_label
        assert pool is not None
        module = Classifier(data.spec, model=ModelOptions(backbone)).to(device())
        rows = torch.arange(len(pool)).split(size)
        keep_freed_memory()  # as training does; for both arms
        decoded = [
            (pool.gather(index).to(device()).float() / 255).to(memory_format=torch.channels_last) for index in rows
        ]
        arms = {
            "semisup": partial(timed, partial(whole_pass, module, pool, size)),
            "forward": partial(timed, partial(forward, module, decoded)),
        }
        return alternate(arms, pairs)


def main() -> None:
    """Runs the pairs and prints what was measured."""
    parser = bench_parser(__doc__)
    parser.add_argument("--backbone", default="wrn-28-2")
    parser.add_argument("--side", type=int, default=32, help="pixels")
    parser.add_argument("--images", type=int, default=4096, help="in the pool")
    parser.add_argument("--batch", type=int, default=256)
    asked = parse(parser)
    report("pool_pass", asked, measured(asked.backbone, asked.side, asked.images, asked.batch, asked.pairs))


if __name__ == "__main__":
    main()
