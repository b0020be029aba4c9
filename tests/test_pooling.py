"""Pooled responses: quadrants against loops, which layers are taken, and a pool in batches and on several ranks."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from helpers import Blobs, patches, same, weights
from torch import Tensor, nn

from semisup.data.pool import Pool
from semisup.features.pooling import max_quadrants, pooled_features, pooled_responses
from semisup.models.backbones.exemplar import ExemplarSmall
from semisup.models.backbones.small import Small
from semisup.models.backbones.wideresnet import WideResNet28x2

CPU = torch.device("cpu")


@pytest.mark.parametrize("shape", [(2, 2), (3, 3), (17, 17), (4, 6), (5, 1), (1, 1)])
def test_quadrants_against_loops(shape: tuple[int, int]) -> None:
    maps = torch.randn(3, 2, *shape, generator=torch.Generator().manual_seed(0))
    rows, columns = (
        [range((n + 1) // 2), range((n + 1) // 2, n)] if n > 1 else [range(1)] for n in shape
    )  # of an odd side the middle is the first half's
    expected = [
        [
            max(float(maps[image, channel, y, x]) for y in ys for x in xs)
            for channel in range(2)
            for ys in rows
            for xs in columns
        ]
        for image in range(3)
    ]
    assert max_quadrants(maps).tolist() == expected


def test_the_last_response_at_every_resolution_is_taken() -> None:
    torch.manual_seed(0)
    first, second, third, dense = (
        nn.Conv2d(1, 2, 3, padding=1),
        nn.Conv2d(2, 3, 1),
        nn.Conv2d(3, 4, 1),
        nn.Linear(36, 5),
    )
    relu = nn.ReLU(inplace=True)
    body = nn.Sequential(first, relu, second, nn.Tanh(), nn.MaxPool2d(2), third, relu)
    network = nn.Sequential(body, nn.Flatten(), dense, nn.LeakyReLU(), nn.Linear(5, 7))
    x = torch.randn(2, 1, 6, 6)
    after_second = torch.tanh(second(F.relu(first(x))))
    after_third = F.relu(third(F.max_pool2d(after_second, 2)))
    after_dense = F.leaky_relu(dense(after_third.flatten(1)))
    expected = torch.cat([max_quadrants(after_second), max_quadrants(after_third), after_dense], 1)
    found = pooled_responses(network, x)
    assert found.shape == (2, 4 * 3 + 4 * 4 + 5)
    torch.testing.assert_close(found, expected)
    assert not any(module._forward_hooks for module in network.modules())


def test_what_works_in_place_after_a_response_does_not_change_it() -> None:
    class Halved(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.relu = nn.ReLU()

        def forward(self, x: Tensor) -> Tensor:
            return self.relu(x).mul_(0.5)

    for x in (torch.rand(2, 3), torch.rand(2, 3, 2, 2)):
        assert torch.equal(pooled_responses(Halved(), x), x.flatten(1))


def test_a_network_without_activations_gives_its_output() -> None:
    network, x = nn.Linear(3, 2), torch.rand(4, 3)
    assert torch.equal(pooled_responses(network, x), network(x))


@pytest.mark.parametrize(("size", "count"), [(32, 4 * 64 + 4 * 64 + 128), (48, 4 * 64 + 4 * 64 + 4 * 128)])
def test_the_papers_network_gives_all_of_its_layers(size: int, count: int) -> None:
    backbone = ExemplarSmall(3, size).eval()
    x = torch.rand(2, 3, size, size)
    found = pooled_responses(backbone, x)
    assert found.shape == (2, count)
    one, two, three = (backbone.body[:end](x) for end in (2, 5, 8))
    assert torch.equal(found, torch.cat([max_quadrants(maps) for maps in (one, two, three)], 1))


def test_a_deep_network_gives_one_layer_of_each_resolution() -> None:
    found = pooled_responses(WideResNet28x2(3, 32).eval(), torch.rand(1, 3, 32, 32))
    assert found.shape == (1, 4 * (32 + 64 + 128))


def test_a_pool_in_batches_and_on_three_ranks() -> None:
    pool, network = Pool(patches(16).numpy()), Small(3, 16)
    before = weights(network)
    whole = pooled_features(network, pool, 12, CPU)
    assert whole.shape == (12, 4 * (32 + 64 + 128)) and whole.dtype == torch.float32
    assert network.training and same(before, weights(network))  # batch normalisation saw nothing
    network.eval()
    with torch.no_grad():
        torch.testing.assert_close(whole, pooled_responses(network, patches(16) / 255))
    torch.testing.assert_close(pooled_features(network, pool, 5, CPU), whole)
    shares = [pooled_features(network, pool, 2, CPU, rank, 3) for rank in range(3)]
    torch.testing.assert_close(torch.cat(shares), whole)


def test_images_come_in_the_dtype_of_the_network() -> None:
    pool = Blobs().pools.labeled
    found = pooled_features(Small(1, 8).double(), pool, 16, CPU)
    assert found.dtype == torch.float32 and found.shape == (12, 4 * (32 + 64 + 128))
