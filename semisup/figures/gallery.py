"""How each of the framework's figures is made of what a run left, or of a run that is still training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from semisup.augment.views import VIEWS
from semisup.errors import require
from semisup.figures.artifacts import Parts, RunArtifacts, labeled_images
from semisup.figures.augmentations import augmentations
from semisup.figures.calibration import calibration
from semisup.figures.confusion import confusion, counted
from semisup.figures.curves import curves
from semisup.figures.embedding import embedding
from semisup.figures.filters import filters
from semisup.figures.stages import LAST, first_filters, stage_features
from semisup.randomness import Draw, permutation

_COLUMNS = 8  # images in a row
_TSNE_IMAGES = 10  # images that t-SNE makes sense of


def draw_filters(run: RunArtifacts, before: Mapping[str, Tensor] | None = None) -> Parts:
    """The filters of the first convolution.

    Args:
        run: the run.
        before: other filters to be drawn to the left of them, by their titles.
    """
    epochs = f"after {run.epochs} epoch{'s' * (run.epochs != 1)}"
    yuv = run.module.network.normalization.kind == "yuv"
    title = f"{epochs} (Y, U, V shown as red, green, blue)" if yuv else epochs
    yield "", filters({**(before or {}), title: first_filters(run.module)})


def draw_augmentations(run: RunArtifacts) -> Parts:
    """Every view of the same few labeled images."""
    pool, seed = run.data.pools.labeled, run.data.seed
    images = pool.gather(permutation(len(pool), seed, "figures", "augmentations")[:_COLUMNS]).contiguous()
    position = torch.arange(len(images))
    draws = {name: Draw(seed, 0, f"figures/{name}", position, len(images)) for name in VIEWS}
    yield "", augmentations({name: view(images, draws[name]) for name, view in VIEWS.items()})


def draw_embedding(run: RunArtifacts) -> Parts:
    """t-SNE of labeled images: of their pixels and after every stage of the network; of its features while it trains.

    Raises:
        InputError: there are too few images, or the network has diverged.
    """
    module, data = run.fitting
    images, target, what = labeled_images(data)
    require(len(images) >= _TSNE_IMAGES, f"t-SNE needs {_TSNE_IMAGES} labeled images, and the data has {len(images)}")
    names = module.spec.class_names
    if not run.live:
        pixels = images[:, 0].flatten(1).float() / 255
        title = f"pixels of the first channel: {what}"
        yield "0-pixels", embedding(images, target, pixels, names, title)
    for number, (name, features) in enumerate(stage_features(module, images, data.eval_batch_size), 1):
        require(bool(features.isfinite().all()), "the network has diverged: its features are not finite")
        title = f"{name if name == LAST else f'after {name}'}: {what}"
        if not run.live or name == LAST:
            part = "" if run.live else f"{number}-{name.replace(' ', '')}"
            yield part, embedding(images, target, features, names, title)


def draw_confusion(run: RunArtifacts) -> Parts:
    """True against predicted classes."""
    p, target, what = run.predictions
    yield "", confusion(counted(p, target), run.module.spec.class_names, what)


def draw_calibration(run: RunArtifacts) -> Parts:
    """How often predictions are right, by their confidence."""
    yield "", calibration(*run.predictions)


def draw_curves(runs: Sequence[RunArtifacts]) -> Parts:
    """The curves of all runs in one figure.

    Raises:
        InputError: a run has no metrics.
    """
    yield "", curves({run.title: run.metrics for run in runs})
