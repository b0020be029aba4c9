"""Figures of a run. Each is a pure function from tensors to a matplotlib Figure, and no global state of pyplot is used.

    semisup figures RUN                     # writes all that the run has data for to RUN/figures
    semisup figures RUN --only embedding

In this file: the figures' names, standard library only, so that the command line can list them.
"""

FIGURES = {
    "filters": "every filter of the first convolution, beside those that training began with where k-means chose them",
    "centroids": "the centroids that k-means found",
    "surrogate": "samples of surrogate classes, a class a row",
    "augmentations": "every view of the same few images, a view a row",
    "embedding": "t-SNE of labeled images, from raw pixels and after every stage of the network",
    "confusion": "true against predicted classes",
    "calibration": "how often predictions are right, by their confidence",
    "pseudolabels": "images of each class and precision in every round of pseudo-labels",
    "curves": "training loss and validation accuracy of all runs given",
}
