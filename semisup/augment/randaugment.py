"""RandAugment as FixMatch's successors in PyTorch have it: the strong view without its flip and crop.

Every image goes through three operations, each drawn uniformly, with replacement, from the fourteen of `OPERATIONS` and
with a magnitude drawn uniformly from its range; then a square is cut out. All of it always happens: nothing is skipped,
but one operation in fourteen is the identity. The square's side is uniform up to half of the image's width, its centre
uniform over the image, and what sticks out of the image is lost. It is filled with (125, 123, 114), in grey images with
that colour's luma, 123. Geometric operations copy nearest pixels, and what they bring in is black.

Source:
    `semilearn/datasets/augmentation/randaugment.py` of USB (arXiv 2208.07204), the same as in TorchSSL. Both call it
    `RandAugment(3, 5)`, and the 5 has no effect. There brightness, color, contrast and sharpness go from 0.05 to 0.95,
    so they only ever fade; posterizing truncates its magnitude to 4, 5, 6 or 7 bits, since 8 has no probability.

The RandAugment in FixMatch's own TensorFlow code (arXiv 2001.07685, its `--augment d.d.rac`) differs: two operations,
each skipped with probability one half; magnitudes in tenths, 1 to 9; enhancing from 0.28 to 1.72, so beyond the image
as well; translation of 1 to 9 pixels; 1 to 4 bits kept in posterizing; always a square of 16x16 pixels; and mid-grey
in the square and beyond the image.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from semisup.augment import color, geometry
from semisup.randomness import Draw

Function = Callable[[Tensor, Tensor], Tensor]

CUTOUT = 0.5  # of the width: the largest side of the square
CUTOUT_COLOR = (125, 123, 114)
CUTOUT_GREY = 123


@dataclass(frozen=True)
class Operation:
    """One operation and the range of its magnitude.

    Attributes:
        name: what RandAugment calls it.
        low: the least magnitude.
        high: the largest.
        function: of images (B, C, H, W) uint8 and magnitudes (B,) float32; gives images alike. None for the geometric
            ones, which are one function of different maps (`maps`).
    """

    name: str
    low: float = 0.0
    high: float = 1.0
    function: Function | None = None


OPERATIONS = (
    Operation("AutoContrast", function=lambda images, _: color.autocontrast(images)),
    Operation("Brightness", 0.05, 0.95, color.brightness),
    Operation("Color", 0.05, 0.95, color.saturation),
    Operation("Contrast", 0.05, 0.95, color.contrast),
    Operation("Equalize", function=lambda images, _: color.equalize(images)),
    Operation("Identity", function=lambda images, _: images),
    Operation("Posterize", 4, 8, color.posterize),
    Operation("Sharpness", 0.05, 0.95, color.sharpness),
    Operation("Solarize", 0, 256, color.solarize),
    Operation("Rotate", -30, 30),  # degrees, counterclockwise
    Operation("ShearY", -0.3, 0.3),  # each column moves up by so many times its distance from the left edge
    Operation("ShearX", -0.3, 0.3),  # each row moves to the left by so many times its distance from the top
    Operation("TranslateX", -0.3, 0.3),  # of the width, to the left
    Operation("TranslateY", -0.3, 0.3),  # of the height, upwards
)
_ON_VALUES = tuple(each.function for each in OPERATIONS if each.function)
_ON_ROWS = [each.name for each in OPERATIONS].index("ShearX")  # it and what follows move whole rows
_GEOMETRIC = (geometry.transform, geometry.move_rows)  # the second for those on rows


def rand_augment(images: Tensor, draw: Draw, count: int = 3) -> Tensor:
    """Puts each image through `count` random operations, one after the other, then cuts out a square.

    Args:
        images: (B, 1 or 3, H, W) uint8.
        draw: where the operations, their magnitudes and the square come from.
        count: operations an image.

    Returns:
        (B, C, H, W) uint8.
    """
    if len(images) == 0:
        return images
    operation = draw.integers("operation", len(OPERATIONS), count).T  # (count, B)
    low, high = _ranges(images.device)
    magnitude = low[operation] + (high - low)[operation] * draw.uniform("magnitude", count).T
    images = apply(images, operation, magnitude)
    side, x, y = draw.uniform("cutout", 3).unbind(1)
    return cutout(images, CUTOUT * side * images.shape[-1], x * images.shape[-1], y * images.shape[-2])


@cache  # made once: a copy from the host would wait for the device
def _ranges(device: torch.device) -> tuple[Tensor, Tensor]:
    """The least and the largest magnitude of every operation, (14,) each."""
    low, high = torch.tensor([(each.low, each.high) for each in OPERATIONS], device=device).unbind(1)
    return low, high


def apply(images: Tensor, operation: Tensor, magnitude: Tensor) -> Tensor:
    """Puts each image through the operations given for it, one after the other.

    Args:
        images: (B, 1 or 3, H, W) uint8.
        operation: (count, B) int64 places in `OPERATIONS`, the first to apply first.
        magnitude: (count, B) float32.

    Returns:
        (B, C, H, W) uint8.
    """
    coefficients = maps(operation, magnitude, images.shape[-2], images.shape[-1])
    function = operation.clamp(max=len(_ON_VALUES)) + (operation >= _ON_ROWS).long()
    if images.device.type != "cpu":
        return _masked(images, function, magnitude, coefficients)
    return _grouped(images, function, magnitude, coefficients)


def maps(operation: Tensor, magnitude: Tensor, height: int, width: int) -> Tensor:
    """Coefficients (..., 6) float64 for `geometry.transform` of operations (...) and magnitudes (...).

    Those of `PIL.Image.rotate` and of USB's shears and translations; the identity for what is not geometric.
    """

    def of(name: str) -> Tensor:
        (number,) = (i for i, each in enumerate(OPERATIONS) if each.name == name)
        return torch.where(operation == number, magnitude, 0).double()

    turn = torch.deg2rad(of("Rotate"))
    sine, cosine = torch.sin(turn), torch.cos(turn)
    x, y = width / 2, height / 2
    right = x - cosine * x + sine * y + of("TranslateX") * width
    down = y - sine * x - cosine * y + of("TranslateY") * height
    return torch.stack([cosine, of("ShearX") - sine, right, of("ShearY") + sine, cosine, down], -1)


def _grouped(images: Tensor, function: Tensor, magnitude: Tensor, coefficients: Tensor) -> Tensor:
    """Calls each function, in each layer, on the samples that drew it; all but the images are (count, B, ...)."""
    count, kinds = len(function), len(_ON_VALUES) + len(_GEOMETRIC)
    order = function.argsort(dim=1, stable=True)
    place = order.argsort(dim=1)  # of every sample in its layer's order
    layers = torch.arange(count)[:, None]
    sizes = (function + kinds * layers).flatten().bincount(minlength=kinds * count).view(count, kinds).tolist()
    magnitude, coefficients = magnitude[layers, order], coefficients[layers, order]
    rows = order[0]
    for layer in range(count):
        parts, strength, affine = (
            x.split(sizes[layer]) for x in (images.index_select(0, rows), magnitude[layer], coefficients[layer])
        )
        calls = (
            *zip(_ON_VALUES, parts, strength, strict=False),
            *zip(_GEOMETRIC, parts[-2:], affine[-2:], strict=True),
        )
        images = torch.cat([call(part, its) for call, part, its in calls if len(part)])
        rows = place[layer] if layer == count - 1 else place[layer][order[layer + 1]]
    return images.index_select(0, rows)


def _masked(images: Tensor, function: Tensor, magnitude: Tensor, coefficients: Tensor) -> Tensor:
    """The same, calling every function on every sample: the size of a group on a GPU is known only by waiting."""
    for layer, chosen in enumerate(function[:, :, None, None, None]):  # (B, 1, 1, 1)
        result = geometry.transform(images, coefficients[layer])
        for i, call in enumerate(_ON_VALUES):
            result = torch.where(chosen == i, call(images, magnitude[layer]), result)
        images = result
    return images


def cutout(images: Tensor, side: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Fills a square of each image with `CUTOUT_COLOR`; what sticks out of the image is lost.

    Args:
        images: (B, 1 or 3, H, W) uint8.
        side: (B,) float32 pixels; the square is of whole pixels, so it has one more than the side's whole part.
        x: (B,) float32, its centre's column.
        y: (B,) float32, its centre's row.
    """
    inside = []
    for centre, size in ((y, images.shape[-2]), (x, images.shape[-1])):
        first = (centre - side / 2).clamp(min=0).floor()[:, None]
        place = torch.arange(size, device=images.device)
        within = (place >= first) & (place <= first + side[:, None])
        inside.append(within.to(torch.uint8) * 255)  # (B, size)
    hole = inside[0][:, None, :, None] & inside[1][:, None, None, :]  # (B, 1, H, W)
    # With 0 and 255 for masks, bits choose between values in a fraction of the time of `torch.where`.
    return (images ^ _fill(images.shape[1], images.device)).bitwise_and_(hole).bitwise_xor_(images)


@cache
def _fill(channels: int, device: torch.device) -> Tensor:
    """What a hole is filled with, (1, C, 1, 1) uint8."""
    fill = CUTOUT_COLOR if channels == 3 else (CUTOUT_GREY,)
    return torch.tensor(fill, dtype=torch.uint8, device=device).view(1, -1, 1, 1)
