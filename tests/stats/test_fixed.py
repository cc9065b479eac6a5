"""Fixed-n tests agree with scipy, with enumeration, and with the error rates they promise."""

import itertools
from statistics import NormalDist

import numpy as np
import pytest
import scipy.stats

from agentkit.errors import StatsError
from agentkit.stats.fixed import bca_interval, max_t, page_trend_p, sign_flip_p, tost_p


def rng(seed=71):
    return np.random.default_rng(seed)


@pytest.mark.parametrize("alternative", ["greater", "less", "two_sided"])
def test_the_sign_flip_p_value_is_exact_for_few_units(alternative):
    for seed in range(20):
        d = rng(seed).normal(0.3, 1, 7).round(1)  # rounded: sums tie
        sums = [float(np.dot(flip, d)) for flip in itertools.product([-1, 1], repeat=7)]
        better = {
            "greater": lambda s, t: s >= t - 1e-9,
            "less": lambda s, t: s <= t + 1e-9,
            "two_sided": lambda s, t: abs(s) >= abs(t) - 1e-9,
        }[alternative]
        expected = np.mean([better(s, d.sum()) for s in sums])
        assert sign_flip_p(d, rng(), alternative=alternative) == pytest.approx(expected)


def test_the_resampled_p_value_is_near_the_exact_one_and_never_zero():
    d = rng().normal(0.4, 1, 12)
    exact, resampled = sign_flip_p(d, rng()), sign_flip_p(d, rng(), resamples=2000)
    assert abs(exact - resampled) < 4 * np.sqrt(exact / 2000)
    assert sign_flip_p(np.ones(100), rng(), resamples=99) == 1 / 100


def test_sign_flip_agrees_with_scipy_on_many_units():
    d = rng().normal(0.15, 1, 60)
    oracle = scipy.stats.permutation_test(
        (d,), np.mean, permutation_type="samples", n_resamples=9999, alternative="greater", rng=rng(1)
    )
    assert sign_flip_p(d, rng(2), alternative="greater") == pytest.approx(oracle.pvalue, abs=0.015)


def test_sign_flip_p_values_are_valid_and_uniform_under_a_skew_free_null():
    p = np.array([sign_flip_p(rng(seed).standard_t(2, 15), rng(seed), resamples=199) for seed in range(400)])
    for level in (0.05, 0.2, 0.5):
        assert np.mean(p <= level) <= level + 3 * np.sqrt(level * (1 - level) / 400)
    assert scipy.stats.kstest(p, "uniform").pvalue > 0.001


def test_tost_needs_both_sides():
    near, far = rng().normal(0, 0.1, 60), rng().normal(0.3, 0.1, 60)
    assert tost_p(near, 0.2, rng(), resamples=999) <= 0.002
    assert tost_p(far, 0.2, rng(), resamples=999) > 0.9
    assert tost_p(-far, 0.2, rng(), resamples=999) > 0.9


def test_tost_is_wrong_at_most_alpha_of_the_time_on_the_edge_of_the_band():
    p = [tost_p(rng(seed).normal(0.2, 0.3, 20), 0.2, rng(seed), resamples=199) for seed in range(300)]
    assert np.mean(np.array(p) <= 0.05) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 300)


def test_bca_agrees_with_scipy():
    d = rng().exponential(1, 40)
    oracle = scipy.stats.bootstrap(
        (d,), np.mean, confidence_level=0.95, method="BCa", n_resamples=40_000, rng=rng(1)
    )
    low, high = bca_interval(d, rng(2), resamples=40_000)
    assert low == pytest.approx(oracle.confidence_interval.low, abs=0.02)
    assert high == pytest.approx(oracle.confidence_interval.high, abs=0.02)


def test_bca_takes_other_statistics_and_leans_with_skew():
    d = rng().exponential(1, 200)
    low, high = bca_interval(d, rng(), statistic=lambda rows: np.median(rows, axis=-1), resamples=1999)
    assert low < np.median(d) < high
    low, high = bca_interval(d, rng())
    assert high - d.mean() > d.mean() - low


def test_bca_of_equal_differences_is_that_value():
    assert bca_interval([0.5] * 10, rng(), resamples=99) == (0.5, 0.5)
    assert bca_interval([0.5], rng(), resamples=99) == (0.5, 0.5)


