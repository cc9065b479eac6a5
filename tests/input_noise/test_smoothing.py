import numpy as np
import pytest
from scipy import special, stats

from agentkit_input_noise import smoothing

ALPHA = 0.001
NULLS = [float(smoothing.probability_at(r, 0.25)) for r in (0.1, 0.25, 0.4)]


@pytest.mark.parametrize("p0", NULLS)
def test_evidence_is_a_martingale_at_the_edge_of_the_null(p0):
    for t in range(65):
        k = np.arange(t + 1)
        now = np.exp(smoothing.log_evidence(k, t, p0))
        hit, miss = (np.exp(smoothing.log_evidence(k + d, t + 1, p0)) for d in (1, 0))
        assert p0 * hit + (1 - p0) * miss == pytest.approx(now, rel=1e-9)


@pytest.mark.parametrize("p0", NULLS)
def test_evidence_never_grows_in_the_mean_inside_the_null(p0):
    for p in np.linspace(0.01, p0, 9):
        for t in range(65):
            k = np.arange(t + 1)
            now = np.exp(smoothing.log_evidence(k, t, p0))
            hit, miss = (np.exp(smoothing.log_evidence(k + d, t + 1, p0)) for d in (1, 0))
            assert (p * hit + (1 - p) * miss <= now * (1 + 1e-9)).all()


def test_a_mixture_that_is_not_truncated_is_no_supermartingale():
    """Why the prior is cut off at p0: with all of Beta(4, 1/2), some truth inside the null makes it grow."""
    p0, (a, b) = NULLS[0], smoothing.PRIOR

    def naive(k, t):
        return np.exp(
            special.betaln(k + a, t - k + b) - special.betaln(a, b) - k * np.log(p0) - (t - k) * np.log1p(-p0)
        )

    grows = False
    for p in (0.1, 0.3, 0.5):
        for t in range(65):
            k = np.arange(t + 1)
            grows |= bool(
                (p * naive(k + 1, t + 1) + (1 - p) * naive(k, t + 1) > naive(k, t) * (1 + 1e-9)).any()
            )
    assert grows


@pytest.mark.parametrize("p0", NULLS)
def test_the_false_certificate_rate_is_at_most_alpha_by_simulation(p0):
    """Truth at the edge of the null, a look after every draw, alpha 0.02 to see enough of them."""
    rng, alpha, runs, draws = np.random.default_rng(5), 0.02, 2000, 200
    hits = np.cumsum(rng.random((runs, draws)) < p0, axis=1)
    evidence = smoothing.log_evidence(hits, np.arange(1, draws + 1), p0)
    false = int((evidence >= -np.log(alpha)).any(axis=1).sum())
    assert stats.binomtest(false, runs, alpha, alternative="greater").pvalue > 0.001


def test_the_fixed_bound_is_the_clopper_pearson_bound():
    for k, n in ((0, 10), (7, 10), (990, 1000), (1000, 1000)):
        expected = stats.binomtest(k, n).proportion_ci(1 - 2 * ALPHA, method="exact")
        assert float(smoothing.lower_bound(k, n, ALPHA)) == pytest.approx(expected.low, abs=1e-12)
        assert float(smoothing.upper_bound(k, n, ALPHA)) == pytest.approx(expected.high, abs=1e-12)


def test_the_fixed_bound_equals_that_of_art_on_equal_counts():
    """ART takes the bound from statsmodels' beta method, which is scipy's Beta quantile."""
    for k in (400, 700, 999):
        art = stats.beta.ppf(ALPHA, k, 1000 - k + 1)
        assert float(smoothing.lower_bound(k, 1000, ALPHA)) == pytest.approx(art, abs=1e-12)


def test_a_bound_below_one_half_certifies_nothing():
    assert float(smoothing.fixed_radius(500, 1000, 0.25, ALPHA)) == 0


def test_the_largest_fixed_radius_is_that_of_draws_that_all_agree():
    all_agree = float(smoothing.fixed_radius(1000, 1000, 0.25, ALPHA))
    assert smoothing.largest_fixed_radius(1000, 0.25, ALPHA) == pytest.approx(all_agree)


def test_the_largest_sequential_radius_is_just_reached():
    largest = smoothing.largest_sequential_radius(1000, 0.25, ALPHA)
    reached, not_reached = (
        float(smoothing.log_evidence(1000, 1000, smoothing.probability_at(largest * f, 0.25)))
        for f in (0.999, 1.001)
    )
    assert not_reached < -np.log(ALPHA) <= reached


def test_evidence_at_an_impossible_radius_is_none():
    assert float(smoothing.log_evidence(1000, 1000, 1.0)) == -np.inf


def linear_radius(weight, bias, x):
    return (weight @ x + bias) / np.linalg.norm(weight)


def test_the_radius_of_a_linear_classifier_never_exceeds_margin_over_norm_and_reaches_it():
    """f = sign(w x + b) under noise: P(class) = Phi(margin / (sigma |w|)), so the true radius is the margin."""
    rng = np.random.default_rng(6)
    weight, x, sigma = rng.normal(size=20), rng.normal(size=20), 0.5
    truth = 0.6
    bias = truth * np.linalg.norm(weight) - weight @ x
    assert linear_radius(weight, bias, x) == pytest.approx(truth)
    radii = {}
    for n in (100, 1_000, 10_000):
        hits = sum(
            int((rng.normal(0, sigma, (n // 10, 20)) @ weight + weight @ x + bias > 0).sum())
            for _ in range(10)
        )
        radii[n] = float(smoothing.fixed_radius(hits, n, sigma, ALPHA))
    assert radii[100] < radii[10_000] <= truth
    hits = rng.binomial(1_000_000, special.ndtr(truth / sigma))
    assert truth * 0.98 <= float(smoothing.fixed_radius(hits, 1_000_000, sigma, ALPHA)) <= truth
