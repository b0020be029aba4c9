"""Intervals against closed forms, scipy, a naive bootstrap and simulation; labels against an exact learning curve."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from semisup.runs.statistics import LEAST_PAIRS, bootstrap_interval, efficiency, spread, t_interval

fractions = st.floats(0.0, 1.0, allow_nan=False)


def ends(interval: object) -> tuple[float, float]:
    low, high = interval.low, interval.high  # type: ignore[attr-defined]
    assert low is not None and high is not None
    return low, high


def test_spread_by_hand() -> None:
    assert spread([0.5]) == (0.5, None)
    mean, sd = spread([0.1, 0.2, 0.3])
    assert mean == pytest.approx(0.2) and sd == pytest.approx(0.1)


def test_the_t_interval_by_hand() -> None:
    # Mean 2, standard deviation 1, and t with 2 degrees of freedom is 4.3027 at .975.
    low, high = ends(t_interval([1.0, 2.0, 3.0]))
    assert (low, high) == pytest.approx((2 - 4.302653 / math.sqrt(3), 2 + 4.302653 / math.sqrt(3)), abs=1e-6)


@given(st.lists(st.tuples(fractions, fractions), min_size=2, max_size=12))
def test_the_t_interval_is_scipys_paired_one(pairs: list[tuple[float, float]]) -> None:
    ours, theirs = np.array(pairs).T
    differences = list(ours - theirs)
    if max(differences) - min(differences) < 1e-6:
        return
    expected = stats.ttest_rel(ours, theirs).confidence_interval(0.95)
    assert ends(t_interval(differences)) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_the_bootstrap_is_the_naive_one() -> None:
    """Bias-corrected and accelerated, written out (Efron 1987), with other and more resamples."""
    x = np.random.default_rng(3).exponential(1.0, 15)
    draws = np.random.default_rng(4).choice(x, (200_000, len(x))).mean(1)
    z0 = stats.norm.ppf((draws < x.mean()).mean())
    left_out = np.array([np.delete(x, i).mean() for i in range(len(x))])
    d = left_out.mean() - left_out
    a = (d**3).sum() / (6 * (d**2).sum() ** 1.5)
    z = stats.norm.ppf([0.025, 0.975])
    expected = np.quantile(draws, stats.norm.cdf(z0 + (z0 + z) / (1 - a * (z0 + z))))
    found, error = np.array(ends(bootstrap_interval(list(x)))), x.std() / math.sqrt(len(x))
    assert np.abs(found - expected).max() < 0.15 * error  # of the resampling
    assert np.abs(found - np.quantile(draws, [0.025, 0.975])).min() > 0.2 * error  # and not what needs no correction


def test_intervals_that_can_not_be_given_are_not() -> None:
    for interval in (t_interval, bootstrap_interval):
        one = interval([0.1])
        assert (one.low, one.high) == (None, None) and "and there is 1" in one.reason
        same = interval([0.25, 0.25 + 3e-8] * 6)
        assert (same.low, same.high) == (None, None) and "all differences are equal" in same.reason
    values = [0.01 * k for k in range(LEAST_PAIRS)]
    assert bootstrap_interval(values[:-1]).reason == f"the bootstrap needs {LEAST_PAIRS} seeds or more, and there are 9"
    assert bootstrap_interval(values).reason == t_interval(values[:2]).reason == ""


def coverage(interval: object, pairs: int, repetitions: int) -> float:
    """The share of intervals that hold the true difference, of accuracies that share what the seed brings."""
    rng, hits = np.random.default_rng(pairs), 0
    for _ in range(repetitions):
        seeds = rng.normal(0.8, 0.05, pairs)
        ours, theirs = seeds + 0.03 + rng.normal(0, 0.01, pairs), seeds + rng.normal(0, 0.01, pairs)
        low, high = ends(interval(list(ours - theirs)))  # type: ignore[operator]
        hits += low <= 0.03 <= high
    return hits / repetitions


@pytest.mark.parametrize("pairs", [2, 3, 5])
def test_the_t_interval_holds_the_truth_as_often_as_it_says(pairs: int) -> None:
    # Two standard errors of a share of .95 among 3,000 are .008.
    assert coverage(t_interval, pairs, 3000) == pytest.approx(0.95, abs=0.012)


def test_the_bootstrap_holds_the_truth_about_as_often_as_its_comment_says() -> None:
    assert coverage(bootstrap_interval, LEAST_PAIRS, 300) == pytest.approx(0.91, abs=0.04)


# ---- labels


def curve(labels: float) -> float:
    """An accuracy that rises by a tenth with every doubling of the labels."""
    return 0.3 + 0.1 * math.log2(labels / 10)


SUPERVISED = {count: [curve(count) - 0.01, curve(count) + 0.01] for count in (10, 40, 160, 640)}


@pytest.mark.parametrize("needed", [10, 11, 39, 40, 41, 100, 639, 640])
def test_labels_on_an_exact_curve(needed: int) -> None:
    worth = efficiency(20, curve(needed), SUPERVISED)
    assert worth.relation == "="
    assert worth.labels == pytest.approx(needed) and worth.factor == pytest.approx(needed / 20)


def test_nothing_is_extrapolated() -> None:
    above, below = efficiency(40, curve(641), SUPERVISED), efficiency(40, curve(9), SUPERVISED)
    assert (above.relation, above.labels, above.factor) == (">", 640, 16)
    assert (below.relation, below.labels, below.factor) == ("<", 10, 0.25)
    assert efficiency(40, 0.5, {40: [0.4]}).relation == ">"
    assert efficiency(40, 0.4, {40: [0.4]}).relation == "="
    nothing = efficiency(40, 0.5, {})
    assert (nothing.relation, nothing.labels) == ("", None) and "no run" in nothing.reason


def test_a_curve_that_falls_by_chance_is_levelled() -> None:
    falling = {10: [0.5], 20: [0.4], 40: [0.8]}  # levelled: .45, .45, .8
    assert efficiency(10, 0.45, falling).labels == pytest.approx(10)
    assert efficiency(10, 0.625, falling).labels == pytest.approx(math.sqrt(20 * 40))
    weighted = {10: [0.5, 0.5, 0.5], 20: [0.4], 40: [0.8]}  # .475, .475, .8
    assert efficiency(10, 0.46, weighted).relation == "<"
    assert efficiency(10, 0.48, weighted).relation == "="


@pytest.mark.parametrize("more", [{}, {160: [0.99]}])
@pytest.mark.parametrize("rounding", [0.0, 3e-8, -3e-8])
def test_on_a_plateau_the_fewest_labels_are_given(more: dict[int, list[float]], rounding: float) -> None:
    flat = {20: [0.5], 40: [0.8], 80: [0.8], **more}
    assert efficiency(20, 0.8 + rounding, flat).labels == pytest.approx(40)
    start = {20: [0.8], 40: [0.8], 80: [0.8], **more}
    worth = efficiency(20, 0.8 + rounding, start)
    assert (worth.relation, worth.labels) == ("=", pytest.approx(20))
    # Levelled, which rounds: the mean of these six is that of both numbers of labels.
    high, low = [341 / 360, 339 / 360, 329 / 360], [318 / 360, 333 / 360, 318 / 360]
    levelled = {20: [0.5], 40: high, 80: low, **more}
    assert efficiency(20, sum(high + low) / 6 + rounding, levelled).labels == pytest.approx(40)
    # Over the plateau it is the last of its numbers from which the curve rises.
    above = efficiency(20, 0.895, flat)
    expected = math.sqrt(80 * 160) if more else 80
    assert (above.relation, above.labels) == ("=" if more else ">", pytest.approx(expected))


@given(
    st.dictionaries(st.integers(1, 10_000), st.lists(fractions, min_size=1, max_size=3), min_size=1),
    fractions,
    fractions,
)
def test_more_accuracy_is_never_worth_fewer_labels(reference: dict[int, list[float]], a: float, b: float) -> None:
    low, high = (efficiency(1, accuracy, reference) for accuracy in sorted((a, b)))
    assert low.labels is not None and high.labels is not None
    assert low.labels <= high.labels * (1 + 1e-9)
    assert ("<", "=", ">").index(low.relation) <= ("<", "=", ">").index(high.relation)
