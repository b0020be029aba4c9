"""Operations on the values of pixels, on a whole batch of uint8 images, each sample with its own magnitude.

All are Pillow's, rounding included: results were equal to the bit to those of Pillow 13 on x86-64. The tests allow one
level at a pixel in a thousand, since another build may round a product and a sum at once. Nothing here draws and
nothing waits for the device; every sample's result depends on that sample alone, to the last bit.

Shapes: B samples, C channels (1 for grey, 3 for red, green and blue), H rows, W columns. A `factor` (B,) blends between
a degenerate image at 0 and the image itself at 1; above 1 it goes beyond, clipped to 0..255.
"""

from __future__ import annotations

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
    return images if images.shape[1] == 1 else blend(grey(images), images, factor)


def contrast(images: Tensor, factor: Tensor) -> Tensor:
    """Blends with the mean of the grey image, rounded to a whole level.

    Args:
        images: (B, 1 or 3, H, W) uint8.
        factor: (B,) float32, at least 0.

    Source:
        `PIL.ImageEnhance.Contrast`.
    """
    pixels = images.shape[-2] * images.shape[-1]
    total = grey(images).flatten(1).sum(1, dtype=torch.int64)  # (B,)
    mean = torch.div(2 * total + pixels, 2 * pixels, rounding_mode="floor")
    return blend(_each(mean), images, factor)


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
    inner = images[..., 1:-1, 1:-1]
    values = images.to(torch.int16)
    rows = values[..., :-2] + values[..., 1:-1] + values[..., 2:]
    total = rows[..., :-2, :] + rows[..., 1:-1, :] + rows[..., 2:, :] + 4 * values[..., 1:-1, 1:-1]  # at most 13 * 255
    smooth = total.float().mul_(1 / 13).add_(0.5).floor_()  # no sum is within 1/26 of rounding the other way
    result = images.clone()
    result[..., 1:-1, 1:-1] = blend(smooth, inner, factor)
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
    inverted = images >= _each(first.clamp(max=255).to(torch.uint8))  # bytes by bytes: to compare with floats is slow
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
    return look_up(images, _bytes(levels * scale + offset))


def equalize(images: Tensor) -> Tensor:
    """Maps every channel's values so that the result's histogram is as even as it can be.

    Args:
        images: (B, C, H, W) uint8.

    Source:
        `PIL.ImageOps.equalize`.
    """
    height, width = images.shape[-2:]
    values = images.flatten(2)
    histogram = _histogram(values)
    brightest = histogram.gather(2, values.amax(2, keepdim=True).long())  # (B, C, 1)
    step = torch.div(height * width - brightest, _LEVELS - 1, rounding_mode="floor")
    below = histogram.cumsum(2) - histogram  # pixels darker than each level
    some = step.clamp(min=1)
    table = torch.div(below + torch.div(step, 2, rounding_mode="floor"), some, rounding_mode="floor").clamp_(max=255)
    levels = torch.arange(_LEVELS, device=images.device)
    return look_up(images, torch.where(step > 0, table, levels).to(torch.uint8))


def look_up(images: Tensor, table: Tensor) -> Tensor:
    """Replaces every value by the entry of its channel's table.

    Args:
        images: (B, C, H, W) uint8.
        table: (B, C, 256) uint8.
    """
    return table.gather(2, images.flatten(2).long()).view(images.shape)


def grey(images: Tensor) -> Tensor:
    """The grey image (B, 1, H, W), uint8, of images (B, 1 or 3, H, W), uint8: ITU-R 601-2 luma, as Pillow rounds it.

    Raises:
        InputError: there are neither 1 nor 3 channels.
    """
    channels = images.shape[1]
    require(channels in (1, 3), f"colours are known of images of 1 or 3 channels, and these have {channels}")
    if channels == 1:
        return images
    red, green, blue = images.int().unbind(1)
    return ((red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16).to(torch.uint8)[:, None]


def blend(degenerate: Tensor, images: Tensor, factor: Tensor) -> Tensor:
    """`degenerate` where `factor` (B,) is 0, `images` (B, C, H, W) where it is 1, clipped and truncated to uint8.

    Source:
        `PIL.Image.blend`.
    """
    base = degenerate.float()
    return _bytes(images.float().sub_(base).mul_(_each(factor)).add_(base))


def _histogram(values: Tensor) -> Tensor:
    """How often each level comes up in values (B, C, N) uint8; (B, C, 256) int64."""
    count, channels, _ = values.shape
    if values.device.type == "cpu":  # on a GPU counting would wait for the largest value
        plane = torch.arange(count * channels, dtype=torch.int32).view(count, channels, 1) * _LEVELS
        counts = (values + plane).flatten().bincount(minlength=plane.numel() * _LEVELS)
        return counts.view(count, channels, _LEVELS)
    one = torch.ones(1, dtype=torch.int64, device=values.device)
    zeros = torch.zeros(count, channels, _LEVELS, dtype=torch.int64, device=values.device)
    return zeros.scatter_add_(2, values.long(), one.expand(values.shape))


def _each(values: Tensor) -> Tensor:
    """(B,) to (B, 1, 1, 1)."""
    return values.view(-1, 1, 1, 1)


def _bytes(values: Tensor) -> Tensor:
    """Clipped to 0..255 and truncated to uint8."""
    return values.clamp_(0, 255).to(torch.uint8)
