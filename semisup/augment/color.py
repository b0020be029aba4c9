"""Operations on the values of pixels, on a whole batch of uint8 images, each sample with its own magnitude.

All are Pillow's, rounding included: results were equal to the bit to those of Pillow 13 on x86-64. The tests allow one
level at a pixel in a thousand, since another build may round a product and a sum at once. Nothing here draws and
nothing waits for the device; every sample's result depends on that sample alone, to the last bit.

Shapes: B samples, C channels (1 for grey, 3 for red, green and blue), H rows, W columns. A `factor` (B,) blends between
a degenerate image at 0 and the image itself at 1; above 1 it goes beyond, clipped to 0..255.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from semisup.augment.device import steps_on_cpu
from semisup.errors import require

_LEVELS = 256


def brightness(images: Tensor, factor: Tensor) -> Tensor:
    """Blends with black.

    Args:
        images: (B, C, H, W) uint8.
        factor: (B,) float32, at least 0; 1 leaves the image as it is.

    Source:
        `PIL.ImageEnhance.Brightness`.
    """
    return _bytes(images.float().mul_(_each(factor)))


def saturation(images: Tensor, factor: Tensor) -> Tensor:
    """Blends with the grey image; grey images stay as they are.

    Args:
        images: (B, 1 or 3, H, W) uint8.
        factor: (B,) float32, at least 0.

    Source:
        `PIL.ImageEnhance.Color`.
    """
    if images.shape[1] == 1:
        return images
    values = images.float()
    return _blend(_luma(values), values, factor)


def contrast(images: Tensor, factor: Tensor) -> Tensor:
    """Blends with the mean of the grey image, rounded to a whole level.

    Args:
        images: (B, 1 or 3, H, W) uint8.
        factor: (B,) float32, at least 0.

    Source:
        `PIL.ImageEnhance.Contrast`.
    """
    values = images.float()
    return _blend(_each(_mean_grey(values)), values, factor)


def contrast_table(images: Tensor, factor: Tensor) -> Tensor:
    """What `contrast` of these images makes of every value, (B, 1, 1, 256) uint8."""
    return _blend(_each(_mean_grey(images.float())), every_value(images).float(), factor)


def sharpness(images: Tensor, factor: Tensor) -> Tensor:
    """Blends with the image smoothed by a 3x3 kernel, of weight 5 in the centre and 1 elsewhere; the border is kept.

    Args:
        images: (B, C, H, W) uint8.
        factor: (B,) float32, at least 0.

    Source:
        `PIL.ImageEnhance.Sharpness`.
    """
    if min(images.shape[-2:]) < 3:
        return images
    if not steps_on_cpu(images.device):
        height, width = images.shape[-2:]
        padded = F.pad(images.float(), (1, 1, 1, 1))
        nine = [padded[..., y : y + height, x : x + width] for y in range(3) for x in range(3)]
        smooth = sum(nine, 4 * nine[4]).mul(1 / 13).add(0.5).floor()
        down, right = (torch.arange(size, device=images.device) for size in (height, width))
        inside = ((down % (height - 1)) > 0)[:, None] & ((right % (width - 1)) > 0)
        return torch.where(inside, _blend(smooth, nine[4].clone(), factor), images)
    width = images.shape[-1]
    values = images.flatten().to(torch.int16)
    # Neighbours in one run of memory: a sum that goes over an edge is that of a pixel at the border, and not used.
    rows = (values[:-2] + values[1:-1]).add_(values[2:])
    total = (rows[: -2 * width] + rows[width:-width]).add_(rows[2 * width :])
    values[width + 1 : -width - 1].mul_(4).add_(total)  # at most 13 * 255
    smooth = values.view(images.shape).float().mul_(1 / 13).add_(0.5).floor_()  # no sum is within 1/26 of the next
    result = images.clone()
    result[..., 1:-1, 1:-1] = _blend(smooth, images.float(), factor)[..., 1:-1, 1:-1]
    return result


def posterize(images: Tensor, bits: Tensor) -> Tensor:
    """Keeps the highest bits of every value.

    Args:
        images: (B, C, H, W) uint8.
        bits: (B,) from 1 to 8; fractions are dropped.

    Source:
        `PIL.ImageOps.posterize`.
    """
    lost = 8 - bits.long()
    return images & _each(_LEVELS - (torch.ones_like(lost) << lost)).to(torch.uint8)


def solarize(images: Tensor, threshold: Tensor) -> Tensor:
    """Inverts the values that are not below a threshold.

    Args:
        images: (B, C, H, W) uint8.
        threshold: (B,) from 0, which inverts all, to 256, which inverts none.

    Source:
        `PIL.ImageOps.solarize`.
    """
    # A value's inverse, 255 - v, is v with all bits turned over: an exclusive or with 255, and with 0 the value itself.
    first = threshold.ceil()
    turned = 255 * (first < _LEVELS)
    least = _each(first.clamp(max=255).to(torch.uint8))
    inverted = torch.maximum(images, least) == images  # a tenth of the time of `images >= least` on the CPU
    return images ^ inverted.view(torch.uint8).mul(_each(turned.to(torch.uint8)))


def autocontrast(images: Tensor) -> Tensor:
    """Stretches every channel so that its darkest pixel becomes 0 and its brightest 255; flat channels stay.

    Args:
        images: (B, C, H, W) uint8.

    Source:
        `PIL.ImageOps.autocontrast`, with nothing cut off.
    """
    return look_up(autocontrast_table(images), images)


def autocontrast_table(images: Tensor) -> Tensor:
    """What `autocontrast` of these images makes of every value, (B, C, 1, 256) uint8."""
    values = images.flatten(2)
    if torch.compiler.is_compiling():  # on CPUs PyTorch's compiler finds 0 for the least byte
        values = values.int()
    low, high = (x.double()[:, :, None] for x in (values.amin(2), values.amax(2)))  # (B, C, 1)
    flat = high <= low
    # Not `255 / width`, which multiplies by a rounded reciprocal.
    width = high - low + flat
    scale = torch.where(flat, 1.0, torch.full_like(width, 255.0) / width)
    offset = torch.where(flat, 0.0, -low * scale)
    levels = torch.arange(_LEVELS, dtype=torch.float64, device=images.device)
    return _bytes(levels * scale + offset)[:, :, None]


def equalize(images: Tensor) -> Tensor:
    """Maps every channel's values so that the result's histogram is as even as it can be.

    Args:
        images: (B, C, H, W) uint8.

    Source:
        `PIL.ImageOps.equalize`.
    """
    places = _places(images)
    return _entries(_equalize_table(images, places), places, images.shape)


def equalize_table(images: Tensor) -> Tensor:
    """What `equalize` of these images makes of every value, (B, C, 1, 256) uint8."""
    return _equalize_table(images, _places(images))


def _equalize_table(images: Tensor, places: Tensor) -> Tensor:
    pixels = images.shape[-2] * images.shape[-1]
    brightest = images.flatten(2).amax(2, keepdim=True).long()  # (B, C, 1)
    below = _below(images, places)
    most = pixels - below.gather(2, brightest)  # as many pixels are the brightest
    step = torch.div(pixels - most, _LEVELS - 1, rounding_mode="floor")
    half = torch.div(step, 2, rounding_mode="floor")
    table = ((below + half).double() / step.clamp(min=1)).clamp_(max=_LEVELS - 1)  # floats divide faster, and exactly
    levels = torch.arange(_LEVELS, device=images.device)
    return torch.where(step > 0, table, levels).to(torch.uint8)[:, :, None]


def every_value(images: Tensor) -> Tensor:
    """The values from 0 to 255 as an image of one row for each of some images, (B, 1, 1, 256) uint8.

    What is done to every pixel on its own can be done to these instead: the result is a table of it for `look_up`.
    """
    return torch.arange(_LEVELS, dtype=torch.uint8, device=images.device).expand(len(images), 1, 1, _LEVELS)


def look_up(table: Tensor, images: Tensor) -> Tensor:
    """The entry of a table for every pixel.

    Args:
        table: (B, C, 1, 256) uint8, of each channel.
        images: (B, C, H, W) uint8.
    """
    return _entries(table, _places(images), images.shape)


def grey(images: Tensor) -> Tensor:
    """The grey image (B, 1, H, W), uint8, of images (B, 1 or 3, H, W), uint8: ITU-R 601-2 luma, as Pillow rounds it.

    Raises:
        InputError: there are neither 1 nor 3 channels.
    """
    return images if images.shape[1] == 1 else _luma(images.float()).to(torch.uint8)


def _blend(degenerate: Tensor, values: Tensor, factor: Tensor) -> Tensor:
    """What `PIL.Image.blend` makes of two images, clipped and truncated to uint8.

    Args:
        degenerate: float32, to be broadcast to `values`; what a factor of 0 gives.
        values: (B, C, H, W) float32, what a factor of 1 gives; overwritten.
        factor: (B,) float32.
    """
    return _bytes(values.sub_(degenerate).mul_(_each(factor)).add_(degenerate))


def _luma(values: Tensor) -> Tensor:
    """The grey image (B, 1, H, W) of values (B, 1 or 3, H, W), whole numbers from 0 to 255, all of them float32."""
    channels = values.shape[1]
    require(channels in (1, 3), f"colours are known of images of 1 or 3 channels, and these have {channels}")
    if channels == 1:
        return values
    red, green, blue = values.unbind(1)
    # Whole numbers below 2^24, so exact.
    total = (red * 19595).add_(green, alpha=38470).add_(blue, alpha=7471).add_(0x8000)
    return total.mul_(2.0**-16).floor_()[:, None]


def _places(images: Tensor) -> Tensor:
    """Where every value of images (B, C, H, W) stands in a table of 256 entries for each plane; (B * C * H * W,)."""
    planes = images.flatten(0, 1).flatten(1)
    first = torch.arange(len(planes), dtype=torch.int32, device=images.device)[:, None] * _LEVELS
    return (planes.int() + first).flatten()


def _mean_grey(values: Tensor) -> Tensor:
    """The mean of the grey image of values (B, 1 or 3, H, W) float32, rounded to a whole level; (B,) float32."""
    pixels = values.shape[-2] * values.shape[-1]
    total = _luma(values).sum((1, 2, 3), dtype=torch.float64)
    return (total / pixels + 0.5).floor_().float()


def _entries(table: Tensor, places: Tensor, shape: torch.Size) -> Tensor:
    """Entries of a table (B, C, 1, 256) at places (B * C * H * W,), as images."""
    return table.flatten().index_select(0, places).view(shape)


def _below(images: Tensor, places: Tensor) -> Tensor:
    """How many pixels of each channel are darker than each level; (B, C, 256) int64."""
    if torch.compiler.is_compiling():  # one kernel that never writes all of these comparisons
        levels = torch.arange(_LEVELS, dtype=torch.uint8, device=images.device)[:, None]
        return (images.flatten(2)[:, :, None] < levels).sum(3)
    size = images.shape[0] * images.shape[1] * _LEVELS
    if images.device.type == "cpu":  # on a GPU counting would wait for the largest value
        histogram = places.bincount(minlength=size)
    else:
        one = torch.ones(1, dtype=torch.int64, device=places.device)
        histogram = one.new_zeros(size).scatter_add_(0, places.long(), one.expand(places.shape))
    histogram = histogram.view(*images.shape[:2], _LEVELS)
    return histogram.cumsum(2) - histogram


def _each(values: Tensor) -> Tensor:
    """(B,) to (B, 1, 1, 1)."""
    return values.view(-1, 1, 1, 1)


def _bytes(values: Tensor) -> Tensor:
    """Floats, in place clipped to 0..255 and then truncated to uint8."""
    values = values.clamp_(0, 255)
    if steps_on_cpu(values.device):  # numpy takes a quarter of torch's time for this
        return torch.from_numpy(values.numpy().astype(np.uint8))
    return values.to(torch.uint8)
