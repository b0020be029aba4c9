"""The figures of `exemplar`: samples of its surrogate classes, and how the pretraining went."""

from __future__ import annotations

from typing import TYPE_CHECKING

from semisup.presentation import Figure, Presentation, line

if TYPE_CHECKING:
    from semisup.figures.artifacts import Parts, RunArtifacts

_COLUMNS = 8  # samples of a class
_ROWS = 10  # classes
_CROP = 32  # pixels a side, unless the run was told another size
_AT_ONCE = 256  # images read
PRESENTATION = Presentation(
    figures=(
        Figure("surrogate", "Samples of surrogate classes, a class a row", "strategies.exemplar_figures:surrogate"),
        Figure(
            "pretraining",
            "Pretraining on surrogate classes",
            panels=(
                line("Pretraining: loss", "pretrain/loss"),
                line("Pretraining: accuracy on surrogate classes", "pretrain/surrogate_accuracy"),
            ),
        ),
    ),
    summary={
        "exemplar/svm_val_accuracy": "validation accuracy of a linear SVM on the pretrained features",
        "exemplar/svm_test_accuracy": "test accuracy of a linear SVM on the pretrained features",
    },
)


def surrogate(run: RunArtifacts) -> Parts:
    """The very samples that the network was trained on: these are the draws of strategies/exemplar.py."""
    import torch

    from semisup.augment.surrogate import COURSE, PAPER, fit_components, surrogate_crops
    from semisup.errors import require
    from semisup.figures.surrogate import surrogate, whole_patches
    from semisup.randomness import Draw, permutation

    state, options, pools = run.state("Exemplar"), run.config["exemplar"], run.data.pools
    rows, centres = state["rows"], state["centres"]
    pool, count, per_class = pools.without_label or pools.labeled, len(rows), options["samples_per_class"]
    there = count > 0 and int(rows.min()) >= 0 and int(rows.max()) < len(pool)
    require(there, "the images that surrogate classes were made of are not there")
    size = options["crop"] or min(_CROP, pool.shape[-1])
    ranges = PAPER if options["recipe"] == "paper" else COURSE
    components = fit_components(pool.gather(part) for part in rows.split(_AT_ONCE)) if ranges.color else None
    chosen = permutation(count, run.data.seed, "figures", "surrogate")[:_ROWS].sort().values
    images, number = pool.gather(rows[chosen]).contiguous(), chosen[:, None] * per_class + torch.arange(_COLUMNS)
    draw = Draw(run.data.seed, 0, "exemplar", number.flatten(), count * per_class)
    repeated, around = images.repeat_interleave(_COLUMNS, 0), centres[chosen].repeat_interleave(_COLUMNS, 0)
    samples = surrogate_crops(repeated, around, draw, ranges, components, size).unflatten(0, (-1, _COLUMNS))
    yield "", surrogate(whole_patches(images, centres[chosen], size), samples)
