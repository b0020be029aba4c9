"""What methods make targets with, against naive versions."""

from __future__ import annotations

import math

import pytest
import torch

from semisup.targets import align, align_to_latest, moved, probabilities, push, running, sharpen, written


def drawn(rows: int = 6, classes: int = 4) -> torch.Tensor:
    return torch.randn(rows, classes, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("temperature", [1.0, 0.4, 3.0])
def test_probabilities(temperature: float) -> None:
    x = drawn().requires_grad_()
    found = probabilities(x, temperature)
    for row, p in zip(x.tolist(), found.tolist(), strict=True):
        total = sum(math.exp(v / temperature) for v in row)
        assert p == pytest.approx([math.exp(v / temperature) / total for v in row], rel=1e-5)
    assert not found.requires_grad
    assert probabilities(x.bfloat16()).dtype == torch.float32 and probabilities(x.double()).dtype == torch.float64


@pytest.mark.parametrize("temperature", [1.0, 0.5, 0.1])
def test_sharpening(temperature: float) -> None:
    p = drawn().softmax(1)
    for row, found in zip(p.tolist(), sharpen(p, temperature).tolist(), strict=True):
        powers = [v ** (1 / temperature) for v in row]
        assert found == pytest.approx([v / sum(powers) for v in powers], rel=1e-4)


@pytest.mark.parametrize("classes", [1, 3, 100])
def test_the_coldest_sharpening_has_one_class_or_all_that_are_equal(classes: int) -> None:
    """At a temperature of .01 the powers themselves are too small for float32."""
    flat = torch.full((1, classes), 1 / classes)
    torch.testing.assert_close(sharpen(flat, 0.01), flat)
    p = torch.zeros(1, classes + 1)
    p[0, :2] = torch.tensor([0.3, 0.7])
    assert sharpen(p, 0.01)[0].tolist() == pytest.approx([0, 1] + [0] * (classes - 1))


def test_alignment() -> None:
    p, seen, wanted = drawn().softmax(1), torch.tensor([0.4, 0.3, 0.2, 0.1]), torch.tensor([0.1, 0.2, 0.3, 0.4])
    for row, found, uniform in zip(p.tolist(), align(p, seen, wanted), align(p, seen), strict=True):
        for target, result in ((wanted.tolist(), found), ([0.25] * 4, uniform)):
            scaled = [v * w / s for v, w, s in zip(row, target, seen.tolist(), strict=True)]
            assert result.tolist() == pytest.approx([v / sum(scaled) for v in scaled], rel=1e-5)
    assert bool(align(p, torch.tensor([1.0, 0, 0, 0])).isfinite().all())  # classes that were never seen


@pytest.mark.parametrize("wanted", [[1.0, 0.0, 0.0, 0.0], [0.5, 0.5, 0.0, 0.0]])
def test_alignment_leaves_what_is_sure_of_a_class_that_there_should_not_be(wanted: list[float]) -> None:
    p = probabilities(1e4 * torch.eye(4))
    aligned = align(p, torch.tensor([0.0, 0.4, 0.3, 0.3]), torch.tensor(wanted))
    assert torch.equal(aligned, torch.eye(4))
    empty = align(p[:0], torch.full((4,), 0.25))
    assert empty.shape == (0, 4)


def test_a_running_mean_is_a_weighted_one() -> None:
    values, mean = [3.0, 1.0, 4.0], torch.tensor(2.0)
    for value in values:
        mean = running(mean, torch.tensor(value), 0.9)
    expected = 0.9**3 * 2 + sum(0.1 * 0.9 ** (2 - k) * v for k, v in enumerate(values))
    assert mean.item() == pytest.approx(expected)


@pytest.mark.parametrize("empty", [(0, 0), (0, 2)])
def test_a_bank_forgets_the_oldest(empty: tuple[int, int]) -> None:
    bank: torch.Tensor = torch.empty(empty)
    kept: list[list[float]] = []
    for step in range(4):
        rows = torch.arange(4.0).view(2, 2) + 10 * step
        bank, kept = push(bank, rows, 5), (rows.tolist() + kept)[:5]
        assert bank.tolist() == kept and bank.dtype == torch.float32
    assert push(torch.zeros(2, 1), torch.ones(3, 1), 2).tolist() == [[1], [1]]  # more rows than it has room for


def test_alignment_by_the_latest_batches() -> None:
    means: list[torch.Tensor] = []
    seen: list[torch.Tensor] = []
    for seed in range(5):
        p = torch.randn(6, 4, generator=torch.Generator().manual_seed(seed)).softmax(1)
        seen.append(sum(p) / 6)
        scaled = p / (sum(seen[-3:]) / len(seen[-3:]))
        found, means = align_to_latest(p, means, 3)
        torch.testing.assert_close(found, scaled / scaled.sum(1, keepdim=True))
        torch.testing.assert_close(torch.stack(means), torch.stack(seen[-3:]))


def test_a_table_follows_its_images_to_another_pool() -> None:
    table = torch.arange(10).view(5, 2)
    places = torch.tensor([3, -1, 0, 7, 1, 2])  # the image of row 3 has a label now; the last place is no row of it
    now, known = moved(table, places, 4, 0.0)
    assert now.tolist() == [[4, 5], [8, 9], [0, 0], [0, 1]] and known == 3
    assert moved(table[:, 0], places[:2], 4)[0].tolist() == [-1, -1, -1, 0]


def test_of_a_row_that_is_written_to_twice_the_last_counts() -> None:
    table, rows = torch.zeros(6, 3), torch.tensor([4, 1, 4, 0, 1, 4])
    values, slow = drawn(6, 3), torch.zeros(6, 3)
    for row, value in zip(rows.tolist(), values, strict=True):
        slow[row] = value
    assert torch.equal(written(table, rows, values), slow) and not table.any()
    assert torch.equal(written(slow, rows[:0], values[:0]), slow)
