"""Centroids of photographs' patches are edges and blobs of colour; random filters, and centroids of noise, are not.

Filters are compared by rank: the share of pairs in which one of the first kind has more of a property than one of the
second, which is a half where the kinds don't differ, with a standard deviation of 1/28 for 128 filters of each kind
(the Mann-Whitney statistic). Seven of those must lie between what differs and a half, less than four where nothing may.
"""

from __future__ import annotations

from zipfile import ZipFile

import numpy as np
import pytest
import torch
from helpers import patches as crops
from PIL import Image
from torch import Tensor

from semisup.data.pool import Pool
from semisup.features.dictionary import Dictionary, learn

COUNT, DEVIATION = 128, (257 / (12 * 128 * 128)) ** 0.5


pytestmark = pytest.mark.usefixtures("cache")


def pool(kind: str, request: pytest.FixtureRequest) -> Pool:
    """Images of three channels: photographs of a zip, those that scikit-learn ships, or noise."""
    if kind == "noise":
        return Pool(np.random.default_rng(0).integers(0, 256, (12, 3, 96, 96), dtype=np.uint8))
    if kind == "two photographs":
        return Pool(crops().numpy())
    with ZipFile(request.getfixturevalue("photographs")) as zipped:
        names = sorted(name for name in zipped.namelist() if name.endswith(".jpg"))
        images = [np.asarray(Image.open(zipped.open(name)).convert("RGB")) for name in names[:: len(names) // 600]]
    return Pool(np.stack(images).transpose(0, 3, 1, 2).copy())


def learned(images: Pool, side: int) -> Dictionary:
    return learn(images, COUNT, (side, side), 0, images=len(images), patches_per_image=18_000 // len(images))


def random_filters(side: int) -> Tensor:
    """(128, 3, side, side), normally distributed and without a mean, as contrast-normalised patches are."""
    filters = torch.randn(COUNT, 3, side, side, generator=torch.Generator().manual_seed(0))
    return filters - filters.mean((1, 2, 3), keepdim=True)


def coherence(filters: Tensor) -> Tensor:
    """How much of the gradient points one way: (l1 - l2) / (l1 + l2) of the structure tensor over all channels.

    1 of an edge or a bar, 0 where no direction is preferred; (n, C, h, w) -> (n,).
    """
    right, down = filters.diff(dim=3), filters.diff(dim=2)
    right, down = right[:, :, 1:] + right[:, :, :-1], down[:, :, :, 1:] + down[:, :, :, :-1]  # where four pixels meet
    xx, yy, xy = ((a * b).sum((1, 2, 3)) for a, b in ((right, right), (down, down), (right, down)))
    return ((xx - yy).square() + 4 * xy.square()).sqrt() / (xx + yy)


def spectrum(filters: Tensor, size: int = 32) -> tuple[Tensor, Tensor]:
    """The power (n, size * size) over frequencies (size * size,) in cycles a pixel, without each channel's mean."""
    filters = filters.double() - filters.double().mean((2, 3), keepdim=True)
    frequency = torch.fft.fftfreq(size, dtype=torch.float64)
    radius = (frequency[:, None].square() + frequency.square()).sqrt().flatten()
    return torch.fft.fft2(filters, (size, size)).abs().square().sum(1).flatten(1), radius


def concentration(filters: Tensor) -> Tensor:
    """Energy within half an octave of the strongest frequency, as a multiple of what white noise has there; (n,)."""
    power, radius = spectrum(filters)
    peak = radius[power.argmax(1)][:, None]
    near = ((radius >= peak / 2**0.5) & (radius <= peak * 2**0.5)).double()  # (n, size * size)
    return (power * near).sum(1) / power.sum(1) / near.mean(1)


def colour(filters: Tensor) -> Tensor:
    """Share of the energy that is not alike in the three channels: 0 of grey, two thirds of noise; (n,)."""
    return 1 - 3 * filters.mean(1).square().sum((1, 2)) / filters.square().sum((1, 2, 3))


def rank(ours: Tensor, theirs: Tensor) -> float:
    """Share of pairs in which ours is the larger one."""
    return float((ours[:, None] > theirs).float().mean())


def both(dictionary: Dictionary) -> tuple[Tensor, Tensor]:
    """The centroids as k-means found them, and the filters that a network begins with."""
    return dictionary.centroids.unflatten(1, dictionary.shape), dictionary.filters()


@pytest.mark.parametrize("side", [3, 6, 8])
@pytest.mark.parametrize("kind", ["photographs", "two photographs"])
def test_centroids_of_photographs_are_oriented_and_band_pass(
    kind: str, side: int, request: pytest.FixtureRequest
) -> None:
    chance = random_filters(side)
    for filters in both(learned(pool(kind, request), side)):
        for measure in (coherence, concentration):
            assert rank(measure(filters), measure(chance)) > 0.5 + 7 * DEVIATION, measure.__name__


@pytest.mark.parametrize("side", [3, 6, 8])
def test_centroids_of_noise_are_as_random_filters(side: int, request: pytest.FixtureRequest) -> None:
    chance = random_filters(side)
    for filters in both(learned(pool("noise", request), side)):
        for measure in (coherence, concentration, colour):
            assert abs(rank(measure(filters), measure(chance)) - 0.5) < 4 * DEVIATION, measure.__name__


def test_edges_are_grey_and_blobs_are_coloured_and_smooth(request: pytest.FixtureRequest) -> None:
    """Of noise a filter's energy is two thirds colour; centroids have either hardly any or almost nothing else."""
    filters, _ = both(learned(pool("photographs", request), 6))
    share, (power, radius) = colour(filters), spectrum(filters)
    grey, coloured = share < 0.2, share > 0.8
    assert grey.sum() > COUNT / 2 and coloured.sum() > COUNT / 10
    assert ((share < 0.2) | (share > 0.8)).sum() > 0.8 * COUNT
    chance = colour(random_filters(6))
    assert chance.min() > 0.2 and (chance > 0.8).sum() < COUNT / 20
    frequency = (power @ radius) / power.sum(1)
    assert rank(frequency[grey], frequency[coloured]) > 0.85


@pytest.mark.parametrize("angle", range(0, 180, 15))
def test_a_grating_is_coherent_and_concentrated_whatever_its_angle(angle: int) -> None:
    """The measures themselves, on what they should be largest of."""
    turn = np.deg2rad(angle)
    y, x = torch.meshgrid(torch.arange(8.0), torch.arange(8.0), indexing="ij")
    grating = torch.sin(2 * torch.pi * 0.25 * (x * np.cos(turn) + y * np.sin(turn))).expand(1, 3, 8, 8)
    chance = random_filters(8)
    assert coherence(grating) > 0.9 > coherence(chance).max()
    assert concentration(grating) > concentration(chance).max()
    assert colour(grating).abs() < 1e-5
