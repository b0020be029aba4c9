"""RandAugment: its operations against Pillow's, what it draws, and that a split batch sees the same."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers import patches
from PIL import Image, ImageDraw, ImageEnhance, ImageOps
from scipy.stats import chisquare
from torch import Tensor

from semisup.augment import geometry, randaugment
from semisup.augment.randaugment import OPERATIONS, rand_augment
from semisup.randomness import Draw

COUNT = 12
AFFINE = Image.Transform.AFFINE
PILLOWS = {
    "AutoContrast": lambda image, v: ImageOps.autocontrast(image),
    "Brightness": lambda image, v: ImageEnhance.Brightness(image).enhance(v),
    "Color": lambda image, v: ImageEnhance.Color(image).enhance(v),
    "Contrast": lambda image, v: ImageEnhance.Contrast(image).enhance(v),
    "Equalize": lambda image, v: ImageOps.equalize(image),
    "Identity": lambda image, v: image,
    "Posterize": lambda image, v: ImageOps.posterize(image, int(v)),
    "Rotate": lambda image, v: image.rotate(v),
    "Sharpness": lambda image, v: ImageEnhance.Sharpness(image).enhance(v),
    "ShearX": lambda image, v: image.transform(image.size, AFFINE, (1, v, 0, 0, 1, 0)),
    "ShearY": lambda image, v: image.transform(image.size, AFFINE, (1, 0, 0, v, 1, 0)),
    "Solarize": lambda image, v: ImageOps.solarize(image, v),
    "TranslateX": lambda image, v: image.transform(image.size, AFFINE, (1, 0, v * image.size[0], 0, 1, 0)),
    "TranslateY": lambda image, v: image.transform(image.size, AFFINE, (1, 0, 0, 0, 1, v * image.size[1])),
}
NAMES = tuple(each.name for each in OPERATIONS)
SPANS = tuple(each.high - each.low for each in OPERATIONS)
GEOMETRIC = ("Rotate", "ShearX", "ShearY", "TranslateX", "TranslateY")


def draw(count: int, *, seed: int = 0, step: int = 0) -> Draw:
    return Draw(seed, step, "unlabeled/strong", torch.arange(count), count)


@pytest.fixture(scope="module", params=[96, 32])
def photographs(request: pytest.FixtureRequest) -> Tensor:
    return patches(request.param)


def to_pillow(image: Tensor) -> Image.Image:
    return Image.fromarray(image.permute(1, 2, 0).contiguous().numpy())


def from_pillow(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1)


def one(name: str, images: Tensor, strength: Tensor) -> tuple[Tensor, Tensor]:
    """The images after one operation, and the magnitudes of strengths (B,) in [0, 1] of its range."""
    operation = torch.full((1, len(images)), NAMES.index(name))
    magnitude = OPERATIONS[NAMES.index(name)].low + strength * SPANS[NAMES.index(name)]
    return randaugment.apply(images, operation, magnitude[None]), magnitude


def pillows_rand_augment(images: Tensor, where: Draw, count: int = 3) -> Tensor:
    """USB's pipeline, image by image, with the same draws."""
    operation, strength = where.integers("operation", len(OPERATIONS), count), where.uniform("magnitude", count)
    results = []
    for image, chosen, strengths, (side, x, y) in zip(
        images, operation.tolist(), strength, where.uniform("cutout", 3).tolist(), strict=True
    ):
        pillow = to_pillow(image)
        width, height = pillow.size
        for i, value in zip(chosen, strengths, strict=True):
            pillow = PILLOWS[NAMES[i]](pillow, float(OPERATIONS[i].low + SPANS[i] * value)).copy()
        side = 0.5 * side * width
        left, top = int(max(0, x * width - side / 2)), int(max(0, y * height - side / 2))
        corners = (left, top, min(width, left + side), min(height, top + side))
        ImageDraw.Draw(pillow).rectangle(corners, (125, 123, 114))
        results.append(from_pillow(pillow))
    return torch.stack(results)


@pytest.mark.parametrize("operation", OPERATIONS, ids=NAMES)
@pytest.mark.parametrize("shape", ["square", "wide", "high"])
def test_an_operation_is_pillows(operation: randaugment.Operation, shape: str, photographs: Tensor) -> None:
    """Geometric ones to the pixel; the others but for one level at a pixel in a thousand."""
    third = photographs.shape[-1] // 3
    images = {"square": photographs, "wide": photographs[:, :, third:], "high": photographs[..., third:]}[shape]
    strength = torch.rand(COUNT, generator=torch.Generator().manual_seed(3))
    strength[:3] = torch.tensor([0.0, 1.0, 0.5])
    found, magnitude = one(operation.name, images, strength)
    expected = torch.stack(
        [
            from_pillow(PILLOWS[operation.name](to_pillow(image), v))
            for image, v in zip(images, magnitude.tolist(), strict=True)
        ]
    )
    assert found.dtype == torch.uint8
    difference = (found.int() - expected.int()).abs()
    assert difference.max() <= (0 if operation.name in GEOMETRIC else 1)
    assert (difference > 0).float().mean() < 1e-3


def test_any_affine_map_is_pillows(photographs: Tensor) -> None:
    generator = torch.Generator().manual_seed(5)
    coefficients = torch.randn(COUNT, 6, generator=generator, dtype=torch.float64)
    coefficients[:, [2, 5]] *= 20
    coefficients[0] = torch.tensor([1, 0, 0, 0, 1, 0])
    expected = [
        from_pillow(to_pillow(image).transform(image.shape[:0:-1], AFFINE, tuple(row)))
        for image, row in zip(photographs, coefficients.tolist(), strict=True)
    ]
    found = geometry.transform(photographs, coefficients)
    assert torch.equal(found, torch.stack(expected))
    assert torch.equal(found[0], photographs[0])


