"""True against predicted classes."""

from __future__ import annotations

from matplotlib.figure import Figure
from torch import Tensor

from semisup.figures.names import labels
from semisup.figures.style import PERCENT, WIDTH, figure, styled

_DIGITS = 60  # that fit into a row of cells; where there are more, cells have no numbers
_NAMES = 40  # classes; with more, only some are named


@styled()
def confusion(matrix: Tensor, class_names: tuple[str, ...], images: str = "images") -> Figure:
    """How often each class is predicted as each: colours are shares of the true class, numbers are images.

    Args:
        matrix: (classes, classes) int64; row is the true class, column the predicted one.
        class_names: in the order of the labels.
        images: what they are called in the title.
    """
    matrix = matrix.cpu()
    classes, total = len(class_names), int(matrix.sum())
    share = matrix / matrix.sum(1, keepdim=True).clamp(min=1)
    ticks = range(0, classes, -(-classes // _NAMES))
    names = labels(class_names[tick] for tick in ticks)
    drawn = figure(WIDTH * 0.85)
    axes = drawn.subplots()
    shown = axes.imshow(share.numpy(), cmap="Blues", vmin=0, vmax=1)
    upright = max(map(len, names)) * len(names) > 60
    axes.set_xticks(ticks, names, rotation=90 if upright else 0)
    axes.set_yticks(ticks, names)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set(xlabel="predicted class", ylabel="true class")
    axes.set_title(f"{100 * int(matrix.trace()) / max(total, 1):.1f} % of {total:,} {images} rightly classified")
    if classes * len(f"{int(matrix.max()):,}") <= _DIGITS:
        for row, column in matrix.nonzero().tolist():
            color = "white" if share[row, column] > 0.5 else "black"
            axes.text(column, row, f"{matrix[row, column]:,}", ha="center", va="center", color=color, fontsize=8)
    bar = drawn.colorbar(shown, ax=axes, shrink=0.6, label="share of the true class", format=PERCENT)
    bar.outline.set_visible(False)
    return drawn


def counted(p: Tensor, target: Tensor) -> Tensor:
    """The confusion matrix (classes, classes) int64 of probabilities (N, classes) and true classes (N,) int64."""
    classes = p.shape[1]
    return (target * classes + p.argmax(1)).bincount(minlength=classes**2).view(classes, classes)
