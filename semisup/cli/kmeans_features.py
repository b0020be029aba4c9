"""`semisup kmeans-features`: a linear SVM on k-means features, without a network (Coates, Ng & Lee 2011).

    python -m semisup kmeans-features --data stl10 --centroids 1600 --patch 6

Centroids come from patches of the unlabeled images, or of the labeled ones where there are no others; the SVM is
trained on the labeled images, its C chosen on the validation images, and it is scored on test, once. A picture of the
centroids and the scores are left in `runs/<data>/kmeans-features/<time>-s<seed>/`.
"""

from __future__ import annotations

import math
import os
import time
from argparse import ArgumentParser, Namespace
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from semisup.cli import add_output
from semisup.errors import InputError, require
from semisup.runs.directory import new_run_dir, write_atomically
from semisup.runs.paths import output_folder

if TYPE_CHECKING:
    from semisup.features.dictionary import Dictionary

_GROUPS = ("data", "seed", "config", "trust")  # of the options of `semisup fit`, those that mean something here
_MINIMUM = {"centroids": 2, "patch": 2}  # one centroid is as near as the mean of all; a pixel has no contrast
_NAME = "kmeans-features"
_DRAWN = 1600  # centroids that a page has room for


def add_options(parser: ArgumentParser) -> None:
    """The verb's own options; those of the data are `semisup fit`'s."""
    parser.add_argument("--centroids", type=int, default=1600, help="how many (default: %(default)s)")
    parser.add_argument("--patch", type=int, default=6, help="its side in pixels (default: %(default)s)")
    parser.add_argument("--images", type=int, default=20_000, help="to take patches of (default: %(default)s)")
    parser.add_argument("--patches_per_image", type=int, default=16, help="of each (default: %(default)s)")
    parser.add_argument("--c", type=float, help="of the SVM (default: chosen on the validation images)")
    add_output(parser, "DIR", "for picture and scores (default: a new folder in runs/)")


def run(request: Namespace, argv: list[str]) -> None:
    """Learns centroids, computes features, and trains and scores the SVM.

    Args:
        request: the verb's own options.
        argv: those that it shares with `semisup fit`: `--data` and its group, `--seed` and `--config`.

    Raises:
        InputError: an option or the data is wrong, or the data has no labeled test images.
    """
    c = request.c
    require(c is None or (c > 0 and math.isfinite(c)), f"--c is {c}, but must be more than 0, and finite")
    for name in ("centroids", "patch", "images", "patches_per_image"):
        value, least = getattr(request, name), _MINIMUM.get(name, 1)
        require(value >= least, f"--{name} is {value}, but must be at least {least}")
    for argument in argv:
        option = argument.removeprefix("--").partition("=")[0]
        if argument.startswith("--") and option.partition(".")[0] not in _GROUPS:
            raise InputError(f"there is no option --{option} here; `semisup kmeans-features --help` lists them")

    names = ("centroids.png", "centroids.pdf", "scores.csv")
    with output_folder(request.out, names, request.force) if request.out else nullcontext() as out:
        _run(request, argv, out)


def _run(request: Namespace, argv: list[str], out: Path | None) -> None:
    import torch

    from semisup.cli.build import build_data
    from semisup.cli.config import parse
    from semisup.features.coates import features
    from semisup.features.dictionary import learn
    from semisup.features.linear import GRID, linear_svm
    from semisup.runtime.console import say

    c, options = request.c, parse("fit", argv).data
    data = build_data(options)
    pools = data.pools
    known = pools.test is not None and pools.test.scorable
    require(known, f"{data.spec.name} has no test images with labels here, and the features are scored on them")
    choosable = pools.val is not None or c is not None
    require(choosable, f"{data.spec.name} has no validation images here to choose the SVM's C on; type --c 0.01")
    side = data.spec.image_size
    require(
        request.patch < side,
        f"--patch is {request.patch}, but patches slide over the images, which have {side} pixels a side; type "
        f"--patch {min(6, side - 1)}",
    )
    start = time.monotonic()
    dictionary = learn(
        pools.without_label or pools.labeled,
        request.centroids,
        (request.patch, request.patch),
        options.seed,
        images=request.images,
        patches_per_image=request.patches_per_image,
        device=torch.device("cuda" if torch.cuda.is_available() else "cpu"),
    )
    say(f"{_NAME}: {request.centroids:,} centroids of {data.spec.name}, in {time.monotonic() - start:.1f} s")
    folder = out or new_run_dir(Path("runs"), data.spec.name, _NAME, options.seed)
    _draw(dictionary, folder)
    start = time.monotonic()
    scored = {"train": pools.labeled, "val": pools.val, "test": pools.test}
    x = {name: features(pool, dictionary, name) for name, pool in scored.items() if pool}
    y = {name: pool.labels for name, pool in scored.items() if pool}
    say(f"{_NAME}: {4 * request.centroids:,} features of each image, in {time.monotonic() - start:.1f} s")
    start = time.monotonic()
    cs = GRID if c is None else (c,)
    val = x.get("val"), y.get("val")
    scores = linear_svm(x["train"], y["train"], *val, x["test"], y["test"], cs=cs, seed=options.seed)
    say(f"{_NAME}: linear SVM with C {scores.c:g}, in {time.monotonic() - start:.1f} s")
    row = {"c": scores.c, "val_accuracy": scores.val_accuracy, "test_accuracy": scores.test_accuracy}
    columns = {name: repr(score) for name, score in row.items() if score is not None}
    write_atomically(folder / "scores.csv", f"{','.join(columns)}\n{','.join(columns.values())}\n")
    say(os.path.relpath(folder / "scores.csv"))
    if scores.val_accuracy is not None:
        say(f"val/accuracy   {100 * scores.val_accuracy:6.2f} %")
    say(f"test/accuracy  {100 * scores.test_accuracy:6.2f} %")


def _draw(dictionary: Dictionary, folder: Path) -> None:
    """Writes a picture of the centroids, as k-means found them, in the space of whitened patches; says where."""
    from semisup.figures.filters import filters
    from semisup.figures.style import save
    from semisup.runtime.console import say

    centroids = dictionary.centroids.unflatten(1, dictionary.shape).cpu()
    some = f"the first {_DRAWN:,} of " if len(centroids) > _DRAWN else ""
    title = f"{some}{len(centroids):,} centroids of {'' if dictionary.whitening is None else 'whitened '}patches"
    for path in save(filters({title: centroids[:_DRAWN]}), folder, "centroids"):
        say(os.path.relpath(path))
