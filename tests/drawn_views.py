"""What a view has drawn, read from what it did to ramps."""

from __future__ import annotations

import torch
from torch import Tensor

from semisup.augment import views
from semisup.randomness import Draw


def draw(count: int, *, seed: int = 0, step: int = 0) -> Draw:
    return Draw(seed, step, "labeled/test", torch.arange(count), count)


def ramps(count: int, size: int = 96) -> Tensor:
    """(B, 2, H, W) uint8: every pixel holds its own column and row, doubled."""
    axis = torch.arange(size, dtype=torch.uint8) * 2
    return torch.stack([axis.expand(size, size), axis[:, None].expand(size, size)]).expand(count, 2, size, size)


def measured(view: views.View, where: Draw, size: int = 96) -> dict[str, Tensor]:
    """What a view did to the ramps, read from slopes near their centre: (B,) each, translation in pixels."""
    middle, reach = (size - 1) / 2, 10
    found = view(ramps(len(where.position), size), where) * 127.5 - middle  # input pixels from the centre
    low, high = size // 2 - 1 - reach, size // 2 + reach
    corners = found[:, :, [low, low, high], [low, high, low]].double()  # (B, xy, 3)
    origin, right, down = corners.unbind(2)
    linear = torch.stack([right - origin, down - origin], 2) / (high - low)  # (B, 2, 2), input by output
    shift = origin - linear.sum(2) * (low - middle)
    determinant = torch.linalg.det(linear)
    mirror = determinant < 0
    sign = torch.where(mirror, -1.0, 1.0)
    back = -torch.linalg.solve(linear, shift[:, :, None])[:, :, 0]
    angle = torch.rad2deg(torch.atan2(sign * linear[:, 0, 1], sign * linear[:, 0, 0]))
    scale = determinant.abs() ** -0.5
    return {"mirror": mirror, "scale": scale, "angle": angle, "x": back[:, 0], "y": back[:, 1]}
