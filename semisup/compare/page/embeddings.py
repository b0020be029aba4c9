"""The t-SNE pictures that `semisup figures` has left in the runs, one of each arm, side by side."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from pathlib import Path

from semisup.compare.record import Comparison, RunRecord
from semisup.errors import InputError
from semisup.runs import run_files

_WIDTH = 900  # pixels; two of them stand beside each other
_QUALITY = 80


@dataclass(frozen=True)
class Embedding:
    """A run's picture.

    Attributes:
        run: it is of.
        image: as an address that holds all of it, `data:image/webp;base64,...`.
    """

    run: RunRecord
    image: str


def embeddings(comparison: Comparison, folder: Path) -> list[Embedding]:
    """A picture of the last stage for each arm that has one, all of the labels and the seed that most arms have.

    Args:
        comparison: what was found.
        folder: that the paths of runs are relative to.
    """
    pictures = {
        (run.arm, run.labels, run.seed): (run, path) for run in comparison.runs if (path := _last(folder / run.path))
    }
    places = list(dict.fromkeys((labels, seed) for _, labels, seed in pictures))
    if not places:
        return []
    shared = max(places, key=lambda place: sum((labels, seed) == place for _, labels, seed in pictures))
    shown = []
    for (_, labels, seed), (run, path) in pictures.items():
        if (labels, seed) == shared:
            try:
                shown.append(Embedding(run, _small(path)))
            except InputError as error:
                from semisup.runtime.console import say  # which needs torch

                say(f"left out a picture: {error}")
    return shown


def _last(run: Path) -> Path | None:
    """The picture of the network's last stage: `figures/embedding-<number>-<stage>.png` with the highest number."""
    there = [path for path in (run / "figures").glob("embedding-*-*.png") if path.name.split("-")[1].isdigit()]
    return max(there, key=lambda path: int(path.name.split("-")[1]), default=None)


def _small(path: Path) -> str:
    from PIL import Image

    try:
        with run_files.opened(path) as file, Image.open(file, formats=("PNG",)) as picture:
            image = picture.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:  # Pillow's, of damaged files
        raise error if isinstance(error, InputError) else InputError(f"{path} is no picture ({error})") from error
    image.thumbnail((_WIDTH, 4 * _WIDTH))
    written = io.BytesIO()
    image.save(written, "WEBP", quality=_QUALITY)
    return "data:image/webp;base64," + base64.b64encode(written.getvalue()).decode("ascii")
