"""Batched colour operations equal Pillow's, image by image, on photographs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from helpers import patches
from PIL import Image, ImageEnhance, ImageOps
from torch import Tensor

from semisup.augment import color
from semisup.errors import InputError

COUNT = 12
FACTORS = torch.tensor([0.0, 0.05, 0.123, 0.3, 0.5, 0.777, 0.95, 1.0, 1.1, 1.5, 2.0, 3.3])
BITS = torch.tensor([1, 2, 3, 4, 4.2, 4.999, 5, 5.5, 6.3, 7, 7.99, 8])
THRESHOLDS = torch.tensor([0, 0.3, 1, 30, 64.5, 100, 128, 200.2, 254.5, 255, 255.5, 256])

CASES: dict[str, tuple[Callable[..., Tensor], Tensor | None, Callable[..., Image.Image]]] = {
    "brightness": (color.brightness, FACTORS, lambda image, v: ImageEnhance.Brightness(image).enhance(v)),
    "saturation": (color.saturation, FACTORS, lambda image, v: ImageEnhance.Color(image).enhance(v)),
    "contrast": (color.contrast, FACTORS, lambda image, v: ImageEnhance.Contrast(image).enhance(v)),
    "sharpness": (color.sharpness, FACTORS, lambda image, v: ImageEnhance.Sharpness(image).enhance(v)),
    "posterize": (color.posterize, BITS, lambda image, v: ImageOps.posterize(image, int(v))),
    "solarize": (color.solarize, THRESHOLDS, lambda image, v: ImageOps.solarize(image, v)),
    "autocontrast": (color.autocontrast, None, ImageOps.autocontrast),
    "equalize": (color.equalize, None, ImageOps.equalize),
}
ALL = sorted(CASES)


@pytest.fixture(scope="module", params=[96, 32])
def photographs(request: pytest.FixtureRequest) -> Tensor:
    """(12, 3, H, H) uint8, patches of two photographs; half of them faded, to leave something to stretch."""
    faded = [patch // 3 + 40 if i % 2 else patch for i, patch in enumerate(patches(request.param))]
    return torch.stack(faded)


def grey_of(images: Tensor) -> Tensor:
    return images[:, 1:2].contiguous()


def to_pillow(image: Tensor) -> Image.Image:
    array = image.permute(1, 2, 0).contiguous().numpy()
    return Image.fromarray(array if array.shape[2] == 3 else array[:, :, 0])


def from_pillow(image: Image.Image) -> Tensor:
    array = np.asarray(image)
    return torch.from_numpy(array.reshape(*array.shape[:2], -1).copy()).permute(2, 0, 1)


def ours(name: str, images: Tensor, where: slice = slice(None)) -> Tensor:
    function, magnitude, _ = CASES[name]
    return function(images[where]) if magnitude is None else function(images[where], magnitude[where])


def pillows(name: str, images: Tensor) -> Tensor:
    _, magnitude, function = CASES[name]
    values = [()] * len(images) if magnitude is None else [(v,) for v in magnitude.tolist()]
    return torch.stack([from_pillow(function(to_pillow(x), *v)) for x, v in zip(images, values, strict=True)])


def assert_same(found: Tensor, expected: Tensor) -> None:
    """Equal but for one level at a pixel in a thousand."""
    assert found.dtype == torch.uint8 and found.shape == expected.shape
    difference = (found.int() - expected.int()).abs()
    assert difference.max() <= 1
    assert (difference > 0).float().mean() < 1e-3


@pytest.mark.parametrize("name", ALL)
def test_it_is_pillows(name: str, photographs: Tensor) -> None:
    before = photographs.clone()
    assert_same(ours(name, photographs), pillows(name, photographs))
    assert torch.equal(photographs, before)


@pytest.mark.parametrize("name", ALL)
def test_it_is_pillows_on_grey_images(name: str, photographs: Tensor) -> None:
    grey = grey_of(photographs)
    assert_same(ours(name, grey), pillows(name, grey))


@pytest.mark.parametrize("name", ["posterize", "solarize", "autocontrast", "equalize"])
def test_whole_numbers_are_exactly_pillows(name: str, photographs: Tensor) -> None:
    assert torch.equal(ours(name, photographs), pillows(name, photographs))


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("value", [0, 1, 77, 255])
def test_images_of_one_colour(name: str, value: int) -> None:
    """No contrast to stretch, no histogram to even, and nothing is divided by zero."""
    flat = torch.full((COUNT, 3, 7, 5), value, dtype=torch.uint8)
    assert_same(ours(name, flat), pillows(name, flat))
    two = flat.clone()
    two[:, :, 0, 0] = 13
    assert_same(ours(name, two), pillows(name, two))


@pytest.mark.parametrize("name", ALL)
def test_a_whole_batch_equals_its_samples_one_by_one(name: str, photographs: Tensor) -> None:
    whole = ours(name, photographs)
    for i in range(COUNT):
        assert torch.equal(ours(name, photographs, slice(i, i + 1)), whole[i : i + 1])


@pytest.mark.parametrize("name", ALL)
def test_images_that_are_not_contiguous(name: str, photographs: Tensor) -> None:
    turned = photographs.transpose(2, 3)[..., 3:, :]
    assert torch.equal(ours(name, turned), ours(name, turned.contiguous()))


@pytest.mark.parametrize("name", ["brightness", "saturation", "contrast", "sharpness"])
def test_a_factor_of_one_is_the_image(name: str, photographs: Tensor) -> None:
    assert torch.equal(CASES[name][0](photographs, torch.ones(COUNT)), photographs)


def test_sharpness_keeps_images_without_an_inside() -> None:
    tiny = torch.tensor([[[[10, 200], [30, 40]]]], dtype=torch.uint8)
    assert torch.equal(color.sharpness(tiny, torch.zeros(1)), tiny)


def test_colour_is_known_of_one_or_three_channels() -> None:
    with pytest.raises(InputError, match="images of 1 or 3 channels, and these have 2"):
        color.contrast(torch.zeros(1, 2, 4, 4, dtype=torch.uint8), torch.ones(1))
