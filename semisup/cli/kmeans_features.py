"""`semisup kmeans-features`: a linear SVM on k-means features, without a network (Coates, Ng & Lee 2011).

    python -m semisup kmeans-features --data stl10 --centroids 1600 --patch 6

Centroids come from patches of the unlabeled images, or of the labeled ones where there are no others; the SVM is
trained on the labeled images, its C chosen on the validation images, and it is scored on test, once.
"""

from __future__ import annotations

import time
from argparse import ArgumentParser, Namespace

from semisup.errors import InputError, require

_GROUPS = ("data", "seed", "config")  # of the options of `semisup fit`, those that mean something here


def add_options(parser: ArgumentParser) -> None:
    """The verb's own options; those of the data are `semisup fit`'s."""
    parser.add_argument("--centroids", type=int, default=1600, help="how many (default: %(default)s)")
    parser.add_argument("--patch", type=int, default=6, help="its side in pixels (default: %(default)s)")
    parser.add_argument("--images", type=int, default=20_000, help="to take patches of (default: %(default)s)")
    parser.add_argument("--patches_per_image", type=int, default=16, help="of each (default: %(default)s)")
    parser.add_argument("--c", type=float, help="of the SVM (default: chosen on the validation images)")


def run(request: Namespace, argv: list[str]) -> None:
    """Learns centroids, computes features, and trains and scores the SVM.

    Args:
        request: the verb's own options.
        argv: those that it shares with `semisup fit`: `--data` and its group, `--seed` and `--config`.

    Raises:
        InputError: an option or the data is wrong, or the data has no labeled test images.
    """
    require(request.c is None or request.c > 0, f"--c is {request.c}, but must be more than 0")
    for name in ("centroids", "patch", "images", "patches_per_image"):
        require(getattr(request, name) >= 1, f"--{name} is {getattr(request, name)}, but must be at least 1")
    for argument in argv:
        option = argument.removeprefix("--").partition("=")[0]
        if argument.startswith("--") and option.partition(".")[0] not in _GROUPS:
            raise InputError(f"there is no option --{option} here; `semisup kmeans-features --help` lists them")

    import torch

    from semisup.cli.build import build_data
    from semisup.cli.config import parse
    from semisup.console import say
    from semisup.features.coates import features
    from semisup.features.dictionary import learn
    from semisup.features.linear import GRID, linear_svm

    config = parse("fit", argv)
    data = build_data(config)
    pools = data.pools
    known = pools.test is not None and pools.test.scorable
    require(known, f"{data.spec.name} has no test images with labels here, and the features are scored on them")
    choosable = pools.val is not None or request.c is not None
    require(choosable, f"{data.spec.name} has no validation images here to choose the SVM's C on; type --c 0.01")
    start = time.monotonic()
    dictionary = learn(
        pools.unlabeled or pools.labeled,
        request.centroids,
        (request.patch, request.patch),
        config.seed,
        images=request.images,
        patches_per_image=request.patches_per_image,
        device=torch.device("cuda" if torch.cuda.is_available() else "cpu"),
    )
    say(f"kmeans-features: {request.centroids:,} centroids of {data.spec.name}, in {time.monotonic() - start:.1f} s")
    start = time.monotonic()
    scored = {"train": pools.labeled, "val": pools.val, "test": pools.test}
    x = {name: features(pool, dictionary, name) for name, pool in scored.items() if pool}
    y = {name: pool.labels for name, pool in scored.items() if pool}
    say(f"kmeans-features: {4 * request.centroids:,} features of each image, in {time.monotonic() - start:.1f} s")
    start = time.monotonic()
    cs = GRID if request.c is None else (request.c,)
    val = x.get("val"), y.get("val")
    scores = linear_svm(x["train"], y["train"], *val, x["test"], y["test"], cs=cs, seed=config.seed)
    say(f"kmeans-features: linear SVM with C {scores.c:g}, in {time.monotonic() - start:.1f} s")
    if scores.val_accuracy is not None:
        say(f"val/accuracy   {100 * scores.val_accuracy:6.2f} %")
    say(f"test/accuracy  {100 * scores.test_accuracy:6.2f} %")
