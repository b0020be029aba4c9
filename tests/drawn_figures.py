"""What figures are drawn of, and what they show of it."""

from __future__ import annotations

import numpy as np
import torch
from matplotlib.figure import Figure

GENERATOR = torch.Generator().manual_seed(0)


def drawn_image(figure: Figure, number: int = 0) -> np.ndarray:
    (image,) = figure.axes[number].images
    return np.asarray(image.get_array())


def predictions(count: int = 300, classes: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    target = torch.randint(classes, (count,), generator=GENERATOR)
    logits = torch.randn(count, classes, generator=GENERATOR)
    logits[torch.arange(count), target] += 1.5
    return (2 * logits).softmax(1), target
