"""Mixup over several streams against a loop over images."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from semisup.mixup import mix, mixup_streams, resize_mix
from semisup.randomness import Draw


def test_mixing_is_of_every_row() -> None:
    generator = torch.Generator().manual_seed(0)
    x, partner = (torch.randn(4, 2, 3, generator=generator) for _ in range(2))
    share = torch.tensor([0.0, 0.3, 0.5, 1.0])
    expected = [s * a + (1 - s) * b for s, a, b in zip(share.tolist(), x, partner, strict=True)]
    torch.testing.assert_close(mix(x, partner, share), torch.stack(expected))
    assert mix(x.bfloat16(), partner.bfloat16(), share).dtype == torch.bfloat16


def draws(*sizes: int, step: int = 0) -> list[Draw]:
    return [Draw(0, step, "mix", torch.arange(size), size) for size in sizes]


def test_streams_are_mixed_with_a_permutation_of_all_of_them() -> None:
    """One-hot pictures say who was mixed with whom: everyone is a partner once, and no one gives less than half."""
    sizes = (3, 5, 5)
    streams = list(torch.eye(13).split(sizes))
    images, targets = mixup_streams(streams, [2 * x for x in streams], draws(*sizes), 0.75)
    rows = torch.cat(images)
    torch.testing.assert_close(torch.cat(targets), 2 * rows)  # a target is mixed as its image is
    own = rows.diagonal()
    others = rows - torch.diag(own)
    assert [len(x) for x in images] == list(sizes) and bool((own >= 0.5).all())
    torch.testing.assert_close(rows.sum(1), torch.ones(13))
    partners = [int(row.argmax()) if row.any() else k for k, row in enumerate(others)]
    assert sorted(partners) == list(range(13))
    assert any(k < 3 <= partner for k, partner in enumerate(partners))  # a labeled image with an unlabeled one
    assert len({round(x, 5) for x in own.tolist()}) > 10  # a share for each image
    again = mixup_streams(streams, streams, draws(*sizes), 0.75)[0]
    assert torch.equal(torch.cat(again), rows)
    assert not torch.equal(torch.cat(mixup_streams(streams, streams, draws(*sizes, step=1), 0.75)[0]), rows)


@pytest.mark.parametrize("alpha", [0.2, 0.75, 5.0])
def test_shares_are_of_the_greater_half_of_beta(alpha: float) -> None:
    """With a constant picture as everyone's partner a share can be read off: its mean is that of max(l, 1 - l)."""
    size = 4000
    found = mixup_streams([torch.arange(size).double()[:, None]], [torch.zeros(size, 1)], draws(size), alpha)[0][0]
    partners = draws(size)[0].among(0, size).permutation("partners")
    moved = partners != torch.arange(size)
    x, partner = torch.arange(size)[moved].double(), partners[moved].double()
    share = (found[moved, 0] - partner) / (x - partner)
    drawn = torch.distributions.Beta(torch.tensor(alpha), torch.tensor(alpha))
    torch.manual_seed(0)
    sample = drawn.sample((100_000,))
    assert share.mean().item() == pytest.approx(torch.maximum(sample, 1 - sample).mean().item(), abs=0.01)
    assert share.min() + 1e-3 >= 0.5


def test_a_single_image_and_nothing_to_mix() -> None:
    x, y = torch.rand(1, 3), torch.rand(1, 2)
    images, targets = mixup_streams([x], [y], draws(1), 0.75)
    torch.testing.assert_close(images[0], x)
    torch.testing.assert_close(targets[0], y)
    streams = [torch.rand(2, 3), torch.rand(4, 3)]
    untouched = mixup_streams(streams, streams, draws(2, 4), 0.0)[0]
    assert all(torch.equal(a, b) for a, b in zip(untouched, streams, strict=True))


@pytest.mark.parametrize("side", [0.0, 0.1, 0.35, 0.8])
def test_the_middle_of_another_image_is_made_small_and_put_in(side: float) -> None:
    """Beside PyTorch's own resizing, cut out and pasted image by image, at the edges too; of 20 rows and 30 columns."""
    generator = torch.Generator().manual_seed(0)
    images, partners = torch.rand(2, 12, 3, 20, 30, generator=generator)
    centre = torch.rand(12, 2, generator=generator)
    centre[0], centre[1] = torch.tensor([0.0, 0.99]), torch.tensor([0.99, 0.0])
    found, share = resize_mix(images, partners, torch.full((12,), side), centre)
    for k in range(12):
        expected, bounds = images[k].clone(), []
        for size, where in zip((20, 30), centre[k].tolist(), strict=True):
            half = int(size * side) // 2
            bounds += [max(0, int(size * where) - half), min(size, int(size * where) + half)]
        top, bottom, left, right = bounds
        if bottom > top and right > left:
            middle = partners[k, :, 1:19, 1:28]  # 18 of 20 rows and 27 of 30 columns
            small = F.interpolate(middle[None], (bottom - top, right - left), mode="nearest")[0]
            expected[:, top:bottom, left:right] = small
        assert torch.equal(found[k], expected)
        assert share[k].item() == pytest.approx(1 - (bottom - top) * (right - left) / 600)
