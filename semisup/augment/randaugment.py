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

import torch
from torch import Tensor

from semisup.augment import color, geometry
from semisup.randomness import Draw

CUTOUT = 0.5  # of the width: the largest side of the square
CUTOUT_COLOR = (125, 123, 114)
CUTOUT_GREY = 123


def rotate(images: Tensor, degrees: Tensor) -> Tensor:
    """Turns each image (B, C, H, W) counterclockwise about its centre by its own angle (B,); `PIL.Image.rotate`."""
    turn = torch.deg2rad(degrees.double())
    sine, cosine = torch.sin(turn), torch.cos(turn)
    x, y = images.shape[-1] / 2, images.shape[-2] / 2
    shift_x, shift_y = x - cosine * x + sine * y, y - sine * x - cosine * y
    return geometry.transform(images, torch.stack([cosine, -sine, shift_x, sine, cosine, shift_y], 1))


def shear_x(images: Tensor, slope: Tensor) -> Tensor:
    """Moves each row to the left by `slope` (B,) times its distance from the top edge."""
    return _transform(images, b=slope)


def shear_y(images: Tensor, slope: Tensor) -> Tensor:
    """Moves each column upwards by `slope` (B,) times its distance from the left edge."""
    return _transform(images, d=slope)


def translate_x(images: Tensor, fraction: Tensor) -> Tensor:
    """Moves each image to the left by a fraction (B,) of its width, rounded to whole pixels."""
    return _transform(images, c=fraction.double() * images.shape[-1])


def translate_y(images: Tensor, fraction: Tensor) -> Tensor:
    """Moves each image upwards by a fraction (B,) of its height, rounded to whole pixels."""
    return _transform(images, f=fraction.double() * images.shape[-2])


def _transform(images: Tensor, **coefficient: Tensor) -> Tensor:
    coefficients = torch.zeros(len(images), 6, dtype=torch.float64, device=images.device)
    coefficients[:, 0] = coefficients[:, 4] = 1
    for name, values in coefficient.items():
        coefficients[:, "abcdef".index(name)] = values.double()
    return geometry.transform(images, coefficients)


@dataclass(frozen=True)
class Operation:
    """One operation and the range of its magnitude.

    Attributes:
        name: what RandAugment calls it.
        function: of images (B, C, H, W) uint8 and magnitudes (B,) float32; gives images alike.
        low: the least magnitude.
        high: the largest.
    """

    name: str
    function: Callable[[Tensor, Tensor], Tensor]
    low: float = 0.0
    high: float = 1.0


OPERATIONS = (
    Operation("AutoContrast", lambda images, _: color.autocontrast(images)),
    Operation("Brightness", color.brightness, 0.05, 0.95),
    Operation("Color", color.saturation, 0.05, 0.95),
    Operation("Contrast", color.contrast, 0.05, 0.95),
    Operation("Equalize", lambda images, _: color.equalize(images)),
    Operation("Identity", lambda images, _: images),
    Operation("Posterize", color.posterize, 4, 8),
    Operation("Rotate", rotate, -30, 30),
    Operation("Sharpness", color.sharpness, 0.05, 0.95),
    Operation("ShearX", shear_x, -0.3, 0.3),
    Operation("ShearY", shear_y, -0.3, 0.3),
    Operation("Solarize", color.solarize, 0, 256),
    Operation("TranslateX", translate_x, -0.3, 0.3),
    Operation("TranslateY", translate_y, -0.3, 0.3),
)


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
    operation = draw.integers("operation", len(OPERATIONS), count)  # (B, count)
    strength = draw.uniform("magnitude", count)
    apply = _grouped if images.device.type == "cpu" else _masked
    for layer in range(count):
        images = apply(images, operation[:, layer], strength[:, layer])
    side, x, y = draw.uniform("cutout", 3).unbind(1)
    return cutout(images, CUTOUT * side * images.shape[-1], x * images.shape[-1], y * images.shape[-2])


def _grouped(images: Tensor, operation: Tensor, strength: Tensor) -> Tensor:
    """Applies operation (B,), with strength (B,) in [0, 1) of its range, to the samples that drew it."""
    order = operation.argsort(stable=True)
    groups = order.split(operation.bincount(minlength=len(OPERATIONS)).tolist())
    results = []
    for each, rows in zip(OPERATIONS, groups, strict=True):
        if len(rows):
            magnitude = each.low + (each.high - each.low) * strength.index_select(0, rows)
            results.append(each.function(images.index_select(0, rows), magnitude))
    return torch.cat(results).index_select(0, order.argsort())


def _masked(images: Tensor, operation: Tensor, strength: Tensor) -> Tensor:
    """The same, applying every operation to every sample: the size of a group on a GPU is known only by waiting."""
    result = images
    for i, each in enumerate(OPERATIONS):
        magnitude = each.low + (each.high - each.low) * strength
        result = torch.where((operation == i).view(-1, 1, 1, 1), each.function(images, magnitude), result)
    return result


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
        inside.append((place >= first) & (place <= first + side[:, None]))  # (B, size)
    hole = (inside[0][:, None, :, None] & inside[1][:, None, None, :]).to(torch.uint8).mul_(255)  # (B, 1, H, W)
    fill = CUTOUT_COLOR if images.shape[1] == 3 else (CUTOUT_GREY,)
    # With 0 and 255 for masks, and and or choose between values in a fraction of the time of `torch.where`.
    filling = torch.cat([hole & value for value in fill], 1)  # (B, C, H, W)
    return images & ~hole | filling
