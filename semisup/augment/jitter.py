"""Colour jitter: brightness, contrast, saturation and hue, each changed at random by up to a given strength.

The parameters are torchvision's `v2.ColorJitter`'s: factors are uniform in [max(0, 1 - strength), 1 + strength], 1
leaving the image as it is, and the hue moves uniformly up to its strength either way, in turns of the circle. Every
sample has its own. torchvision draws the order of the four anew for every call, and so does this for every batch: from
seed, step and stream, so that it is the same on every rank.

Brightness, contrast and saturation are Pillow's, as torchvision's are for Pillow images; for tensors it rounds the grey
image differently. Hue is torchvision's for tensors, in floating point; Pillow's own is in 256 steps.
"""

from __future__ import annotations

from itertools import permutations

import torch
from torch import Tensor

from semisup.augment import color
from semisup.augment.device import pick
from semisup.augment.hsv import hsv_to_rgb, rgb_to_hsv
from semisup.errors import require
from semisup.randomness import Draw, key


def shift_hue(images: Tensor, turns: Tensor) -> Tensor:
    """Moves the hue of every pixel along the circle; grey images stay as they are.

    Args:
        images: (B, 1 or 3, H, W) uint8.
        turns: (B,) float32 in [-1, 1]; 1/3 makes red green.

    Source:
        `torchvision.transforms.v2.functional.adjust_hue` of a tensor.
    """
    if images.shape[1] == 1:
        return images
    hsv = rgb_to_hsv(images.float().div_(255))
    hue = hsv[:, 0].add_(turns.view(-1, 1, 1))
    hue.sub_(hue.floor())
    return hsv_to_rgb(hsv).mul_(255.999).to(torch.uint8)  # of 256 equal intervals, as torchvision converts


OPERATIONS = (color.brightness, color.contrast, color.saturation, shift_hue)
_ORDERS = tuple(permutations(range(len(OPERATIONS))))


_PACKED = tuple(sum(i << 2 * place for place, i in enumerate(order)) for order in _ORDERS)


def order(draw: Draw) -> tuple[int, ...]:
    """The order in which a batch goes through `OPERATIONS`, each of the 24 as likely as any other."""
    return _ORDERS[key(draw.seed, draw.stream, draw.step, "order") % len(_ORDERS)]


def color_jitter(
    images: Tensor,
    draw: Draw,
    brightness: float = 0.0,
    contrast: float = 0.0,
    saturation: float = 0.0,
    hue: float = 0.0,
) -> Tensor:
    """Changes brightness, contrast, saturation and hue of each image by random amounts, in random order.

    Args:
        images: (B, 1 or 3, H, W) uint8; saturation and hue leave grey images as they are.
        draw: where the amounts and the order come from.
        brightness: strength, at least 0; 0 leaves the operation out, as it does the others.
        contrast: the same.
        saturation: the same.
        hue: strength, from 0 to 0.5, which reaches the opposite colour.

    Returns:
        (B, C, H, W) uint8.

    Raises:
        InputError: a strength is out of its range.
    """
    require(0 <= hue <= 0.5, f"the strength of hue is {hue}, but must be from 0 to 0.5")
    ranges = []
    for name, strength in (("brightness", brightness), ("contrast", contrast), ("saturation", saturation)):
        require(strength >= 0, f"the strength of {name} is {strength}, but must be at least 0")
        ranges.append((max(0.0, 1 - strength), 1 + strength))
    ranges.append((-hue, hue))
    unit = draw.uniform("jitter", len(OPERATIONS))  # (B, 4)
    drawn = [i for i, (low, high) in enumerate(ranges) if low < high]
    amounts = {i: ranges[i][0] + (ranges[i][1] - ranges[i][0]) * unit[:, i] for i in drawn}
    if draw.state is None:
        for i in order(draw):
            if i in amounts:
                images = OPERATIONS[i](images, amounts[i])
        return images
    # Where the order is known to the device alone, each place in it tries all four.
    number = torch.as_tensor(draw.key("order")) % len(_ORDERS)
    packed = pick(_PACKED, number, torch.int64)  # (1,)
    for place in range(len(OPERATIONS)):
        chosen, before = (packed >> 2 * place) & 3, images
        for i, amount in amounts.items():
            images = torch.where(chosen == i, OPERATIONS[i](before, amount), images)
    return images
