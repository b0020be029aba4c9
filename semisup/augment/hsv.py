"""Hue, saturation and value on a whole batch: from red, green, blue, back to them, and changed in between.

All is arithmetic and choices between values, without a mask that gathers pixels: nothing waits for the device, and
every sample's result depends on that sample alone, to the last bit.
"""

from __future__ import annotations

import torch
from torch import Tensor


def rgb_to_hsv(images: Tensor) -> Tensor:
    """Hue, saturation and value of every pixel.

    Args:
        images: (B, 3, H, W) float in [0, 1]: red, green, blue.

    Returns:
        (B, 3, H, W) of the same dtype in [0, 1]. Hue is a fraction of the circle, 0 and 1 both red, 1/3 green and 2/3
        blue; grey pixels have hue 0, black ones saturation 0 as well.

    Source:
        `colorsys.rgb_to_hsv`.
    """
    red, green, blue = images.unbind(1)  # (B, H, W) each
    value = images.amax(1)
    width = value - images.amin(1)
    # Where it is 0 so are the numerators, and any divisor serves.
    divisor = width + (width == 0)
    from_green = torch.where(value == green, (blue - red) / divisor + 2, (red - green) / divisor + 4)
    hue = torch.where(value == red, (green - blue) / divisor, from_green) / 6
    saturation = width / (value + (value == 0))
    return torch.stack([hue - hue.floor(), saturation, value], 1)


def hsv_to_rgb(images: Tensor) -> Tensor:
    """Red, green and blue of every pixel.

    Args:
        images: (B, 3, H, W) float in [0, 1]: hue, saturation, value, as `rgb_to_hsv` gives them.

    Returns:
        (B, 3, H, W) of the same dtype in [0, 1].

    Source:
        `colorsys.hsv_to_rgb`; here as three trapezoids over the circle of hues, one for each colour.
    """
    hue, saturation, value = images.unbind(1)
    turn, chroma = hue * 6, value * saturation
    red = (turn - 3).abs() - 1
    green = 2 - (turn - 2).abs()
    blue = 2 - (turn - 4).abs()
    lack = 1 - torch.stack([red, green, blue], 1).clamp_(0, 1)  # 0 where a colour is as bright as the value
    return (value[:, None] - chroma[:, None] * lack).clamp_(0, 1)


def adjust(images: Tensor, power: Tensor, factor: Tensor, offset: Tensor, hue: Tensor) -> Tensor:
    """Raises saturation and value to a power, multiplies them, adds to them; then adds to the hue.

    Grey images have a value only.

    Args:
        images: (B, 1 or 3, H, W) float32 in [0, 1].
        power: (B, 2) float32, more than 0, of saturation and of value.
        factor: (B, 2) float32, of the same.
        offset: (B, 2) float32, of the same.
        hue: (B,) float32, turns of the circle.

    Returns:
        (B, C, H, W) float32 in [0, 1], to which saturation and value are clipped.
    """
    if images.shape[1] == 1:
        return _curve(images, power[:, 1:], factor[:, 1:], offset[:, 1:])
    hsv = rgb_to_hsv(images)
    turned = hsv[:, :1] + hue.view(-1, 1, 1, 1)
    return hsv_to_rgb(torch.cat([turned - turned.floor(), _curve(hsv[:, 1:], power, factor, offset)], 1))


def _curve(channels: Tensor, power: Tensor, factor: Tensor, offset: Tensor) -> Tensor:
    """Of channels (B, K, H, W), each with its own numbers (B, K)."""
    power, factor, offset = (x[:, :, None, None] for x in (power, factor, offset))
    # In double precision, because a float32 power's last bit may depend on a number's place in the batch.
    return (channels.double() ** power.double()).float().mul_(factor).add_(offset).clamp_(0, 1)
