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
from torch import Tensor

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
    pixels = images.shape[-2] * images.shape[-1]
    values = images.float()
    total = _luma(values).sum((1, 2, 3), dtype=torch.float64)
    return _blend(_each((total / pixels + 0.5).floor_().float()), values, factor)


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
    values = images.flatten(2)
    low, high = (x.double()[:, :, None] for x in (values.amin(2), values.amax(2)))  # (B, C, 1)
    flat = high <= low
    # Not `255 / width`, which multiplies by a rounded reciprocal.
    width = high - low + flat
    scale = torch.where(flat, 1.0, torch.full_like(width, 255.0) / width)
    offset = torch.where(flat, 0.0, -low * scale)
    levels = torch.arange(_LEVELS, dtype=torch.float64, device=images.device)
    return _look_up(_bytes(levels * scale + offset), _places(images), images.shape)


def equalize(images: Tensor) -> Tensor:
    """Maps every channel's values so that the result's histogram is as even as it can be.

    Args:
        images: (B, C, H, W) uint8.

    Source:
        `PIL.ImageOps.equalize`.
    """
    count, channels, height, width = images.shape
    places = _places(images)
    histogram = _histogram(places, count * channels).view(count, channels, _LEVELS)
    brightest = histogram.gather(2, images.flatten(2).amax(2, keepdim=True).long())  # (B, C, 1)
    step = torch.div(height * width - brightest, _LEVELS - 1, rounding_mode="floor")
    below = histogram.cumsum(2) - histogram  # pixels darker than each level
    half = torch.div(step, 2, rounding_mode="floor")
    table = ((below + half).double() / step.clamp(min=1)).clamp_(max=_LEVELS - 1)  # floats divide faster, and exactly
    levels = torch.arange(_LEVELS, device=images.device)
    return _look_up(torch.where(step > 0, table, levels).to(torch.uint8), places, images.shape)


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


def _look_up(table: Tensor, places: Tensor, shape: torch.Size) -> Tensor:
    """Entries of a table (B, C, 256) at places (B * C * H * W,), as images."""
    return table.flatten().index_select(0, places).view(shape)


def _histogram(places: Tensor, planes: int) -> Tensor:
    """How often each place comes up; (planes * 256,) int64."""
    size = planes * _LEVELS
    if places.device.type == "cpu":  # on a GPU counting would wait for the largest value
        return places.bincount(minlength=size)
    counts, one = (make(size, dtype=torch.int64, device=places.device) for make in (torch.zeros, torch.ones))
    return counts.scatter_add_(0, places.long(), one[:1].expand(places.shape))


def _each(values: Tensor) -> Tensor:
    """(B,) to (B, 1, 1, 1)."""
    return values.view(-1, 1, 1, 1)


def _bytes(values: Tensor) -> Tensor:
    """Floats, in place clipped to 0..255 and then truncated to uint8."""
    values = values.clamp_(0, 255)
    if values.device.type == "cpu":  # numpy takes a quarter of torch's time for this
        return torch.from_numpy(values.numpy().astype(np.uint8))
    return values.to(torch.uint8)
