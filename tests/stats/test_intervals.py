"""The interval is the set that the evidence has not rejected, and it covers at every stopping time."""

import itertools

import numpy as np
import pytest

from agentkit.stats.eprocess import log_k_minus, log_k_minus_path, log_k_plus, log_k_plus_path, log_tails
from agentkit.stats.intervals import anytime_intervals, log_threshold, lower_ends
from tests.stats.laws import (
    bursts,
    clipped_gaussian,
    coins,
    many,
    median_zero_skewed,
    one,
    rare_loss,
    skewed_beta,
)

THETA = 0.5


def random_streams(rng, test, count):
    rows = [rng.beta(*rng.uniform(0.3, 3, 2), size=rng.integers(0, 60)) * 2 - 1 for _ in range(count)]
    return many(test, rows, failed=[rng.random(len(row)) < 0.05 for row in rows])


@pytest.mark.parametrize("test", ["bounded_mean", "sign", "sharp"])
def test_an_end_lies_beyond_v_exactly_when_the_evidence_rejects_v(test):
    rng = np.random.default_rng(21)
    count, candidates = 335, 10  # 3 x 3350 pairs of data and v
    data, v = random_streams(rng, test, count), rng.uniform(-0.95, 0.95, (count, candidates))
    level = 10 ** rng.uniform(-4, -0.5, count)
    low, high = (ends[:, None] for ends in anytime_intervals(data, THETA, level))
    above, below = (np.round(np.log(THETA) + tail, 9) for tail in log_tails(data, v))
    needed = log_threshold(level)[:, None]
    assert ((above >= needed) == (low >= v))[np.abs(low - v) > 1e-9].all()
    assert ((below >= needed) == (high <= v))[np.abs(high - v) > 1e-9].all()
    assert 100 < (above >= needed).sum() < 3250  # the comparison saw both answers


@pytest.mark.parametrize("test", ["bounded_mean", "sign", "sharp"])
def test_ends_agree_with_a_grid_of_candidates(test):
    rng = np.random.default_rng(22)
    data = one(test, rng.uniform(-0.6, 1, 40))
    low, high = anytime_intervals(data, THETA, 0.05)
    for end, log_k in ((low[0], log_k_plus), (high[0], log_k_minus)):
        grid = end + np.linspace(-1e-5, 1e-5, 100_001)
        rejected = np.round(np.log(THETA) + log_k(data, grid[None])[0], 9) >= log_threshold(0.05)
        edge = grid[rejected].max() if log_k is log_k_plus else grid[rejected].min()
        assert abs(edge - end) <= 1e-9
    coarse = np.linspace(-0.99999, 0.99999, 100_001)
    outside = np.log(THETA) + np.maximum(log_k_plus(data, coarse[None]), log_k_minus(data, coarse[None]))[
        0
    ] >= np.log(20)
    assert ((coarse <= low[0]) | (coarse >= high[0]))[outside].all()
    assert ((coarse > low[0]) & (coarse < high[0]))[~outside].all()


@pytest.mark.parametrize("test", ["bounded_mean", "sign", "sharp"])
def test_a_mirror_image_swaps_the_ends_exactly(test):
    rng = np.random.default_rng(23)
    rows = [rng.uniform(-1, 0.4, n) for n in (0, 1, 5, 40, 150)]
    low, high = anytime_intervals(many(test, rows, -1, 0.5 if test == "bounded_mean" else 1), THETA, 0.05)
    mirrored = many(test, [-row for row in rows], -0.5 if test == "bounded_mean" else -1, 1)
    mirrored_low, mirrored_high = anytime_intervals(mirrored, THETA, 0.05)
    np.testing.assert_array_equal(mirrored_low, -high)
    np.testing.assert_array_equal(mirrored_high, -low)


def test_without_units_the_interval_is_the_range():
    for test in ("bounded_mean", "sign", "sharp"):
        low, high = anytime_intervals(one(test, []), THETA, 0.05)
        assert (low[0], high[0]) == (-1, 1)
    low, high = anytime_intervals(one("sharp", [], -np.inf, np.inf), THETA, 0.05)
    assert (low[0], high[0]) == (-np.inf, np.inf)


