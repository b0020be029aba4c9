"""Compares a file with the classifier that it was made of, picture by picture."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from semisup.data.picture import reading
from semisup.data.preprocessing import Preprocessing
from semisup.errors import require

if TYPE_CHECKING:
    from semisup.classifier import Classifier

TOLERANCE = 1e-4  # of a probability, of pictures that the network's own size have: other kernels round otherwise
RESIZED_TOLERANCE = 0.1  # of pictures that the file resizes itself, where a pixel may be a level or two beside ours


@dataclass(frozen=True)
class Checked:
    """How far the probabilities of a file are from ours, at most.

    Attributes:
        images: how many pictures were compared.
        difference: of pictures of the network's own size.
        resized: of the same ones in another size, which the file resizes itself; None where it doesn't.
    """

    images: int
    difference: float
    resized: float | None


def compare(file: Callable[[Tensor], Tensor], classifier: Classifier, images: Tensor, resizes: bool) -> Checked:
    """Compares a file with ours, picture by picture.

    Raises:
        InputError: they differ.
    """
    require(len(images) > 0, "there is no picture to check the file by; type --pictures with some")
    ours = classifier(images.float() / 255).float().softmax(1)
    # In two batches: the number of pictures in one is free.
    theirs = torch.cat([file(part) for part in (images[:1], images[1:]) if len(part)])
    difference = _largest(ours, theirs, TOLERANCE)
    resized = None
    if resizes:
        larger = [_enlarged(image) for image in images]
        seen = torch.cat([_seen(image, classifier.preprocessing) for image in larger])
        theirs = torch.cat([file(image) for image in larger])
        resized = _largest(classifier(seen.float() / 255).float().softmax(1), theirs, RESIZED_TOLERANCE)
    return Checked(len(images), difference, resized)


def _largest(ours: Tensor, theirs: Tensor, tolerance: float) -> float:
    difference = float((ours - theirs).abs().max())
    require(
        difference <= tolerance,  # not where it is no number
        f"the file that was made gives probabilities that differ by up to {difference:.2g} from the classifier's, and "
        f"at most {tolerance:g} is rounding: it is not kept; another --format may do",
    )
    return difference


def _enlarged(image: Tensor) -> Tensor:
    """A picture (C, S, S) uint8 as one of another shape, (1, C, H, W) uint8."""
    pixels = image.permute(1, 2, 0).numpy()
    size = len(pixels)
    picture = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    large = np.array(picture.resize((2 * size + 1, size + size // 2), Image.Resampling.BICUBIC))
    return torch.from_numpy(large.reshape(*large.shape[:2], -1)).permute(2, 0, 1)[None].contiguous()


def _seen(image: Tensor, preprocessing: Preprocessing) -> Tensor:
    with reading(preprocessing.how):
        pixels = preprocessing.image(image[0]).pixels
    assert pixels is not None
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None]
