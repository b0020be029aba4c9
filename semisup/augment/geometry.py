"""Geometric operations on a whole batch, each sample with its own parameters.

Nothing here draws: parameters come in as tensors (B,), on the images' device. There is no loop over images, and nothing
waits for the device. Every sample's result depends on that sample alone, to the last bit, so a batch may be split in
any way (over ranks, say) without changing a pixel.

Shapes: B samples, C channels, H rows, W columns.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from semisup.augment.device import steps_on_cpu
from semisup.errors import require


def flip(images: Tensor, where: Tensor) -> Tensor:
    """Mirrors some of the images left to right.

    Args:
        images: (B, C, H, W), any dtype.
        where: (B,) bool, the samples to mirror.
    """
    if not steps_on_cpu(images.device):
        height, width = images.shape[-2:]
        row, column = (torch.arange(size, device=images.device)[None] for size in (height, width))
        return _pixels(images, row, torch.where(where[:, None], width - 1 - column, column))
    # Choosing whole images from both versions copies memory in blocks: a fifth of `torch.where`'s time on uint8.
    both = torch.cat([images, images.flip(-1)])  # (2B, C, H, W)
    count = len(images)
    return both.index_select(0, torch.arange(count, device=images.device) + count * where)


def quarter_turns(images: Tensor, turns: Tensor) -> Tensor:
    """Rotates each image counter-clockwise by a quarter turn or several; pixels are copied, never changed.

    Args:
        images: (B, C, H, H), any dtype.
        turns: (B,) int64 in 0..3.
    """
    every = torch.cat([images.rot90(number, (2, 3)) for number in range(4)])  # (4B, C, H, H)
    count = len(images)
    return every.index_select(0, torch.arange(count, device=images.device) + count * turns)


def crop(images: Tensor, dy: Tensor, dx: Tensor, padding: int, mode: Literal["reflect", "zero"] = "reflect") -> Tensor:
    """Pads every side, then takes an H x W window of each image; pixels are copied, never changed.

    Args:
        images: (B, C, H, W), any dtype.
        dy: (B,) int64 in [0, 2 * padding], the window's first row in the padded image; `padding` is the middle.
        dx: (B,) int64 in [0, 2 * padding], its first column.
        padding: rows and columns added on each side.
        mode: `"reflect"` mirrors the image about its outermost pixels, without repeating them; `"zero"` adds zeros.

    Raises:
        InputError: there are not enough pixels to reflect.
    """
    height, width = images.shape[-2:]
    if padding == 0 or len(images) == 0:
        return images
    row = dy[:, None, None] + torch.arange(height, device=images.device)  # (B, 1, H)
    if mode == "zero":
        padded = F.pad(images, (padding,) * 4)
    else:
        require(
            padding < min(height, width),
            f"images of {height}x{width} pixels are too small to reflect {padding} of them; use images of more than "
            f"{padding} pixels a side",
        )
        if not steps_on_cpu(images.device):
            column = dx[:, None] + torch.arange(width, device=images.device)
            return _pixels(images, _mirrored(row[:, 0] - padding, height), _mirrored(column - padding, width))
        before, after = images[..., 1 : padding + 1], images[..., -padding - 1 : -1]
        padded = torch.cat([before.flip(3), images, after.flip(3)], 3)
        row = _mirrored(row - padding, height)  # rows are read where they are
    return _runs(padded, row, dx[:, None, None], width)


def _mirrored(place: Tensor, size: int) -> Tensor:
    """Where pixels beyond an image are found in it, mirrored about its outermost ones."""
    return (size - 1) - ((size - 1) - place.abs()).abs()


def _pixels(images: Tensor, row: Tensor, column: Tensor) -> Tensor:
    """The pixels of images (B, C, H, W) in rows (B or 1, H) and columns (B or 1, W), int64."""
    index = (row[:, :, None] * images.shape[-1] + column[:, None, :]).flatten(1)[:, None]
    return images.flatten(2).gather(2, index.expand(*images.shape[:2], -1)).view(images.shape)


def _runs(planes: Tensor, row: Tensor, column: Tensor, width: int) -> Tensor:
    """The `width` pixels from a given place on, for every row of the result.

    Args:
        planes: (B, C, rows, columns), any dtype.
        row: int64, to be broadcast to (B, C, H): where each row of the result is.
        column: int64, likewise: where in that row it begins.
        width: of the result.

    Returns:
        (B, C, H, width).
    """
    count, channels, rows, columns = planes.shape
    plane = torch.arange(count * channels, device=planes.device).view(count, channels, 1) * rows
    start = (plane + row) * columns + column  # (B, C, H)
    # Every run of pixels in memory is a row of this overlapping view, so both offsets are one selection of rows,
    # copied in blocks: on the CPU more than ten times as fast as indexing pixel by pixel.
    runs = planes.contiguous().as_strided((planes.numel() - width + 1, width), (1, 1))
    return runs.index_select(0, start.flatten()).view(*start.shape, width)


def resized_crop(images: Tensor, top: Tensor, left: Tensor, height: Tensor, width: Tensor) -> Tensor:
    """Brings a rectangle of every image to the size of the image, bilinearly; beyond the image its edge goes on.

    Args:
        images: (B, C, H, W) float.
        top: (B,) float, where the rectangle begins, in pixels from the upper edge of the image.
        left: (B,) float, in pixels from its left edge.
        height: (B,) float, of the rectangle, in pixels.
        width: (B,) float, likewise.

    Returns:
        (B, C, H, W) of the same dtype. torchvision's `resized_crop` cuts first, and so is another within half a pixel
        of the rectangle's edge.
    """
    for axis, start, length in ((2, top, height), (3, left, width)):
        size = images.shape[axis]
        place = torch.arange(size, device=images.device) + 0.5  # of pixels' centres
        position = (start[:, None] + place * (length / size)[:, None] - 0.5).clamp(0, size - 1)  # (B, size)
        before = position.floor()
        shape = (len(images), 1, size, 1) if axis == 2 else (len(images), 1, 1, size)
        share, here = (position - before).view(shape).to(images.dtype), before.long().view(shape)
        one, other = (images.gather(axis, place.expand_as(images)) for place in (here, (here + 1).clamp(max=size - 1)))
        images = one + share * (other - one)
    return images


def affine_matrix(
    angle: Tensor,
    translate_x: Tensor,
    translate_y: Tensor,
    scale: Tensor,
    shear_x: Tensor | None = None,
    shear_y: Tensor | None = None,
    mirror: Tensor | None = None,
) -> Tensor:
    """The map from output to input pixels that `affine` wants, with the parameters of torchvision's `affine`.

    An image is mirrored, sheared (x, then y), scaled and rotated about its centre, then translated.

    Args:
        angle: (B,) degrees, clockwise as one sees the image.
        translate_x: (B,) pixels to the right; fractions of a pixel are kept.
        translate_y: (B,) pixels down.
        scale: (B,) more than 0; above 1 enlarges.
        shear_x: (B,) degrees, none by default.
        shear_y: (B,) degrees, none by default.
        mirror: (B,) bool, the samples to mirror left to right, none by default.

    Returns:
        (B, 2, 3) float32: the input's (x, y), from its centre in pixels, is `matrix @ (x, y, 1)` of the output's.

    Source:
        `torchvision.transforms.functional._get_inverse_affine_matrix`, for which the centre is the origin.
    """
    # In double precision, because a float32 sine's last bit may depend on a number's place in the batch.
    zero = torch.zeros_like(angle, dtype=torch.float64)
    turn = torch.deg2rad(angle.double())
    skew_x = zero if shear_x is None else torch.deg2rad(shear_x.double())
    skew_y = zero if shear_y is None else torch.deg2rad(shear_y.double())
    a = torch.cos(turn - skew_y) / torch.cos(skew_y)
    b = -a * torch.tan(skew_x) - torch.sin(turn)
    c = torch.sin(turn - skew_y) / torch.cos(skew_y)
    d = torch.cos(turn) - c * torch.tan(skew_x)
    size = scale.double()
    linear = torch.stack([d, -b, -c, a], 1).view(-1, 2, 2) / size[:, None, None]  # the inverse; determinant of abcd: 1
    shift = -(linear[:, :, 0] * translate_x.double()[:, None] + linear[:, :, 1] * translate_y.double()[:, None])
    matrix = torch.cat([linear, shift[:, :, None]], 2)  # (B, 2, 3)
    if mirror is not None:
        sign = torch.stack([1 - 2 * mirror.double(), zero + 1], 1)  # (B, 2)
        matrix = matrix * sign[:, :, None]
    return matrix.float()


def affine(
    images: Tensor, matrix: Tensor, mode: Literal["bilinear", "nearest"] = "bilinear", fill: float = 0.0
) -> Tensor:
    """Resamples every image once, through its own affine map.

    Equals torchvision's `affine` (its `fill=None`) of each image within 1e-4 of the range of the values.

    Args:
        images: (B, C, H, W), uint8 or float; results for uint8 are rounded.
        matrix: (B, 2, 3) float32 from output to input pixels about the centre, as `affine_matrix` makes it.
        mode: how a value between pixels is found.
        fill: the value beyond the image.

    Returns:
        (B, C, H, W) of the images' dtype.
    """
    height, width = images.shape[-2:]
    x = torch.arange(width, device=images.device) - (width - 1) / 2  # (W,), centres of pixels
    y = torch.arange(height, device=images.device) - (height - 1) / 2  # (H,)
    # Not `F.affine_grid`: that multiplies matrices, several times as slow here, and may round by batch size.
    scaled = torch.stack([matrix[:, 0] * (2 / width), matrix[:, 1] * (2 / height)], 1)  # (B, xy, 3) of [-1, 1]
    by_x, by_y, shift = scaled[..., None].unbind(2)  # (B, xy, 1) each
    grid = (by_x * x + shift)[:, :, None, :] + (by_y * y)[:, :, :, None]  # (B, xy, H, W)
    values = images.float()
    if fill:
        values = values - fill  # beyond the image grid_sample knows zeros only
    result = _sample(values, grid.permute(0, 2, 3, 1), mode)
    if fill:
        result += fill
    if images.is_floating_point():
        return result.to(images.dtype)
    return result.round_().clamp_(0, 255).to(images.dtype)


def _sample(images: Tensor, grid: Tensor, mode: str) -> Tensor:
    """`F.grid_sample`, zeros lying beyond the images; in compiled graphs the very kernel that runs without them.

    The compiler would write another one, which rounds differently.
    """
    if torch.compiler.is_compiling():
        sampled: Tensor = torch.ops.semisup.sample(images, grid, mode)
        return sampled
    return F.grid_sample(images, grid, mode=mode, padding_mode="zeros", align_corners=False)


@torch.library.custom_op("semisup::sample", mutates_args=())
def _opaque_sample(images: Tensor, grid: Tensor, mode: str) -> Tensor:
    return F.grid_sample(images, grid, mode=mode, padding_mode="zeros", align_corners=False)


@_opaque_sample.register_fake
def _(images: Tensor, grid: Tensor, mode: str) -> Tensor:
    return images.new_empty(*images.shape[:2], *grid.shape[1:3])


def transform(images: Tensor, coefficients: Tensor) -> Tensor:
    """Resamples every image through its own affine map by copying nearest pixels; zeros lie beyond the image.

    Equals `PIL.Image.transform(size, AFFINE, coefficients)` in its default mode, in the same fixed-point arithmetic.

    Args:
        images: (B, C, H, W), any dtype, less than 32768 pixels a side.
        coefficients: (B, 6) float64, Pillow's (a, b, c, d, e, f): an output pixel (x, y) shows the input's at
            (a x + b y + c, d x + e y + f), measured in pixels from the corner at the upper left.
    """
    return copy_pixels(images, *fixed_point(*coefficients.unbind(1)))


def copy_pixels(images: Tensor, *fixed: Tensor) -> Tensor:
    """`transform` of images by six coefficients as `fixed_point` gives them, (B,) int32 each."""
    count, channels, height, width = images.shape
    a, b, c, d, e, f = (each[:, None] for each in fixed)
    x = torch.arange(width, dtype=torch.int32, device=images.device)
    y = torch.arange(height, dtype=torch.int32, device=images.device)
    padded = F.pad(images, (1, 1, 1, 1)).flatten(2)  # what lies beyond the image is found on this border
    index = torch.zeros(1, dtype=torch.int32, device=images.device)
    for by_x, by_y, shift, size in ((d, e, f, height), (a, b, c, width)):
        place = (by_x * x + (shift + 65536))[:, None, :] + (by_y * y)[:, :, None]  # (B, H, W), one more by the border
        place = place.bitwise_right_shift_(16).clamp_(0, size + 1)
        index = place.add_(index.mul_(width + 2))
    index = index.view(count, 1, height * width).long().expand(count, channels, height * width)
    return padded.gather(2, index).view(images.shape)


def move_rows(images: Tensor, *fixed: Tensor) -> Tensor:
    """`copy_pixels` by maps that only move rows, which are copied as they are: on the CPU in a tenth of the time.

    Args:
        images: (B, C, H, W), any dtype.
        fixed: six coefficients (B,) as those of `copy_pixels`, of maps whose a and e are 1 and d is 0.
    """
    height, width = images.shape[-2:]
    _, b, c, _, _, f = (each[:, None] for each in fixed)
    y = torch.arange(height, device=images.device)
    right = ((b * y + c) >> 16).clamp_(-width, width)  # (B, H)
    row = y + (f >> 16)
    right = torch.where((row < 0) | (row >= height), -width, right)  # the zeros before a row
    padded = F.pad(images, (width, 0, 0, 1))  # what goes beyond a row's end is found before the next one
    return _runs(padded, row.clamp_(0, height - 1)[:, None], right[:, None] + width, width)


def fixed_point(a: Tensor, b: Tensor, c: Tensor, d: Tensor, e: Tensor, f: Tensor) -> tuple[Tensor, ...]:
    """Pillow's coefficients, float64, as it computes with them: int32, of which 16 bits come after the point."""
    middle = (a, b, c + (a + b) * 0.5, d, e, f + (d + e) * 0.5)  # the map is taken at pixels' centres
    return tuple((each * 65536 + 0.5).floor().int() for each in middle)