def test_when_every_unit_fails_the_interval_is_the_range():
    low, high = anytime_intervals(one("bounded_mean", [np.nan] * 30, failed=[True] * 30), THETA, 0.05)
    assert (low[0], high[0]) == (-1, 1)


def test_sharp_without_a_range_finds_its_ends_wherever_they_are():
    rng = np.random.default_rng(24)
    for shift, spread in ((0, 1), (1e6, 1), (-3, 1e-6), (0, 1e8)):
        data = one("sharp", shift + spread * rng.normal(size=80), -np.inf, np.inf)
        low, high = anytime_intervals(data, THETA, 0.05)
        assert shift - 3 * spread < low[0] < shift < high[0] < shift + 3 * spread
    low, high = anytime_intervals(one("sharp", rng.normal(size=5), -np.inf, np.inf), THETA, 0.05)
    assert (low[0], high[0]) == (-np.inf, np.inf)  # three bets cannot win a factor of 40


@pytest.mark.parametrize("test", ["bounded_mean", "sign", "sharp"])
def test_the_interval_is_never_empty(test):
    rng = np.random.default_rng(25)
    data = random_streams(rng, test, 300)
    low, high = anytime_intervals(data, THETA, 0.5)
    assert (low < high).all()


def test_a_smaller_level_gives_an_interval_that_contains_the_larger_ones():
    data = one("bounded_mean", np.random.default_rng(26).uniform(-0.2, 0.6, 100))
    ends = [anytime_intervals(data, THETA, level) for level in (0.5, 0.05, 0.005, 0.0005)]
    assert all(a[0][0] >= b[0][0] and a[1][0] <= b[1][0] for a, b in itertools.pairwise(ends))


@pytest.mark.parametrize(
    ("test", "law"),
    [
        ("bounded_mean", clipped_gaussian),
        ("bounded_mean", coins),
        ("bounded_mean", rare_loss),
        ("bounded_mean", skewed_beta),
        ("sign", median_zero_skewed),
        ("sharp", bursts),
    ],
)
def test_the_interval_covers_at_a_stopping_time_chosen_to_make_it_miss(test, law):
    """A planner looks after every unit and stops at the first interval that excludes the truth."""
    repeats, level = 2000, 0.05
    differences = law(np.random.default_rng(27), (repeats, 200))
    data = many(test, differences, *((-np.inf, np.inf) if test == "sharp" else (-1, 1)))
    zero = np.zeros(repeats)
    plus, minus = log_k_plus_path(data, zero), log_k_minus_path(data, zero)
    misses = np.log(THETA) + np.maximum(plus, minus) >= np.log(1 / level)
    assert misses.any(axis=1).mean() <= level + 3 * np.sqrt(level * (1 - level) / repeats)


def test_misses_counted_on_the_intervals_themselves_are_those_of_the_evidence():
    """The shortcut of the test above, checked on real intervals at every tenth look."""
    rng = np.random.default_rng(28)
    differences = rng.choice([-1.0, 1.0], (60, 80))
    data = many("bounded_mean", differences)
    plus, minus = log_k_plus_path(data, np.zeros(60)), log_k_minus_path(data, np.zeros(60))
    for n in range(10, 81, 10):
        low, high = anytime_intervals(many("bounded_mean", differences[:, :n]), THETA, 0.4)
        reached = np.log(THETA) + np.maximum(plus, minus)[:, n - 1] >= np.log(1 / 0.4)
        np.testing.assert_array_equal((low >= 0) | (high <= 0), reached)


def test_the_lower_end_of_a_one_sided_interval_uses_the_whole_level():
    data = one("bounded_mean", np.random.default_rng(29).uniform(-0.2, 0.6, 100))
    assert lower_ends(data, 1.0, 0.05)[0] == pytest.approx(lower_ends(data, 0.5, 0.1)[0], abs=1e-9)
    assert lower_ends(data, 1.0, 0.05)[0] > lower_ends(data, 0.5, 0.05)[0]
