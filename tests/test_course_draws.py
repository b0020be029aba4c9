"""What the course's augmentations draw: uniform over its ranges, anew in every step."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from drawn_views import draw, measured
from helpers import patches
from torch import Tensor

from semisup.augment import views
from semisup.randomness import Draw

MANY = 4000


def kolmogorov_smirnov(values: Tensor, low: float, high: float) -> float:
    """The largest distance between the values' distribution and the uniform one, times the root of their number.

    Beyond 1.95 once in a thousand times for values that are uniform (Kolmogorov 1933); infinite where one lies outside
    by more than a thousandth of the range, which is what reading them off images may err by.
    """
    unit = (values.double().sort().values - low) / (high - low)
    if unit[0] < -1e-3 or unit[-1] > 1 + 1e-3:
        return float("inf")
    count = len(unit)
    steps = torch.arange(count + 1, dtype=torch.float64) / count
    return float(max((steps[1:] - unit).max(), (unit - steps[:-1]).max())) * count**0.5


def test_the_courses_parts_are_uniform_over_their_ranges() -> None:
    """As they are read off images, by themselves and all together."""
    size = 64
    moved, turned, both = (measured(view, draw(MANY), size) for view in (views.translate, views.rotate, views.course))
    for found in (moved, both):
        assert kolmogorov_smirnov(found["x"], -6.4, 6.4) < 1.95
        assert kolmogorov_smirnov(found["y"], -6.4, 6.4) < 1.95
    for found in (turned, both):
        assert kolmogorov_smirnov(found["angle"], -20, 20) < 1.95
    assert kolmogorov_smirnov(both["scale"], 86 / 96, 96 / 87) < 1.95
    assert int(both["mirror"].sum()) == MANY // 2
    assert kolmogorov_smirnov(both["angle"], -25, 25) > 1.95  # the measure tells


def test_from_step_to_step_a_place_is_drawn_anew_and_mirrored_half_the_time() -> None:
    """Each image of a batch of 8 over 500 steps: the ranges hold in time as well, and no place is favoured."""
    found = [measured(views.course, Draw(0, step, "labeled/weak", torch.arange(8), 8), 64) for step in range(500)]
    for place in range(8):
        for name, low, high in (("x", -6.4, 6.4), ("angle", -20, 20), ("scale", 86 / 96, 96 / 87)):
            values = torch.stack([each[name][place] for each in found])
            assert kolmogorov_smirnov(values, low, high) < 1.95, (place, name)
        mirrored = sum(int(each["mirror"][place]) for each in found)
        assert abs(mirrored - 250) < 4 * (500 / 4) ** 0.5


def test_scaling_up_shows_the_central_87_of_96_pixels_and_down_leaves_86() -> None:
    """Up, by resampling photographs at the places of 96 pixels over 87; down, by where the border of zeros begins."""
    images = patches()
    up, down = (view(images, draw(12)) for view in (views.scale_up, views.scale_down))
    place = (torch.arange(96) - 47.5) * 87 / 96 / 48  # from -1 to 1 over the image
    grid = torch.stack(torch.meshgrid(place, place, indexing="xy"), -1).expand(12, -1, -1, -1)
    torch.testing.assert_close(up, F.grid_sample(images / 255, grid, align_corners=False), atol=1e-4, rtol=0)
    for dims in ((0, 1, 2), (0, 1, 3)):
        lit = (down.amax(dims) > 0).nonzero()[:, 0]
        assert (int(lit[0]), int(lit[-1]), len(lit)) == (5, 90, 86)
