"""The page that pictures are labeled on: one HTML file with the pictures in it, which saves a CSV file of labels.

    write(Path("label.html"), chosen, class_names, earlier, advice)

It shows one picture after the other with the guess, takes a class by key, click or touch, and keeps what was done in
the browser until it is saved. What it saves is as `semisup.data.labels_csv` writes it: its cells are made here.
"""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import numpy as np
from PIL import Image

from semisup.data.labels_csv import cell, labels_text
from semisup.page import render
from semisup.runs.directory import write_atomically

_HERE = Path(__file__).parent
_PIXELATED = 48  # pixels of a side, below which a picture is shown with its pixels
_KEYS = 35  # as many classes have a key in page.js; of more, one can be typed
_QUALITY = 85  # of JPEG


@dataclass(frozen=True)
class Chosen:
    """A picture that is to be labeled.

    Attributes:
        path: what the file of labels calls it.
        pixels: (H, W, C) uint8, to be shown.
        guess: the most probable class.
        confidence: its probability.
    """

    path: str
    pixels: np.ndarray
    guess: int
    confidence: float


def write(
    path: Path,
    pictures: Sequence[Chosen],
    class_names: Sequence[str],
    earlier: Mapping[str, str],
    advice: str,
) -> None:
    """Writes the page.

    Args:
        path: the file; appears only when it is complete.
        pictures: in the order in which they are asked for.
        class_names: in the order of the labels.
        earlier: path -> class of what has a label already, which the saved file begins with.
        advice: what to do with the saved file, such as a command.
    """
    data = {
        "name": hashlib.sha256(
            "\n".join([*class_names, labels_text(earlier), *(one.path for one in pictures)]).encode()
        ).hexdigest(),
        # Quoted, since every other text becomes what can be shown.
        "head": quote(labels_text(earlier)),
        "classes": [{"name": name, "cell": quote(cell(name))} for name in class_names],
        "small": min(pictures[0].pixels.shape[:2]) < _PIXELATED,
        "pictures": [
            {
                "path": one.path,
                "cell": quote(cell(one.path)),
                "image": _inlined(one.pixels),
                "guess": one.guess,
                "confidence": round(one.confidence, 4),
            }
            for one in pictures
        ],
    }
    content = {"count": len(pictures), "few": len(class_names) <= _KEYS, "advice": advice}
    page = render(_HERE, "page.html.jinja", ["page.css"], ["page.js"], data, None, **content)
    write_atomically(path, page)


def _inlined(pixels: np.ndarray) -> str:
    """A picture as an address that holds it."""
    image, file = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels), io.BytesIO()
    kind = "png" if min(image.size) < _PIXELATED else "jpeg"
    image.save(file, kind, **({"quality": _QUALITY} if kind == "jpeg" else {}))
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode('ascii')}"
