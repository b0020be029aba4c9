"""Patches against slices of the images they come from, and their preprocessing against NumPy and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers import patches as crops

from semisup.data.pool import Pool
from semisup.errors import InputError
from semisup.features.patches import Whitening, contrast_normalize, random_patches


def coordinates(count: int = 7, height: int = 9, width: int = 12) -> Pool:
    """Images whose three channels say which image, row and column a pixel is of; stored with transposed axes."""
    images = np.stack(np.meshgrid(np.arange(count), np.arange(height), np.arange(width), indexing="ij"), axis=1)
    stored = np.ascontiguousarray(images.astype(np.uint8).transpose(0, 1, 3, 2))
    return Pool(stored.transpose(0, 1, 3, 2), rows=np.array([6, 1, 2, 5, 3]))


def real(count: int = 4000) -> torch.Tensor:
    """(count, 75) contrast-normalised 5x5 patches of photographs."""
    return contrast_normalize(random_patches(Pool(crops().numpy()), 12, count // 12 + 1, (5, 5), 0)[:count])


@pytest.mark.parametrize("resident", [False, True])
def test_a_patch_is_a_window_of_its_image(resident: bool) -> None:
    pool = coordinates()
    if resident:
        pool.make_resident(torch.device("cpu"))
    found = random_patches(pool, 4, 50, (3, 5), seed=0)
    assert found.shape == (200, 3 * 3 * 5) and found.dtype == torch.float32
    image, y, x = found.unflatten(1, (3, 3, 5)).unbind(1)  # (200, 3, 5) each
    assert torch.equal(image, image[:, :1, :1].expand_as(image))
    assert torch.equal(y, y[:, :1, :1] + torch.arange(3)[:, None].expand_as(y))
    assert torch.equal(x, x[:, :1, :1] + torch.arange(5).expand_as(x))
    assert len(image[:, 0, 0].unique()) == 4 and set(image[:, 0, 0].tolist()) <= {6, 1, 2, 5, 3}
    assert image[:, 0, 0].unique(return_counts=True)[1].tolist() == [50] * 4


def test_patches_come_from_everywhere_alike() -> None:
    found = random_patches(coordinates(), 5, 4000, (3, 5), seed=1).unflatten(1, (3, 3, 5))
    places = (found[:, 1, 0, 0] * 8 + found[:, 2, 0, 0]).long().bincount(minlength=56)  # 7 rows, 8 columns
    expected = len(found) / 56
    assert len(places) == 56
    chi_squared = ((places - expected).square() / expected).sum()
    assert chi_squared < 95  # 55 degrees of freedom: exceeded once in a thousand


def test_patches_are_a_function_of_the_seed() -> None:
    one, again, other = (random_patches(coordinates(), 4, 50, (3, 5), seed) for seed in (0, 0, 1))
    assert torch.equal(one, again) and not torch.equal(one, other)


def test_more_images_than_there_are_means_all_of_them() -> None:
    assert len(random_patches(coordinates(), 1000, 2, (3, 3), 0)) == 5 * 2


def test_a_patch_as_large_as_the_image_is_the_image_and_a_larger_one_is_refused() -> None:
    pool = coordinates()
    assert torch.equal(
        random_patches(pool, 5, 1, (9, 12), 0).sort(0).values,
        pool.gather(torch.arange(5)).flatten(1).float().sort(0).values,
    )
    with pytest.raises(InputError, match="patches of 10x3 pixels don't fit into images of 9x12"):
        random_patches(pool, 5, 1, (10, 3), 0)


def test_contrast_normalization_is_numpys() -> None:
    x = torch.rand(20, 27, generator=torch.Generator().manual_seed(0)) * 255
    x[0] = 128
    expected = (x.numpy() - x.numpy().mean(1, keepdims=True)) / np.sqrt(x.numpy().var(1, ddof=1, keepdims=True) + 10)
    assert np.allclose(contrast_normalize(x).numpy(), expected, atol=1e-5)
    assert torch.equal(contrast_normalize(x)[0], torch.zeros(27))


def test_the_whitened_covariance_has_a_closed_form() -> None:
    patches, eps = real(), 0.1
    whitened = Whitening.fit(patches, eps).apply(patches)
    values, vectors = np.linalg.eigh(np.cov(patches.numpy().T.astype(np.float64)))
    expected = vectors @ np.diag(values / (values + eps)) @ vectors.T
    assert np.allclose(np.cov(whitened.numpy().T.astype(np.float64)), expected, atol=2e-4)
    assert np.allclose(whitened.numpy().mean(0), 0, atol=1e-4)
    assert values.max() > 100 * eps > values.min() * 100  # the patches reach both ends of the form


def test_the_whitening_is_zca() -> None:
    whitening = Whitening.fit(real())
    assert torch.allclose(whitening.matrix, whitening.matrix.T, atol=1e-5)
    assert torch.linalg.eigvalsh(whitening.matrix).min() > 0


def test_the_whitening_can_be_undone() -> None:
    patches = real()
    whitening = Whitening.fit(patches)
    assert torch.allclose(whitening.invert(whitening.apply(patches)), patches, atol=1e-3)


def test_whitening_needs_two_patches_and_an_eps() -> None:
    with pytest.raises(InputError, match="two patches or more, got 1"):
        Whitening.fit(real(1))
    with pytest.raises(InputError, match="eps is 0, but must be more than 0"):
        Whitening.fit(real(5), eps=0)
