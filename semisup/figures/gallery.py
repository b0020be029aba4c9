"""How each figure is made of what a run left."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

import torch
from matplotlib.figure import Figure
from torch import Tensor

from semisup.augment.surrogate import COURSE, PAPER, fit_components, surrogate_crops
from semisup.augment.views import VIEWS
from semisup.classifier import Classifier
from semisup.data.datamodule import DataModule
from semisup.errors import InputError, require
from semisup.figures.artifacts import RunArtifacts, labeled_images
from semisup.figures.augmentations import augmentations
from semisup.figures.calibration import calibration
from semisup.figures.confusion import confusion, counted
from semisup.figures.curves import curves
from semisup.figures.embedding import embedding
from semisup.figures.filters import filters
from semisup.figures.pseudolabels import pseudolabels, rounds
from semisup.figures.stages import LAST, first_filters, stage_features
from semisup.figures.surrogate import surrogate, whole_patches
from semisup.randomness import Draw, permutation

_COLUMNS = 8  # images in a row
_ROWS = 10  # surrogate classes
_CROP = 32  # pixels a side of their samples, unless the run was told another size
_CHUNK = 256  # images read at once
_LEAST = 10  # images that t-SNE makes sense of

Named = Iterator[tuple[str, Figure]]


def _filters(run: RunArtifacts) -> Named:
    epochs = f"after {run.epochs} epoch{'s' * (run.epochs != 1)}"
    yuv = run.module.network.normalization.kind == "yuv"
    panels = {f"{epochs} (Y, U, V shown as red, green, blue)" if yuv else epochs: first_filters(run.module)}
    with suppress(InputError):  # where there was no k-means, training began with random filters
        panels = {"k-means, before training": run.state("KMeans")["filters"]} | panels
    yield "filters", filters(panels)


def _centroids(run: RunArtifacts) -> Named:
    found = run.state("KMeans")["centroids"]
    yield "centroids", filters({f"{len(found):,} centroids": found})


def _surrogate(run: RunArtifacts) -> Named:
    state, options, pools = run.state("Exemplar"), run.options["exemplar"], run.data.pools
    rows, centres = state["rows"], state["centres"]
    pool, count, per_class = pools.without_label or pools.labeled, len(rows), options["samples_per_class"]
    there = count > 0 and int(rows.min()) >= 0 and int(rows.max()) < len(pool)
    require(there, "the images that surrogate classes were made of are not there")
    size = options["crop"] or min(_CROP, pool.shape[-1])
    ranges = PAPER if options["recipe"] == "paper" else COURSE
    components = fit_components(pool.gather(part) for part in rows.split(_CHUNK)) if ranges.color else None
    chosen = permutation(count, run.data.seed, "figures", "surrogate")[:_ROWS].sort().values
    images, number = pool.gather(rows[chosen]).contiguous(), chosen[:, None] * per_class + torch.arange(_COLUMNS)
    # The very samples that the network was trained on: these are the draws of strategies/exemplar.py.
    draw = Draw(run.data.seed, 0, "exemplar", number.flatten(), count * per_class)
    repeated, around = images.repeat_interleave(_COLUMNS, 0), centres[chosen].repeat_interleave(_COLUMNS, 0)
    samples = surrogate_crops(repeated, around, draw, ranges, components, size).unflatten(0, (-1, _COLUMNS))
    yield "surrogate", surrogate(whole_patches(images, centres[chosen], size), samples)


def _augmentations(run: RunArtifacts) -> Named:
    yield from views(run.data)


def views(data: DataModule) -> Named:
    """Every view of the same few labeled images."""
    pool, seed = data.pools.labeled, data.seed
    images = pool.gather(permutation(len(pool), seed, "figures", "augmentations")[:_COLUMNS]).contiguous()
    position = torch.arange(len(images))
    draws = {name: Draw(seed, 0, f"figures/{name}", position, len(images)) for name in VIEWS}
    yield "augmentations", augmentations({name: view(images, draws[name]) for name, view in VIEWS.items()})


def _embedding(run: RunArtifacts) -> Named:
    module, data = run.fitting
    images, target, what = _embedded(data)
    names = module.spec.class_names
    pixels = images[:, 0].flatten(1).float() / 255
    yield "embedding-0-pixels", embedding(images, target, pixels, names, f"pixels of the first channel: {what}")
    for number, (name, features) in enumerate(stage_features(module, images, data.eval_batch_size), 1):
        _refuse_diverged(features)
        title = f"{name if name == LAST else f'after {name}'}: {what}"
        yield f"embedding-{number}-{name.replace(' ', '')}", embedding(images, target, features, names, title)


def last_embedding(module: Classifier, data: DataModule) -> Named:
    """t-SNE of labeled images after the last stage of the network alone.

    Raises:
        InputError: there are too few images, or the network has diverged.
    """
    images, target, what = _embedded(data)
    features = dict(stage_features(module, images, data.eval_batch_size))[LAST]
    _refuse_diverged(features)
    yield "embedding", embedding(images, target, features, module.spec.class_names, f"{LAST}: {what}")


def _embedded(data: DataModule) -> tuple[Tensor, Tensor, str]:
    images, target, what = labeled_images(data)
    require(len(images) >= _LEAST, f"t-SNE needs {_LEAST} labeled images, and the data has {len(images)}")
    return images, target, what


def _refuse_diverged(features: Tensor) -> None:
    require(bool(features.isfinite().all()), "the network has diverged: its features are not finite")


def _confusion(run: RunArtifacts) -> Named:
    p, target, what = run.predictions
    yield "confusion", confusion(counted(p, target), run.module.spec.class_names, what)


def _calibration(run: RunArtifacts) -> Named:
    yield "calibration", calibration(*run.predictions)


def _pseudolabels(run: RunArtifacts) -> Named:
    found = rounds(run.metrics)
    require(bool(found), "the run logged no round of pseudo-labels")
    yield "pseudolabels", pseudolabels(found)


OF_A_RUN: dict[str, Callable[[RunArtifacts], Named]] = {
    "filters": _filters,
    "centroids": _centroids,
    "surrogate": _surrogate,
    "augmentations": _augmentations,
    "embedding": _embedding,
    "confusion": _confusion,
    "calibration": _calibration,
    "pseudolabels": _pseudolabels,
}


def of_all(runs: Sequence[RunArtifacts]) -> Named:
    """The curves of all runs in one figure.

    Raises:
        InputError: a run has no metrics.
    """
    yield "curves", curves({run.name: run.metrics for run in runs})
