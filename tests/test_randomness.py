"""Random draws are functions of what they are for; the generator is SplitMix64's, bit for bit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats

from semisup.randomness import Draw, bits, key, permutation

MASK = (1 << 64) - 1


def draw(count: int = 64, *, seed: int = 0, step: int = 0, stream: str = "labeled/weak") -> Draw:
    return Draw(seed, step, stream, torch.arange(count), count)


def splitmix64(key_: int, counter: int) -> int:
    """The paper's mixing function, on Python's unbounded integers."""
    z = (key_ + counter * 0x9E3779B97F4A7C15) & MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def test_bits_are_splitmix64() -> None:
    counters = [0, 1, 2, 3, 1000, 2**31 + 7, 2**40, 2**62 + 1]
    for key_ in (0, 1, 12345, 2**63 - 1):
        found = bits(key_, torch.tensor(counters)).tolist()
        assert [value & MASK for value in found] == [splitmix64(key_, counter) for counter in counters]


def test_bits_match_the_published_sequence() -> None:
    """The first outputs of SplitMix64 seeded with 1234567, as other implementations print them."""
    expected = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    assert [value & MASK for value in bits(1234567, torch.arange(1, 4)).tolist()] == expected


def test_keys_depend_on_every_part_and_on_the_order() -> None:
    parts: list[tuple[int | str, ...]] = [
        (),
        (0,),
        (1,),
        (0, 0),
        ("a",),
        ("b",),
        ("a", 1),
        ("a", 2),
        (1, "a"),
        (2, "a"),
        ("a", "b"),
        ("b", "a"),
    ]
    parts += [(seed, "labeled/weak", step, "flip") for seed in range(20) for step in range(20)]
    keys = [key(*each) for each in parts]
    assert len(set(keys)) == len(parts)
    assert all(0 <= each < 2**63 for each in keys)


def test_a_key_is_a_chain_of_mixing_steps() -> None:
    assert key(7) == splitmix64(7, 1) >> 1
    assert key(7, 8) == splitmix64(splitmix64(7, 1) ^ 8, 1) >> 1


def chi_square(values: torch.Tensor, cells: int) -> float:
    counts = torch.bincount(values, minlength=cells).double()
    expected = len(values) / cells
    return float(((counts - expected) ** 2 / expected).sum())


def test_uniform_is_uniform_and_in_range() -> None:
    unit = draw(20_000).uniform("x", 5)
    assert unit.shape == (20_000, 5) and unit.dtype == torch.float32
    assert unit.min() >= 0 and unit.max() < 1
    # 255 degrees of freedom: mean 255, standard deviation 22.6; five deviations either way.
    assert 142 < chi_square((unit.flatten() * 256).long(), 256) < 368


def test_uniform_has_no_pattern_between_columns_places_steps_or_purposes() -> None:
    base = draw(10_000)
    one, two = base.uniform("x", 2).unbind(1)
    others = [two, one.roll(1), replace(base, step=1).uniform("x", 2)[:, 0], base.uniform("y", 2)[:, 0]]
    for other in others:
        correlation = torch.corrcoef(torch.stack([one, other]))[0, 1].item()
        assert abs(correlation) < 0.05  # five standard deviations


def test_uniform_stretches_to_its_bounds() -> None:
    unit = draw(1000).uniform("x")
    torch.testing.assert_close(draw(1000).uniform("x", low=-20.0, high=20.0), unit * 40 - 20)


@pytest.mark.parametrize("high", [1, 2, 7, 25, 1000])
def test_integers_cover_their_range_evenly(high: int) -> None:
    values = draw(10_000).integers("x", high, 4)
    assert values.shape == (10_000, 4) and values.dtype == torch.int64
    assert values.min() == 0 and values.max() == high - 1
    freedom = high - 1
    assert abs(chi_square(values.flatten(), high) - freedom) <= 5 * (2 * freedom) ** 0.5


def test_normal_numbers_have_the_distribution_and_belong_to_the_place() -> None:
    whole = draw(1000)
    values = whole.normal("x", 20)
    assert values.shape == (1000, 20) and values.dtype == torch.float32 and values.isfinite().all()
    assert stats.kstest(values.flatten().double().numpy(), "norm").pvalue > 0.001
    assert abs(np.corrcoef(values[:, 0], values[:, 1])[0, 1]) < 5 / 1000**0.5
    some = torch.tensor([3, 11, 5])
    assert torch.equal(replace(whole, position=some).normal("x", 20), values[some])
    assert not torch.equal(replace(whole, step=1).normal("x", 20), values)


def test_classes_are_drawn_by_their_probabilities() -> None:
    p = torch.rand(64, 4, generator=torch.Generator().manual_seed(0)).softmax(1).double()
    uniform = draw().uniform("class")[:, 0]
    slow = [next((k for k in range(4) if x < q[: k + 1].sum()), 3) for x, q in zip(uniform, p, strict=True)]
    assert draw().categorical("class", p).tolist() == slow and set(slow) == {0, 1, 2, 3}
    assert draw(3).categorical("class", torch.eye(3)).tolist() == [0, 1, 2]
    assert draw(2).categorical("class", torch.ones(2, 1)).tolist() == [0, 0]
    assert draw(0).categorical("class", torch.ones(0, 3)).tolist() == []
    many = torch.tensor([0.1, 0.6, 0.0, 0.3]).repeat(20_000, 1)
    counts = draw(20_000).categorical("class", many).bincount(minlength=4)
    assert counts[2] == 0 and stats.chisquare(counts[[0, 1, 3]], [2_000, 12_000, 6_000]).pvalue > 1e-3


@pytest.mark.parametrize("size", [0, 1, 2, 5, 64, 129])
def test_half_is_exact(size: int) -> None:
    for step in range(10):
        chosen = draw(size, step=step).half("flip")
        assert chosen.shape == (size,) and chosen.dtype == torch.bool
        assert int(chosen.sum()) == size // 2


def test_half_chooses_every_place_equally_often() -> None:
    count = torch.stack([draw(10, step=step).half("flip") for step in range(1000)]).sum(0)
    assert (count - 500).abs().max() < 5 * 250**0.5


def test_half_of_the_global_batch_is_split_over_the_ranks() -> None:
    whole = draw(11)
    for parts in ([torch.arange(4), torch.arange(4, 11)], [torch.arange(0, 11, 2), torch.arange(1, 11, 2)]):
        found = torch.empty(11, dtype=torch.bool)
        for positions in parts:
            found[positions] = replace(whole, position=positions).half("flip")
        assert torch.equal(found, whole.half("flip"))


def test_draws_belong_to_the_place_and_not_to_the_batch() -> None:
    whole, some = draw(16), torch.tensor([3, 11, 5])
    part = replace(whole, position=some)
    assert torch.equal(part.uniform("x", 3), whole.uniform("x", 3)[some])
    assert torch.equal(part.integers("x", 1000, 3), whole.integers("x", 1000, 3)[some])


def test_draws_depend_on_seed_step_stream_and_purpose() -> None:
    first = draw().uniform("x")
    assert torch.equal(first, draw().uniform("x"))
    others = [draw(seed=1), draw(step=1), draw(stream="unlabeled/weak")]
    for other in [each.uniform("x") for each in others] + [draw().uniform("y")]:
        assert (first != other).all()


def test_draws_leave_torchs_generator_alone() -> None:
    state = torch.get_rng_state()
    draw().uniform("x")
    draw().half("x")
    permutation(10, 0)
    assert torch.equal(state, torch.get_rng_state())


def test_permutation_depends_on_its_parts_alone() -> None:
    first = permutation(1000, 0, "order", 1)
    torch.manual_seed(5)
    assert torch.equal(first, permutation(1000, 0, "order", 1))
    assert torch.equal(first.sort().values, torch.arange(1000))
    for parts in ((0, "order", 2), (1, "order", 1), (0, "split", 1)):
        assert (permutation(1000, *parts) == first).sum() < 10
