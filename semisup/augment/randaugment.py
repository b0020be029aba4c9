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
from semisup.augment.device import pick, steps_on_cpu
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
        table: of the same; what it makes of every value (`color.look_up`). None where that depends on more than a value
            and what can be said of the whole image.
    """

    name: str
    low: float = 0.0
    high: float = 1.0
    function: Function | None = None
    table: Function | None = None


def _by_value(name: str, low: float, high: float, function: Function) -> Operation:
    """An operation on each pixel by itself, which can be done to every value as well."""
    return Operation(name, low, high, function, lambda images, its: function(color.every_value(images), its))


OPERATIONS = (
    Operation(
        "AutoContrast",
        function=lambda images, _: color.autocontrast(images),
        table=lambda images, _: color.autocontrast_table(images),
    ),
    _by_value("Brightness", 0.05, 0.95, color.brightness),
    Operation("Color", 0.05, 0.95, color.saturation),
    Operation("Contrast", 0.05, 0.95, color.contrast, color.contrast_table),
    Operation(
        "Equalize",
        function=lambda images, _: color.equalize(images),
        table=lambda images, _: color.equalize_table(images),
    ),
    Operation("Identity", function=lambda images, _: images, table=lambda images, _: color.every_value(images)),
    _by_value("Posterize", 4, 8, color.posterize),
    Operation("Sharpness", 0.05, 0.95, color.sharpness),
    _by_value("Solarize", 0, 256, color.solarize),
    Operation("Rotate", -30, 30),  # degrees, counterclockwise
    Operation("ShearY", -0.3, 0.3),  # each column moves up by so many times its distance from the left edge
    Operation("ShearX", -0.3, 0.3),  # each row moves to the left by so many times its distance from the top
    Operation("TranslateX", -0.3, 0.3),  # of the width, to the left
    Operation("TranslateY", -0.3, 0.3),  # of the height, upwards
)
_ON_VALUES = tuple(each.function for each in OPERATIONS if each.function)
_ON_ROWS = [each.name for each in OPERATIONS].index("ShearX")  # it and what follows move whole rows
_LOW, _SPAN = tuple(each.low for each in OPERATIONS), tuple(each.high - each.low for each in OPERATIONS)
_GEOMETRIC = (geometry.copy_pixels, geometry.move_rows)  # the second for those on rows


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
    low, span = pick(_LOW, operation), pick(_SPAN, operation)
    magnitude = low + span * draw.uniform("magnitude", count).T
    images = apply(images, operation, magnitude)
    side, x, y = draw.uniform("cutout", 3).unbind(1)
    return cutout(images, CUTOUT * side * images.shape[-1], x * images.shape[-1], y * images.shape[-2])


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
    way = _grouped if steps_on_cpu(images.device) else _masked
    return way(images, function, magnitude, coefficients)


def maps(operation: Tensor, magnitude: Tensor, height: int, width: int) -> tuple[Tensor, ...]:
    """The six coefficients of `geometry.transform`, (...) float64 each, of operations (...) and magnitudes (...).

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
    return cosine, of("ShearX") - sine, right, of("ShearY") + sine, cosine, down


def _grouped(images: Tensor, function: Tensor, magnitude: Tensor, coefficients: tuple[Tensor, ...]) -> Tensor:
    """Calls each function, in each layer, on the samples that drew it; all but the images are (count, B, ...)."""
    count, kinds = len(function), len(_ON_VALUES) + len(_GEOMETRIC)
    order = function.argsort(dim=1, stable=True)
    place = order.argsort(dim=1)  # of every sample in its layer's order
    layers = torch.arange(count)[:, None]
    sizes = (function + kinds * layers).flatten().bincount(minlength=kinds * count).view(count, kinds).tolist()
    magnitude = magnitude[layers, order]
    fixed = torch.stack(geometry.fixed_point(*coefficients), 2)[layers, order]  # (count, B, 6)
    rows = order[0]
    for layer in range(count):
        parts, strength, affine = (
            x.split(sizes[layer]) for x in (images.index_select(0, rows), magnitude[layer], fixed[layer])
        )
        values = [call(part, its) for call, part, its in zip(_ON_VALUES, parts, strength, strict=False) if len(part)]
        moved = zip(_GEOMETRIC, parts[-2:], affine[-2:], strict=True)
        images = torch.cat([*values, *(call(part, *its.unbind(1)) for call, part, its in moved if len(part))])
        rows = place[layer] if layer == count - 1 else place[layer][order[layer + 1]]
    return images.index_select(0, rows)


def _masked(images: Tensor, function: Tensor, magnitude: Tensor, coefficients: tuple[Tensor, ...]) -> Tensor:
    """The same, doing everything to every sample: the size of a group on a GPU is known only by waiting.

    What isn't geometric has the identity for its map, and what isn't a table has the identity for that.
    """
    fixed = geometry.fixed_point(*coefficients)
    for layer, (chosen, strength) in enumerate(zip(function[:, :, None, None, None], magnitude, strict=True)):
        moved = geometry.copy_pixels(images, *(each[layer] for each in fixed))
        table = color.every_value(moved)
        for i, each in enumerate(OPERATIONS[: len(_ON_VALUES)]):
            if each.table and each.name != "Identity":
                table = torch.where(chosen == i, each.table(moved, strength), table)
        images = color.look_up(table.expand(len(moved), moved.shape[1], 1, -1), moved)
        for i, each in enumerate(OPERATIONS[: len(_ON_VALUES)]):
            if each.function and not each.table:
                images = torch.where(chosen == i, each.function(moved, strength), images)
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
    color = CUTOUT_COLOR if images.shape[1] == 3 else (CUTOUT_GREY,)
    fill = pick(color, torch.arange(len(color), device=images.device), torch.uint8)[:, None, None]
    return (images ^ fill).bitwise_and_(hole).bitwise_xor_(images)
