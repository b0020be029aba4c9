"""Batched geometry equals torchvision's, image by image, on photographs."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
import torchvision.transforms.v2.functional as tv
from helpers import patches
from torch import Tensor
from torchvision.transforms import InterpolationMode

from semisup.augment import geometry
from semisup.errors import InputError

COUNT = 12
PARAMETERS = ("angle", "translate_x", "translate_y", "scale", "shear_x", "shear_y")


@pytest.fixture(scope="module")
def photographs() -> Tensor:
    """(12, 3, 96, 96) uint8, patches of two photographs."""
    return patches()


@pytest.fixture(scope="module")
def parameters() -> dict[str, Tensor]:
    """Random parameters of all kinds, beyond the ranges that any view draws from."""
    generator = torch.Generator().manual_seed(1)
    spread = {"angle": 180.0, "translate_x": 30.0, "translate_y": 30.0, "scale": 0.5, "shear_x": 25.0, "shear_y": 25.0}
    values = {name: (torch.rand(COUNT, generator=generator) * 2 - 1) * width for name, width in spread.items()}
    return {**values, "scale": 1 + values["scale"]}


def torchvision_affine(images: Tensor, parameters: dict[str, Tensor], mode: InterpolationMode) -> Tensor:
    results = []
    for i, image in enumerate(images):
        angle, x, y, scale, shear_x, shear_y = (float(parameters[name][i]) for name in PARAMETERS)
        results.append(tv.affine(image, angle, [x, y], scale, [shear_x, shear_y], interpolation=mode))
    return torch.stack(results)


def test_flip_mirrors_the_chosen(photographs: Tensor) -> None:
    where = torch.tensor([True, False, False] * 4)
    for images in (photographs, photographs.float()):
        expected = torch.stack(
            [tv.horizontal_flip(each) if chosen else each for each, chosen in zip(images, where, strict=True)]
        )
        found = geometry.flip(images, where)
        assert found.dtype == images.dtype
        assert torch.equal(found, expected)


def test_quarter_turns_are_those_of_every_image_for_itself(photographs: Tensor) -> None:
    turns = torch.arange(COUNT) % 4
    expected = [tv.rotate(image, 90 * turn) for image, turn in zip(photographs, turns.tolist(), strict=True)]
    assert torch.equal(geometry.quarter_turns(photographs, turns), torch.stack(expected))


@pytest.mark.parametrize("mode", ["reflect", "zero"])
@pytest.mark.parametrize("padding", [0, 1, 12, 40])
def test_crop_is_a_window_of_the_padded_image(photographs: Tensor, mode: str, padding: int) -> None:
    generator = torch.Generator().manual_seed(padding)
    dy, dx = torch.randint(0, 2 * padding + 1, (2, COUNT), generator=generator)
    dy[0], dx[0], dy[1], dx[1] = 0, 2 * padding, 2 * padding, 0  # corners
    wide = photographs[..., :70]  # (12, 3, 96, 70): not square, nor contiguous
    tv_mode = {"reflect": "reflect", "zero": "constant"}[mode]
    expected = torch.stack(
        [
            tv.crop(tv.pad(image, [padding], padding_mode=tv_mode), int(y), int(x), 96, 70)
            for image, y, x in zip(wide, dy, dx, strict=True)
        ]
    )
    assert torch.equal(geometry.crop(wide, dy, dx, padding, mode), expected)  # type: ignore[arg-type]
    assert torch.equal(geometry.crop(wide.float(), dy, dx, padding, mode), expected.float())  # type: ignore[arg-type]


def test_crop_refuses_to_reflect_more_than_there_is() -> None:
    zero = torch.zeros(1, dtype=torch.int64)
    with pytest.raises(InputError, match="8x5 pixels are too small to reflect 5"):
        geometry.crop(torch.zeros(1, 3, 8, 5), zero, zero, 5)


def test_affine_equals_torchvision(photographs: Tensor, parameters: dict[str, Tensor]) -> None:
    """Bilinear on [0, 1]: within 1e-4; on uint8: the same after rounding, but for ties, where it is one level off."""
    matrix = geometry.affine_matrix(**parameters)
    assert matrix.shape == (COUNT, 2, 3) and matrix.dtype == torch.float32
    values = photographs.float() / 255
    expected = torchvision_affine(values, parameters, InterpolationMode.BILINEAR)
    torch.testing.assert_close(geometry.affine(values, matrix), expected, atol=1e-4, rtol=0)

    expected = torchvision_affine(photographs, parameters, InterpolationMode.BILINEAR)
    found = geometry.affine(photographs, matrix)
    assert found.dtype == torch.uint8
    difference = (found.int() - expected.int()).abs()
    assert difference.max() <= 1
    assert difference.float().mean() < 1e-3


def test_nearest_affine_equals_torchvision(photographs: Tensor, parameters: dict[str, Tensor]) -> None:
    """All but one pixel in a thousand: those half-way between two pixels may fall either way."""
    found = geometry.affine(photographs, geometry.affine_matrix(**parameters), mode="nearest")
    expected = torchvision_affine(photographs, parameters, InterpolationMode.NEAREST)
    assert (found != expected).float().mean() < 1e-3


def test_affine_of_images_that_are_not_square(photographs: Tensor, parameters: dict[str, Tensor]) -> None:
    wide = photographs[:, :, 20:60] / 255  # (12, 3, 40, 96)
    expected = torchvision_affine(wide, parameters, InterpolationMode.BILINEAR)
    found = geometry.affine(wide, geometry.affine_matrix(**parameters))
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


def test_mirroring_in_the_matrix_is_mirroring_first(photographs: Tensor, parameters: dict[str, Tensor]) -> None:
    values, mirror = photographs / 255, torch.arange(COUNT) % 3 == 0
    expected = geometry.affine(geometry.flip(values, mirror), geometry.affine_matrix(**parameters))
    found = geometry.affine(values, geometry.affine_matrix(**parameters, mirror=mirror))
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


def test_fill_is_what_lies_beyond_the_image(photographs: Tensor) -> None:
    """As if the image lay on a wide sheet of that value."""
    values = photographs[:2] / 255
    zero, one = torch.zeros(2), torch.ones(2)
    matrix = geometry.affine_matrix(zero + 30, zero + 5, zero, one)
    sheet = F.pad(values, (60,) * 4, value=0.5)
    expected = geometry.affine(sheet, matrix)[..., 60:-60, 60:-60]
    torch.testing.assert_close(geometry.affine(values, matrix, fill=0.5), expected, atol=1e-4, rtol=0)


def test_the_matrix_of_a_quarter_turn() -> None:
    """Clockwise: what is at the output's right, (1, 0), was at the input's top, (0, -1)."""
    zero = torch.zeros(1)
    matrix = geometry.affine_matrix(zero + 90, zero, zero, zero + 2)
    torch.testing.assert_close(matrix[0], torch.tensor([[0.0, 0.5, 0.0], [-0.5, 0.0, 0.0]]))


def test_a_whole_batch_equals_its_samples_one_by_one(photographs: Tensor, parameters: dict[str, Tensor]) -> None:
    values = photographs / 255
    whole = geometry.affine(values, geometry.affine_matrix(**parameters))
    for i in range(COUNT):
        own = {name: value[i : i + 1] for name, value in parameters.items()}
        assert torch.equal(geometry.affine(values[i : i + 1], geometry.affine_matrix(**own)), whole[i : i + 1])


def test_shear_slants_by_its_tangent() -> None:
    zero = torch.zeros(1)
    matrix = geometry.affine_matrix(zero, zero, zero, zero + 1, shear_x=zero + 10)
    tangent = math.tan(math.radians(10))
    torch.testing.assert_close(matrix[0], torch.tensor([[1.0, tangent, 0.0], [0.0, 1.0, 0.0]]))
