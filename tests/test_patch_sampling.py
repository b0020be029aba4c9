"""Seed patches: how often each is chosen, against the gradient's energy by numpy."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, get_args

import numpy as np
import pytest
import torch
from helpers import patches
from torch import Tensor

from semisup.augment.color import grey
from semisup.augment.patch_sampling import gradient_energy, seed_patches
from semisup.errors import InputError
from semisup.randomness import Draw

By = Literal["gradient", "uniform"]
BOTH = get_args(By)


def draw(count: int, *, seed: int = 0) -> Draw:
    return Draw(seed, 0, "surrogate", torch.arange(count), count)


def naive_energy(image: Tensor, size: int) -> np.ndarray:
    """Mean squared magnitude of the gradient of every patch of an image (C, H, W), one after the other."""
    down, right = np.gradient(grey(image[None])[0, 0].numpy().astype(np.float64))
    squares = down**2 + right**2
    rows, columns = (length - size + 1 for length in squares.shape)
    return np.array([[squares[y : y + size, x : x + size].mean() for x in range(columns)] for y in range(rows)])


def assert_drawn(found: Tensor, probabilities: np.ndarray, size: int) -> None:
    """The patches' centres come as often as they should, within 5 standard deviations each."""
    left, top = (found - (size - 1) / 2).unbind(1)
    assert torch.equal(left, left.round()) and torch.equal(top, top.round())
    rows, columns = probabilities.shape
    assert top.min() >= 0 and top.max() < rows and left.min() >= 0 and left.max() < columns
    counts = np.bincount((top * columns + left).long().numpy(), minlength=rows * columns)
    p, n = probabilities.flatten(), len(found)
    assert (np.abs(counts - n * p) <= 5 * np.sqrt(n * p * (1 - p)) + 1e-9).all()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [1, 8, 20])
def test_energy_is_the_mean_squared_gradient(size: int, channels: int) -> None:
    images = patches(32)[:4, :channels, :, :27]
    found = gradient_energy(images, size)
    assert found.shape == (4, 33 - size, 28 - size)
    expected = np.stack([naive_energy(image, size) for image in images])
    np.testing.assert_allclose(found.numpy() / (4 * size**2), expected, rtol=1e-12)


def test_patches_come_in_proportion_to_their_energy() -> None:
    image = patches(32)[1, :, :12, :10]
    energy = naive_energy(image, 6)
    assert energy.max() > 2 * energy.min()
    found = seed_patches(image.expand(50_000, 3, 12, 10), 6, draw(50_000))
    assert_drawn(found, energy / energy.sum(), 6)


def test_a_patch_without_gradient_is_never_chosen() -> None:
    image = torch.zeros(1, 1, 8, 16, dtype=torch.uint8)
    image[..., 12:] = 200  # one edge: differences across it are seen in columns 11 and 12
    left = seed_patches(image.expand(500, 1, 8, 16), 4, draw(500))[:, 0] - 1.5
    assert left.min() == 8 and left.max() == 12


@pytest.mark.parametrize("by", BOTH)
def test_uniform_and_flat_images_take_all_patches_alike(by: By) -> None:
    image = torch.full((1, 3, 9, 7), 128, dtype=torch.uint8) if by == "gradient" else patches(9)[:1, :, :, :7]
    found = seed_patches(image.expand(20_000, 3, 9, 7), 5, draw(20_000), by)
    assert_drawn(found, np.full((5, 3), 1 / 15), 5)


@pytest.mark.parametrize("by", BOTH)
def test_a_patch_of_the_whole_image_lies_in_its_middle(by: By) -> None:
    assert seed_patches(patches(32), 32, draw(12), by).tolist() == [[15.5, 15.5]] * 12


@pytest.mark.parametrize("by", BOTH)
def test_a_batch_equals_its_samples_and_the_seed_decides(by: By) -> None:
    images, everyone = patches(96), draw(12)
    whole = seed_patches(images, 32, everyone, by)
    parts = [seed_patches(images[i], 32, replace(everyone, position=i), by) for i in torch.arange(12).split(1)]
    assert torch.equal(torch.cat(parts), whole)
    assert not torch.equal(seed_patches(images, 32, draw(12, seed=1), by), whole)


@pytest.mark.parametrize("by", BOTH)
def test_nothing_reads_a_value(by: By) -> None:
    """On the meta device reading one raises."""
    where = replace(draw(4), position=torch.arange(4, device="meta"))
    assert seed_patches(torch.empty(4, 3, 96, 96, dtype=torch.uint8, device="meta"), 32, where, by).shape == (4, 2)


def test_patches_larger_than_the_images_are_refused() -> None:
    with pytest.raises(InputError, match=r"images of 20x24 pixels have no patch of 32x32; use patches of at most 20"):
        seed_patches(patches(24)[:, :, :20], 32, draw(12))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_patches_are_the_same_and_nothing_waits() -> None:
    images, where = patches(96).cuda(), replace(draw(12), position=torch.arange(12).cuda())
    torch.cuda.set_sync_debug_mode("error")
    try:
        found = seed_patches(images, 32, where)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert torch.equal(found.cpu(), seed_patches(patches(96), 32, draw(12)))
