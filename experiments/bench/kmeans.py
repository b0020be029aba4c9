"""K-means on patches of photographs: ours against scikit-learn's, and against faiss where it is installed.

    python experiments/bench/kmeans.py --side 3 --k 64 --points 50000
    python experiments/bench/kmeans.py --side 6 --k 800 --points 40000 --data-dir data

Patches are contrast-normalised and whitened, from the two photographs that scikit-learn ships or from STL-10's
unlabeled images. Every arm starts from k-means++ (faiss from random points) once, with the turn's number as its seed;
those that take all points at every step take 25 steps, on the GPU where there is one and they can. Inertia is that of
all points, by the same function for all, divided by their number.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import count

import numpy as np
import torch
from common import Run, alternate, bench_parser, device, parse, report, synchronize
from sklearn.cluster import KMeans, MiniBatchKMeans
from sklearn.datasets import load_sample_images
from torch import Tensor

from datamodules.stl10 import STL10
from semisup.data.pool import Pool
from semisup.features.kmeans import Method, cluster
from semisup.features.patches import Whitening, contrast_normalize, random_patches

STEPS = 25
PER_IMAGE = 10
Arm = Callable[[Tensor, int, int], Tensor]  # points (M, D), k and seed to centroids (k, D)


def ours(method: Method, where: torch.device) -> Arm:
    """Our k-means by one of its methods."""
    return lambda points, k, seed: cluster(points.to(where), k, seed, steps=STEPS, method=method).centroids


def sklearn_minibatch(points: Tensor, k: int, seed: int) -> Tensor:
    """scikit-learn's mini-batches with its defaults."""
    return torch.from_numpy(MiniBatchKMeans(k, n_init=1, random_state=seed).fit(points.numpy()).cluster_centers_)


def sklearn_lloyd(points: Tensor, k: int, seed: int) -> Tensor:
    """scikit-learn's Lloyd with its defaults."""
    model = KMeans(k, n_init=1, max_iter=STEPS, random_state=seed).fit(points.numpy())
    return torch.from_numpy(model.cluster_centers_)


def arms() -> dict[str, Arm]:
    """Those that can run here."""
    found: dict[str, Arm] = {
        "semisup minibatch": ours("minibatch", torch.device("cpu")),
        "semisup lloyd": ours("lloyd", device()),
        "sklearn minibatch": sklearn_minibatch,
        "sklearn lloyd": sklearn_lloyd,
    }
    try:
        import faiss
    except ImportError:
        return found

    def faiss_lloyd(points: Tensor, k: int, seed: int) -> Tensor:
        model = faiss.Kmeans(points.shape[1], k, niter=STEPS, seed=seed, gpu=device().type == "cuda")
        model.train(points.numpy())
        return torch.from_numpy(model.centroids)

    return found | {"faiss": faiss_lloyd}


def photographs(data_dir: str | None) -> Pool:
    """STL-10's unlabeled images in a folder, or 96x96 crops of scikit-learn's two photographs, 16 pixels apart."""
    if data_dir:
        unlabeled = STL10(data_dir).pools.without_label
        assert unlabeled is not None
        return unlabeled
    windows = [
        np.lib.stride_tricks.sliding_window_view(image, (96, 96), axis=(0, 1))[::16, ::16]
        for image in load_sample_images().images
    ]
    return Pool(np.concatenate([window.reshape(-1, 3, 96, 96) for window in windows]))


def main() -> None:
    """Runs the arms in turn and prints what was measured."""
    parser = bench_parser(__doc__)
    parser.add_argument("--side", type=int, default=3, help="of a patch, in pixels (%(default)s)")
    parser.add_argument("--k", type=int, default=64, help="centroids (%(default)s)")
    parser.add_argument("--points", type=int, default=50_000, help="patches (%(default)s)")
    parser.add_argument("--data-dir", help="the folder of stl10_binary")
    arguments = parse(parser)
    pool = photographs(arguments.data_dir)
    per_image = -(-arguments.points // min(len(pool), arguments.points // PER_IMAGE))
    size = (arguments.side, arguments.side)
    points = contrast_normalize(random_patches(pool, len(pool), per_image, size, 0)[: arguments.points])
    points = Whitening.fit(points).apply(points)

    def timed(arm: Arm) -> Callable[[], Run]:
        seeds = count()

        def run() -> Run:
            synchronize()
            start = time.perf_counter()
            centroids = arm(points, arguments.k, next(seeds)).cpu()
            seconds = time.perf_counter() - start
            return Run(len(points), {"s": seconds, "inertia a point": inertia(points, centroids)})

        return run

    pairs = [
        ("semisup minibatch", "sklearn minibatch"),
        ("semisup lloyd", "sklearn lloyd"),
        ("semisup lloyd", "semisup minibatch"),
    ]
    found = arms()
    runs = alternate({name: timed(arm) for name, arm in found.items()}, arguments.pairs)
    report("kmeans", arguments, runs, pairs + [("semisup lloyd", "faiss")] * ("faiss" in found))


def inertia(points: Tensor, centroids: Tensor) -> float:
    """Mean squared distance of a point to the nearest centroid."""
    nearest = [torch.cdist(chunk, centroids).min(1).values for chunk in points.split(2048)]
    return float(torch.cat(nearest).double().square().mean())


if __name__ == "__main__":
    main()
