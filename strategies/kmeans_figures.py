"""The figures of `kmeans`: the centroids, and the filters that training began with beside those it ended with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from semisup.presentation import Figure, Presentation

if TYPE_CHECKING:
    from semisup.figures.artifacts import Parts, RunArtifacts

_STATE = "KMeans"
PRESENTATION = Presentation(
    (
        Figure(
            "filters",
            "Filters of the first convolution",
            "strategies.kmeans_figures:first_filters",
            when="epochs",
        ),
        Figure("centroids", "The centroids that k-means found", "strategies.kmeans_figures:centroids", when="end"),
    )
)


def first_filters(run: RunArtifacts) -> Parts:
    """The filters that training began with, and those of now."""
    from semisup.figures.gallery import draw_filters

    yield from draw_filters(run, {"k-means, before training": run.state(_STATE)["filters"]})


def centroids(run: RunArtifacts) -> Parts:
    """The centroids, in the space of whitened patches."""
    from semisup.figures.filters import filters

    learned = run.state(_STATE)["centroids"]
    yield "", filters({f"{len(learned):,} centroids": learned})
