"""K-means against scikit-learn's, and on points that make centroids go empty."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from helpers import patches as crops
from sklearn.cluster import KMeans

from semisup.data.pool import Pool
from semisup.errors import InputError
from semisup.features import chunks, kmeans
from semisup.features.kmeans import cluster
from semisup.features.patches import Whitening, contrast_normalize, random_patches


@pytest.fixture(scope="module")
def real() -> torch.Tensor:
    """(12000, 27) whitened 3x3 patches of photographs."""
    patches = contrast_normalize(random_patches(Pool(crops().numpy()), 12, 1000, (3, 3), 0))
    return Whitening.fit(patches).apply(patches)


def naive_inertia(points: torch.Tensor, centroids: torch.Tensor) -> float:
    return sum(((point - centroids) ** 2).sum(1).min().item() for point in points.double())


@pytest.mark.parametrize("method", ["minibatch", "lloyd"])
def test_the_inertia_is_within_five_percent_of_scikit_learns(method: Any, real: torch.Tensor) -> None:
    theirs = KMeans(32, n_init=3, random_state=0).fit(real.numpy()).inertia_
    ours = cluster(real, 32, seed=0, method=method)
    assert ours.centroids.shape == (32, 27) and ours.centroids.dtype == torch.float32
    assert 0.95 * theirs < ours.inertia < 1.05 * theirs
    assert ours.inertia == pytest.approx(naive_inertia(real, ours.centroids.double()), rel=1e-5)


def test_lloyd_from_the_same_start_is_scikit_learns(real: torch.Tensor) -> None:
    start = real[:32].clone()
    theirs = KMeans(32, init=start.numpy(), n_init=1, max_iter=7, tol=0, algorithm="lloyd").fit(real.numpy())
    ours = kmeans._lloyd(real, start, steps=7)
    assert torch.allclose(ours, torch.from_numpy(theirs.cluster_centers_), atol=1e-3)


@pytest.mark.parametrize("method", ["minibatch", "lloyd"])
def test_the_result_is_a_function_of_the_seed(method: Any, real: torch.Tensor) -> None:
    one, again, other = (cluster(real, 16, seed, steps=5, method=method) for seed in (0, 0, 1))
    assert torch.equal(one.centroids, again.centroids) and one.inertia == again.inertia
    assert not torch.equal(one.centroids, other.centroids)


def test_the_size_of_the_chunks_does_not_matter(real: torch.Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = cluster(real, 16, 0, steps=5, method="lloyd")
    monkeypatch.setitem(chunks.NUMBERS, "cpu", 27 * 700)  # 18 chunks, the last one smaller
    assert torch.allclose(cluster(real, 16, 0, steps=5, method="lloyd").centroids, whole.centroids, atol=1e-3)


def test_well_separated_groups_are_found_and_lloyd_stops_when_nothing_moves() -> None:
    centers = torch.tensor([[0.0, 0.0], [100.0, 0.0], [0.0, 100.0], [100.0, 100.0]])
    points = centers.repeat(50, 1) + torch.randn(200, 2, generator=torch.Generator().manual_seed(0))
    found = cluster(points, 4, 0, steps=10**9, method="lloyd").centroids
    expected = torch.stack([points[group::4].mean(0) for group in range(4)])
    assert torch.allclose(found[found.sum(1).argsort()][[0, 3]], expected[[0, 3]], atol=1e-4)
    assert torch.cdist(expected, found).min(1).values.max() < 1e-4


def test_an_empty_centroid_goes_to_the_farthest_point() -> None:
    points = torch.tensor([[0.0], [1.0], [2.0], [50.0]])
    start = torch.tensor([[1.0], [1000.0]])  # nothing is nearest to the second
    assert kmeans._lloyd(points, start, steps=1).tolist() == [[53 / 4], [50.0]]
    assert kmeans._lloyd(points, start, steps=9).tolist() == [[1.0], [50.0]]


def test_all_points_coinciding_but_a_few_leaves_no_centroid_empty() -> None:
    points = torch.zeros(1000, 3)
    points[[10, 400, 999]] = torch.eye(3) * 5
    start = torch.zeros(4, 3)  # three of the four are empty
    assert sorted(kmeans._lloyd(points, start, steps=9).tolist()) == sorted(points.unique(dim=0).tolist())
    assert cluster(points, 4, 0, method="lloyd").inertia == 0


@pytest.mark.parametrize("method", ["minibatch", "lloyd"])
def test_one_centroid_is_the_mean(method: Any) -> None:
    points = torch.rand(300, 4, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(cluster(points, 1, 0, method=method).centroids[0], points.mean(0), atol=0.02)


def test_kmeans_plus_plus_draws_points_that_lie_apart(real: torch.Tensor) -> None:
    drawn = kmeans._plus_plus(real, 32, seed=0)
    assert len(drawn.unique(dim=0)) == 32
    assert torch.cdist(drawn, real).min(1).values.max() < 1e-2  # points, each of them
    random = torch.stack(
        [torch.cdist(real, real[first : first + 32]).min(1).values.square().sum() for first in range(0, 3200, 320)]
    )
    assert torch.cdist(real, drawn).min(1).values.square().sum() < random.mean()


def test_kmeans_plus_plus_draws_by_squared_distance() -> None:
    points = torch.tensor([[0.0], [1.0], [3.0]])
    seconds: dict[float, list[float]] = {0.0: [], 1.0: [], 3.0: []}
    for seed in range(3000):
        first, second = kmeans._plus_plus(points, 2, seed)[:, 0].tolist()
        seconds[first].append(second)
    # After 0, the squared distances are 1 and 9; after 1, 1 and 4; after 3, 9 and 4.
    for first, far, share in ((0.0, 3.0, 9 / 10), (1.0, 3.0, 4 / 5), (3.0, 0.0, 9 / 13)):
        assert len(seconds[first]) == pytest.approx(1000, abs=100)
        assert seconds[first].count(far) / len(seconds[first]) == pytest.approx(share, abs=0.05)


@pytest.mark.parametrize(
    ("points", "k", "message"),
    [
        (torch.rand(5, 2), 6, "can't place 6 centroids on 5 distinct points"),
        (torch.arange(3.0).repeat(100)[:, None], 4, "can't place 4 centroids on 3 distinct points"),
        (torch.rand(5, 2), 0, "one centroid or more, got 0"),
    ],
)
@pytest.mark.parametrize("method", ["minibatch", "lloyd"])
def test_more_centroids_than_distinct_points_are_refused(
    points: torch.Tensor, k: int, message: str, method: Any
) -> None:
    with pytest.raises(InputError, match=message):
        cluster(points, k, 0, method=method)


def test_auto_is_minibatch_on_the_cpu_and_lloyd_on_cuda() -> None:
    assert kmeans.resolve("auto", torch.device("cpu")) == "minibatch"
    assert kmeans.resolve("auto", torch.device("cuda")) == "lloyd"
    assert kmeans.resolve("lloyd", torch.device("cpu")) == "lloyd"
