"""The samples of surrogate classes: a patch of an image, transformed at random, again and again.

A surrogate class is all that one patch of one unlabeled image turns into; a network that tells such classes apart
learns features without a label (Exemplar-CNN, Dosovitskiy et al. 2014, arXiv 1406.6909). Each sample is cut out of the
full image by a single resampling, so that turning or shrinking the patch shows what really lies around it; beyond the
image's edge lies its mirror image. Then its colours change.

`COURSE` is the course's recipe on STL-10. `PAPER` is the paper's, from "Creating Surrogate Training Data", colours
included. The paper gives ranges and no distributions; these are of the authors' code (`augment_patches_distr.m`):
angle, translation, scale, offset and hue are uniform; powers and factors are uniform in their logarithm, so that
halving is as likely as doubling; saturation and value draw theirs apart. Where that code departs from the paper, the
paper is followed: the code moves patches up to a quarter of their size, draws the components' factors from log-normal
distributions, and stretches every patch to the full range of values first.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from semisup.augment import geometry
from semisup.augment.hsv import adjust
from semisup.errors import InputError, require
from semisup.randomness import Draw

Range = tuple[float, float]


@dataclass(frozen=True)
class ColorRanges:
    """From where to where colours may change; each sample draws one set of numbers for all of its pixels.

    Attributes:
        component: factor of the colours' distance from the mean along each principal component.
        power: that saturation and value, in [0, 1], are raised to.
        factor: that they are multiplied by then.
        offset: that is added to them in the end.
        hue: that is added to the hue, in turns of the circle.
    """

    component: Range
    power: Range
    factor: Range
    offset: Range
    hue: Range


@dataclass(frozen=True)
class Ranges:
    """From where to where a patch may be transformed.

    Attributes:
        rotation: degrees, clockwise as one sees the image.
        translation: to the right, and down, each drawn on its own, as a fraction of the patch's side.
        scale: above 1 enlarges what the patch shows.
        flip: mirror each sample left to right with probability one half.
        color: None leaves colours as they are.
    """

    rotation: Range
    translation: Range
    scale: Range
    flip: bool = False
    color: ColorRanges | None = None


COURSE = Ranges(rotation=(-20.0, 20.0), translation=(0.0, 0.1), scale=(0.7, 1.4))
PAPER = Ranges(
    rotation=(-20.0, 20.0),
    translation=(-0.2, 0.2),
    scale=(0.7, 1.4),
    color=ColorRanges(component=(0.5, 2.0), power=(0.25, 4.0), factor=(0.7, 1.4), offset=(-0.1, 0.1), hue=(-0.1, 0.1)),
)


class Components(NamedTuple):
    """The principal components of the colours of all pixels.

    Attributes:
        mean: (C,) float32, the mean colour, in [0, 1].
        basis: (C, C) float32, a component a row, the one of the largest variance first.
    """

    mean: Tensor
    basis: Tensor


def surrogate_crops(
    images: Tensor,
    centres: Tensor,
    draw: Draw,
    ranges: Ranges,
    components: Components | None = None,
    size: int = 32,
) -> Tensor:
    """One random sample of each surrogate class.

    Args:
        images: (B, C, H, W) uint8, the full images; 1 or 3 channels where colours change.
        centres: (B, 2) float32, (x, y) in pixels, of the patches, as `patch_sampling.seed_patches` chooses them.
        draw: where the random numbers come from.
        ranges: what may happen to a patch, such as `COURSE` or `PAPER`.
        components: of the dataset's colours (`fit_components`), on the images' device; needed where colours change.
        size: the patch's side in pixels, and the sample's.

    Returns:
        (B, C, size, size) float32 in [0, 1].

    Raises:
        InputError: colours are to change, and there are no components.
    """
    if images.dtype != torch.uint8:
        raise TypeError(f"surrogate classes are made of uint8 images, not {images.dtype}")
    right, down = (_between(draw.uniform("translation", 2), ranges.translation) * size).unbind(1)
    angle = _between(draw.uniform("rotation")[:, 0], ranges.rotation)
    scale = _between(draw.uniform("scale")[:, 0], ranges.scale)
    mirror = draw.uniform("flip")[:, 0] < 0.5 if ranges.flip else None
    matrix = geometry.affine_matrix(angle, right, down, scale, mirror=mirror)
    # The four weights of a bilinear value may add up to a little more than 1.
    crops = affine_crop(images, centres, matrix, size).div_(255).clamp_(0, 1)
    color = ranges.color
    if color is None:
        return crops
    if components is None:
        raise InputError(
            "colours change along the principal components of the dataset's, and there are none; "
            "give components=fit_components(images)"
        )
    factors = _log_between(draw.uniform("component", crops.shape[1]), color.component)
    return adjust(
        scale_components(crops, factors, components),
        power=_log_between(draw.uniform("power", 2), color.power),
        factor=_log_between(draw.uniform("factor", 2), color.factor),
        offset=_between(draw.uniform("offset", 2), color.offset),
        hue=_between(draw.uniform("hue")[:, 0], color.hue),
    )


def affine_crop(images: Tensor, centres: Tensor, matrix: Tensor, size: int) -> Tensor:
    """Cuts a square out of every image through its own affine map, bilinearly; beyond the image lies its mirror image.

    Args:
        images: (B, C, H, W), uint8 or float32.
        centres: (B, 2) float32, (x, y) in pixels, what the middle of each square shows before any translation.
        matrix: (B, 2, 3) float32 from output to input pixels about these, as `geometry.affine_matrix` makes it.
        size: the square's side in pixels.

    Returns:
        (B, C, size, size) float32, in the range of the images' values.
    """
    count, _, height, width = images.shape
    place = torch.arange(size, device=images.device) - (size - 1) / 2  # (size,), from the middle
    grid = torch.empty(count, size, size, 2, device=images.device)
    for axis, length in enumerate((width, height)):
        by_x, by_y, shift = matrix[:, axis, :, None].unbind(1)  # (B, 1) each
        start = shift + centres[:, axis, None] + 0.5
        input_place = (by_x * place + start)[:, None, :] + (by_y * place)[:, :, None]  # (B, size, size), from the edge
        grid[..., axis] = input_place * (2 / length) - 1
    return F.grid_sample(images.float(), grid, mode="bilinear", padding_mode="reflection", align_corners=False)


def scale_components(images: Tensor, factors: Tensor, components: Components) -> Tensor:
    """Multiplies each colour's distance from the mean, along every principal component, by a factor.

    Args:
        images: (B, C, H, W) float32 in [0, 1].
        factors: (B, C) float32, one for each component.
        components: of C channels, on the images' device.

    Returns:
        (B, C, H, W) float32, clipped to [0, 1].
    """
    mean = components.mean[:, None, None]
    along = torch.zeros(1, dtype=torch.float64, device=images.device)
    for factor, row in zip(factors.double().unbind(1), components.basis.double(), strict=True):
        along = along + factor[:, None, None] * (row[:, None] * row)  # (B, C, C)
    matrix, centred, result = along.float(), images - mean, mean
    # Not a matrix product, whose order of summation may depend on the size of the batch.
    for i in range(images.shape[1]):
        result = result + matrix[:, :, i, None, None] * centred[:, i : i + 1]
    return result.clamp(0, 1)


def fit_components(images: Iterable[Tensor]) -> Components:
    """The principal components of the colours of all pixels of all images.

    Args:
        images: batches (B, C, H, W) uint8.

    Raises:
        InputError: there are no images.
    """
    count, total, products = 0, torch.zeros((), dtype=torch.float64), torch.zeros((), dtype=torch.float64)
    for batch in images:
        pixels = batch.transpose(0, 1).flatten(1).double()  # (C, B * H * W), whole numbers, whose sums are exact
        count += pixels.shape[1]
        total, products = total + pixels.sum(1), products + pixels @ pixels.T
    require(count > 0, "principal components need images, and there are none")
    mean = total / count
    _, columns = torch.linalg.eigh(products / count - mean[:, None] * mean)  # by ascending variance
    return Components((mean / 255).float(), columns.flip(1).T.float().contiguous())


def _between(unit: Tensor, limits: Range) -> Tensor:
    """[0, 1) to the range, evenly."""
    low, high = limits
    return low + (high - low) * unit


def _log_between(unit: Tensor, limits: Range) -> Tensor:
    """[0, 1) to the range, evenly in the logarithm."""
    low, high = limits
    # In double precision for the same reason as powers.
    return torch.exp(math.log(low) + math.log(high / low) * unit.double()).float()
