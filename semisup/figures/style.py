"""What all figures share: their look, and how a file of one is written."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FuncFormatter

from semisup.figures.names import FONTS
from semisup.runs.directory import replacing

WIDTH = 6.5  # inches; the text width of a page
PAD = 0.08  # inches, around every part of a figure
TITLE = 0.2  # inches, a line of it
DPI = 200
# Colours that the colour-blind tell apart: Okabe & Ito 2008, "Color Universal Design", without black, which stands for
# all classes together, and three more, for ten classes.
PALETTE = (
    *("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#F0E442"),
    *("#8B0000", "#4B2E83", "#BBBBBB"),
)
GREY = "#666666"
PERCENT = FuncFormatter(lambda share, place: f"{100 * share:.4g} %")
_RC: dict[Any, Any] = {
    "font.size": 9,
    "figure.titlesize": 9,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "axes.labelsize": 9,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "lines.linewidth": 1.4,
    "hatch.linewidth": 0.5,
    "pdf.fonttype": 42,  # text stays text
    "text.usetex": False,
    "text.parse_math": False,  # a dollar is one: names are the user's
}


@contextmanager
def styled() -> Iterator[None]:
    """Decorates what draws: matplotlib draws as all figures look, and afterwards is as it was."""
    with matplotlib.rc_context(_RC | FONTS):
        yield


def figure(height: float, width: float = WIDTH) -> Figure:
    """An empty figure of `width` times `height` inches, whose parts make room for each other's labels."""
    return Figure((width, height), DPI, layout=ConstrainedLayoutEngine(w_pad=PAD, h_pad=PAD))


def show(axes: Axes, image: np.ndarray, width: float) -> None:
    """Shows an image (H, W, 3) uint8 without a frame, `width` inches wide: smoothed only where it has to be shrunk."""
    axes.imshow(image, interpolation="nearest" if image.shape[1] <= width * DPI else "auto")
    axes.tick_params(length=0)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)


@styled()
def save(drawn: Figure, folder: Path, name: str) -> list[Path]:
    """Writes `name.png` (200 dpi) and `name.pdf` to temporary files and moves them into place.

    The same figure gives the same bytes, so files carry no date.

    Args:
        drawn: the figure.
        folder: where to; made if it isn't there.
        name: without an extension.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for kind, metadata in (("png", {"Software": None}), ("pdf", {"CreationDate": None})):
        path = folder / f"{name}.{kind}"
        with replacing(path) as temporary:
            drawn.savefig(temporary, format=kind, dpi=DPI, metadata=metadata)
        paths.append(path)
    return paths


@styled()
def rendered(drawn: Figure, dpi: int = 120) -> np.ndarray:
    """The figure as an image, (H, W, 3) uint8."""
    drawn.set_dpi(dpi)
    canvas = FigureCanvasAgg(drawn)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