def test_page_agrees_with_scipy():
    for seed in range(5):
        table = rng(seed).normal(size=(6, 4)) + 0.3 * np.arange(4)
        exact = scipy.stats.page_trend_test(table, method="exact").pvalue
        assert page_trend_p(table, rng(seed)) == pytest.approx(exact, abs=4 * np.sqrt(exact / 9999) + 2e-4)


def test_page_shares_the_ranks_of_ties_and_sees_only_the_expected_direction():
    rising = np.tile([0.0, 1.0, 1.0, 2.0], (12, 1))
    assert page_trend_p(rising, rng(), resamples=999) == 1 / 1000
    assert page_trend_p(rising[:, ::-1], rng(), resamples=999) > 0.99
    assert page_trend_p(np.zeros((5, 3)), rng(), resamples=99) == 1.0


def test_a_scan_equals_its_definition_with_t_statistics():
    table = rng().normal(0.2, 1, (10, 5))
    scan = max_t(table, rng(3), resamples=299)
    t = scipy.stats.ttest_1samp(table, 0).statistic
    np.testing.assert_allclose(scan.statistics, t)
    flips = np.where(rng(3).integers(0, 2, (299, 10)), -1.0, 1.0)
    largest = np.abs(scipy.stats.ttest_1samp(flips[:, :, None] * table, 0, axis=1).statistic).max(axis=1)
    expected = (1 + (largest[:, None] >= np.abs(t) - 1e-12).sum(axis=0)) / 300
    np.testing.assert_allclose(scan.p_values, expected)


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.9])
def test_a_scan_keeps_its_family_error_and_finds_more_than_bonferroni_when_sites_move_together(correlation):
    repeats, units, sites, real = 60, 32, 144, 10
    false, power, bonferroni = 0, 0.0, 0.0
    effect = np.r_[np.full(real, 0.8), np.zeros(sites - real)]
    cut = 0.05 / sites
    for seed in range(repeats):
        draw = np.random.default_rng([72, seed])
        common, own = draw.normal(size=(units, 1)), draw.normal(size=(units, sites))
        table = effect + np.sqrt(correlation) * common + np.sqrt(1 - correlation) * own
        scan = max_t(table, draw, resamples=499)
        hit = scan.p_values <= 0.05
        false += hit[real:].any()
        power += hit[:real].mean() / repeats
        t_needed = scipy.stats.t.isf(cut / 2, units - 1)
        bonferroni += (np.abs(scan.statistics[:real]) >= t_needed).mean() / repeats
    assert false / repeats <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / repeats)
    assert power > 0.55
    assert power >= bonferroni - (0.03 if correlation == 0 else 0)
    assert correlation < 0.9 or power > bonferroni + 0.08


def test_a_site_that_never_moves_has_p_value_one():
    table = np.c_[np.zeros(8), rng().normal(5, 1, 8), np.ones(8)]
    scan = max_t(table, rng(), resamples=99)
    assert scan.p_values[0] == 1.0
    assert scan.statistics[0] == 0.0
    assert scan.statistics[2] == np.inf


def test_pairing_pays_as_the_variance_of_a_difference_says():
    """Var(D) = 2 s^2 (1 - rho): units for effect .3 at power .8, one-sided .05, for rho 0, .5, .9, .99."""
    z = NormalDist().inv_cdf(0.95) + NormalDist().inv_cdf(0.8)
    needed = [int(np.ceil(2 * (1 - rho) * (z / 0.3) ** 2)) for rho in (0.0, 0.5, 0.9, 0.99)]
    assert needed == [138, 69, 14, 2]


@pytest.mark.parametrize(
    "call",
    [
        lambda: sign_flip_p([], rng()),
        lambda: sign_flip_p([0.1, np.nan], rng()),
        lambda: sign_flip_p([0.1], rng(), alternative="up"),
        lambda: tost_p([0.1], 0.0, rng()),
        lambda: bca_interval([0.1, 0.2], rng(), level=1.0),
        lambda: page_trend_p([0.1, 0.2], rng()),
        lambda: max_t([[0.1, 0.2]], rng()),
        lambda: max_t([0.1, 0.2], rng()),
    ],
)
def test_what_cannot_be_tested_is_refused_with_what_is_allowed(call):
    with pytest.raises(StatsError, match="allowed is"):
        call()
