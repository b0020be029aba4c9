"""Figures of a run. Each is a pure function from tensors to a matplotlib Figure, and no global state of pyplot is used.

    semisup figures RUN                     # writes all that the run has data for to RUN/figures
    semisup figures RUN --only embedding

In this file: which figures there are, those of the framework and those that strategies bring (semisup/presentation.py).
Nothing that draws is imported before it is to draw, so that the command line can list them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from semisup import plugins
from semisup.errors import InputError
from semisup.presentation import EPOCH, Figure, Presentation, line, resolve

if TYPE_CHECKING:
    from semisup.figures.artifacts import Parts, RunArtifacts

_GALLERY = "semisup.figures.gallery"
FIGURES = (
    Figure("filters", "Filters of the first convolution", f"{_GALLERY}:draw_filters", when="epochs"),
    Figure(
        "augmentations",
        "Views of the same images, a view a row",
        f"{_GALLERY}:draw_augmentations",
        when="end",
        title="Augmentations",
    ),
    Figure("embedding", "t-SNE of labeled images", f"{_GALLERY}:draw_embedding", when="end"),
    Figure(
        "confusion",
        "True against predicted classes",
        f"{_GALLERY}:draw_confusion",
        when="epochs",
        title="Confusion, validation",
    ),
    Figure(
        "calibration",
        "How often predictions are right, by their confidence",
        f"{_GALLERY}:draw_calibration",
        when="epochs",
        title="Reliability, validation",
    ),
    Figure(
        "targets",
        "What the targets of unlabeled images are worth, over the training",
        panels=(
            line("Share of confident targets", "train/confident"),
            line("Precision of a step's targets", "train/precision"),
            line("Utilisation: mean weight of a step's targets", "train/utilisation"),
            line("Class balance of a step's targets (1 is even)", "train/balance"),
            line("Confidence threshold, mean over the classes", "train/threshold"),
        ),
        section="Pseudo-labels",
    ),
    Figure(
        "losses",
        "Parts of the loss, and what terms that were added to it log",
        panels=(line("Parts of the loss", "train/loss_*"), line("Terms that were added", "train/*/*")),
    ),
)
CURVES = Figure("curves", "Training loss and validation accuracy of all runs", f"{_GALLERY}:draw_curves")


def of_rounds(strategy: str) -> Presentation:
    """What a strategy brings that gives unlabeled images targets in rounds, and logs these (semisup/runs/rounds.py).

    Args:
        strategy: its name, which begins the names of its metrics.
    """
    figure = Figure(
        "pseudolabels",
        "Images of each class and precision in every round of pseudo-labels",
        "semisup.figures.rounds:draw",
        (
            line("Precision, by round", f"{strategy}/precision", x=EPOCH),
            line("Utilisation: share of the pool, by round", f"{strategy}/utilisation", x=EPOCH),
            line("Class balance (1 is even), by round", f"{strategy}/balance", x=EPOCH),
            line("Images of each class, by round", f"{strategy}/count/*", x=EPOCH),
            line("Precision of each class, by round", f"{strategy}/precision/*", x=EPOCH),
        ),
        section="Pseudo-labels",
        when=f"{strategy}/count",
        title="Rounds of pseudo-labels",
    )
    summary = {
        f"{strategy}/count": "images selected in the last round",
        f"{strategy}/utilisation": "share of the unlabeled images that these are",
        f"{strategy}/precision": "share of these that is labeled rightly",
    }
    return Presentation((figure,), summary)


def figures_of(presentations: Iterable[Presentation]) -> dict[str, Figure]:
    """By name: the framework's figures and those that strategies bring, which replace one of the same name."""
    return {figure.name: figure for figures in (FIGURES, *(p.figures for p in presentations)) for figure in figures}


def of_run(run: RunArtifacts) -> dict[str, Figure]:
    """The figures of a run: without those of strategies that it was not trained with, and of metrics nobody logged."""
    logged: dict[str, None] = {}
    with suppress(InputError):  # a run without metrics has other figures all the same
        logged = dict.fromkeys(name for row in run.metrics for name in row)
    figures = figures_of(plugins.presentations(run.strategies).values())
    return {name: one for name, one in figures.items() if one.draw or any(panel.of(logged) for panel in one.panels)}


def drawn(figure: Figure, run: RunArtifacts | Sequence[RunArtifacts]) -> Parts:
    """Draws a figure of a run, or the curves of several, part by part, each with the name of its file.

    Raises:
        InputError: the run has not what it is drawn from, or what draws it can't be imported.
    """
    if not isinstance(run, Sequence) and not figure.draw:
        from semisup.figures.lines import lines

        yield figure.name, lines(figure.panels, run.metrics)
    else:
        for part, picture in resolve(figure.draw)(run):
            yield f"{figure.name}-{part}" if part else figure.name, picture
