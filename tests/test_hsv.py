"""Batched hue, saturation and value are colorsys's, pixel by pixel, on photographs and on a lattice of all colours."""

from __future__ import annotations

import colorsys
from collections.abc import Callable
from itertools import product

import pytest
import torch
from helpers import patches
from torch import Tensor

from semisup.augment.hsv import adjust, hsv_to_rgb, rgb_to_hsv

Pixel = tuple[float, float, float]


@pytest.fixture(scope="module")
def colors() -> Tensor:
    """(13, 3, 21, 21) float32: photographs, and an image of all colours of 0, 1/4 ... 1, with black at the end."""
    cube = torch.tensor([*product(range(5), repeat=3), *[(0, 0, 0)] * (21 * 21 - 125)]).T.reshape(1, 3, 21, 21) / 4
    return torch.cat([patches(21) / 255, cube])


def by_pixel(images: Tensor, function: Callable[..., Pixel], *parameters: Tensor) -> Tensor:
    """A function of three floats, and of each image's own parameters, on every pixel in double precision."""
    results = torch.empty_like(images, dtype=torch.float64)
    for i, image in enumerate(images.double()):
        own = [x[i].tolist() for x in parameters]
        pixels = [function(*pixel, *own) for pixel in image.flatten(1).T.tolist()]
        results[i] = torch.tensor(pixels, dtype=torch.float64).T.view_as(image)
    return results


def naive(red: float, green: float, blue: float, power: list, factor: list, offset: list, hue: float) -> Pixel:
    h, *sv = colorsys.rgb_to_hsv(red, green, blue)
    s, v = (min(max(x**p * f + o, 0.0), 1.0) for x, p, f, o in zip(sv, power, factor, offset, strict=True))
    return colorsys.hsv_to_rgb((h + hue) % 1, s, v)


def numbers(count: int) -> tuple[Tensor, ...]:
    """Powers, factors, offsets (B, 2) and hues (B,), all over Exemplar-CNN's ranges."""
    generator = torch.Generator().manual_seed(0)
    unit = torch.rand(7, count, generator=generator)
    power, factor, offset = 4 ** (2 * unit[0:2].T - 1), 0.7 + 0.7 * unit[2:4].T, 0.2 * unit[4:6].T - 0.1
    return power, factor, offset, 0.2 * unit[6] - 0.1


def test_rgb_to_hsv_is_colorsys(colors: Tensor) -> None:
    error = (rgb_to_hsv(colors) - by_pixel(colors, colorsys.rgb_to_hsv)).abs()
    error[:, 0] = torch.minimum(error[:, 0], 1 - error[:, 0])  # hues of 0 and of nearly 1 are neighbours
    assert error.max() < 1e-6


def test_hsv_to_rgb_is_colorsys(colors: Tensor) -> None:
    """The colours themselves serve as hues, saturations and values: hue 1, and every corner, are among them."""
    torch.testing.assert_close(hsv_to_rgb(colors).double(), by_pixel(colors, colorsys.hsv_to_rgb), atol=1e-6, rtol=0)


def test_there_and_back_every_level_returns() -> None:
    levels = torch.tensor([0, 1, 2, 63, 64, 127, 128, 200, 254, 255])
    cube = torch.cartesian_prod(levels, levels, levels).T.reshape(1, 3, 40, 25)
    assert torch.equal((hsv_to_rgb(rgb_to_hsv(cube / 255)) * 255).round().long(), cube)


def test_adjust_is_colorsys_pixel_by_pixel(colors: Tensor) -> None:
    """Within 2e-5: a power of 1/4 is steep near 0, where it enlarges the rounding of saturations."""
    found = adjust(colors, *numbers(13))
    torch.testing.assert_close(found.double(), by_pixel(colors, naive, *numbers(13)), atol=2e-5, rtol=0)


def test_adjust_changes_the_value_of_grey_images(colors: Tensor) -> None:
    """As it does that of the same grey in colour, once saturation stays 0."""
    power, factor, offset, hue = numbers(13)
    factor[:, 0] = offset[:, 0] = 0
    grey = colors[:, 1:2]
    expected = adjust(grey.expand(-1, 3, -1, -1), power, factor, offset, hue)
    assert torch.equal(adjust(grey, power, factor, offset, hue).expand(-1, 3, -1, -1), expected)


def test_a_batch_equals_its_samples_bit_for_bit(colors: Tensor) -> None:
    hsv, parameters = rgb_to_hsv(colors), numbers(13)
    for i in range(13):
        each, own = slice(i, i + 1), [x[i : i + 1] for x in parameters]
        assert torch.equal(rgb_to_hsv(colors[each]), hsv[each])
        assert torch.equal(hsv_to_rgb(hsv[each]), hsv_to_rgb(hsv)[each])
        assert torch.equal(adjust(colors[each], *own), adjust(colors, *parameters)[each])


@pytest.mark.parametrize("channels", [1, 3])
def test_nothing_reads_a_value(channels: int) -> None:
    """On the meta device reading one raises."""
    images = torch.empty(4, channels, 8, 8, device="meta")
    assert adjust(images, *(x.to("meta") for x in numbers(4))).shape == (4, channels, 8, 8)