def test_it_is_usbs_pipeline(photographs: Tensor) -> None:
    """With the same draws. A level's difference may grow in a later operation, so: all but a pixel in a thousand."""
    images = photographs.repeat(20, 1, 1, 1)
    found, expected = rand_augment(images, draw(len(images))), pillows_rand_augment(images, draw(len(images)))
    assert found.dtype == torch.uint8
    assert (found != expected).float().mean() < 1e-3


def test_a_batch_equals_its_parts_bit_for_bit(photographs: Tensor) -> None:
    images, everyone = photographs.repeat(4, 1, 1, 1), draw(48)
    whole = rand_augment(images, everyone)
    two_ranks = (torch.arange(0, 48, 2), torch.arange(1, 48, 2))
    for positions in (*torch.arange(48).split(1), *torch.arange(48).split(24), *two_ranks):
        assert torch.equal(rand_augment(images[positions], replace(everyone, position=positions)), whole[positions])


def test_the_same_step_gives_the_same_view(photographs: Tensor) -> None:
    first = rand_augment(photographs, draw(COUNT))
    assert torch.equal(first, rand_augment(photographs, draw(COUNT)))
    assert not torch.equal(first, rand_augment(photographs, draw(COUNT, step=1)))
    assert not torch.equal(first, rand_augment(photographs, draw(COUNT, seed=1)))


def test_the_images_are_left_alone(photographs: Tensor) -> None:
    before = photographs.clone()
    rand_augment(photographs, draw(COUNT))
    assert torch.equal(photographs, before)


@pytest.mark.parametrize("channels", [1, 3])
def test_masked_and_grouped_are_the_same(channels: int, photographs: Tensor) -> None:
    """The way taken on a GPU and the way taken on the CPU."""
    images, where = photographs.repeat(5, 1, 1, 1)[:, :channels], draw(5 * COUNT)
    operation, strength = where.integers("operation", 14, 3).T, where.uniform("magnitude", 3).T
    magnitude = torch.tensor([each.low for each in OPERATIONS])[operation] + torch.tensor(SPANS)[operation] * strength
    coefficients = randaugment.maps(operation, magnitude, *images.shape[-2:])
    arguments = (images, operation.clamp(max=9), magnitude, coefficients)
    assert torch.equal(randaugment._grouped(*arguments), randaugment._masked(*arguments))
    assert torch.equal(randaugment._grouped(*arguments), randaugment.apply(images, operation, magnitude))
    assert set(operation.flatten().tolist()) == set(range(14))


def test_grey_images(photographs: Tensor) -> None:
    grey = photographs[:, :1].repeat(4, 1, 1, 1)
    found = rand_augment(grey, draw(48))
    assert found.shape == grey.shape and found.dtype == torch.uint8
    cut = randaugment.cutout(grey, *(torch.full((48,), v) for v in (9.0, 16.0, 16.0)))
    assert (cut[:, :, 12:21, 12:21] == 123).all()


def test_all_operations_are_drawn_equally_often_in_every_layer() -> None:
    """Chi-square over 20,000 samples; also over pairs of consecutive operations, which may repeat."""
    operation = draw(20_000).integers("operation", 14, 3)
    for layer in operation.unbind(1):
        assert chisquare(layer.bincount(minlength=14).numpy()).pvalue > 0.01
    pairs = operation[:, 0] * 14 + operation[:, 1]
    assert chisquare(pairs.bincount(minlength=14 * 14).numpy()).pvalue > 0.01


def test_without_the_values_at_hand() -> None:
    """On the meta device nothing can be read back, so what works there never waits for a GPU to tell a number."""
    where = replace(draw(8), position=torch.arange(8, device="meta"))
    found = rand_augment(torch.zeros(8, 3, 32, 32, dtype=torch.uint8, device="meta"), where)
    assert found.shape == (8, 3, 32, 32) and found.dtype == torch.uint8


def test_cutout_is_a_square_up_to_half_of_the_width() -> None:
    count, size = 20_000, 33
    black = torch.zeros(count, 3, size, size, dtype=torch.uint8)
    side, x, y = draw(count).uniform("cutout", 3).unbind(1)
    found = randaugment.cutout(black, 0.5 * side * size, x * size, y * size)
    hole = found[:, 0] == 125
    assert torch.equal(found[:, :, :1, :1] > 0, hole[:, None, :1, :1].expand(count, 3, 1, 1))
    for value, channel in zip((125, 123, 114), found.unbind(1), strict=True):
        assert torch.equal(channel, hole * torch.tensor(value, dtype=torch.uint8))
    rows, columns = hole.any(2), hole.any(1)
    assert torch.equal(hole, rows[:, :, None] & columns[:, None, :])
    height, width = rows.sum(1), columns.sum(1)
    assert height.min() >= 1 and height.max() == width.max() == 17  # the whole part of 16.5, and one more
    inside = ~(rows[:, 0] | rows[:, -1] | columns[:, 0] | columns[:, -1])
    assert torch.equal(height[inside], width[inside])  # a square, unless an edge cuts it
    assert torch.equal(height[inside], (0.5 * side * size).int()[inside] + 1)
    share = hole.float().mean(0)  # (size, size): how often each pixel is cut out
    assert share.min() > 0.02 and 0.09 < share[16, 16] < 0.11
    assert (share - share.flip(0)).abs().max() < 0.05  # in all places


def test_no_images_give_no_images() -> None:
    none = torch.zeros(0, 3, 32, 32, dtype=torch.uint8)
    assert rand_augment(none, replace(draw(8), position=torch.arange(0))).shape == none.shape
