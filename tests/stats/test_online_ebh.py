"""Online e-BH: the definition by brute force, its promises, and the budget it guards."""

import numpy as np
import pytest

from agentkit.errors import StatsError
from agentkit.stats.intervals import log_threshold, rounded
from agentkit.stats.procedures import online_ebh


def brute_force(log_e, weights, alpha):
    """k* straight from its definition."""
    return max(
        (
            k
            for k in range(1, len(log_e) + 1)
            if np.sum(rounded(log_e) >= log_threshold(np.minimum(k * alpha * weights, alpha))) >= k
        ),
        default=0,
    )


def random_stream(rng):
    """Log e-values with ties, some exactly on a threshold, some that count as nothing; and weights."""
    m = int(rng.integers(1, 40))
    weights = [np.full(m, 1 / m), rng.dirichlet(np.ones(m)), 6 / (np.pi**2 * np.arange(1, m + 1) ** 2)][
        rng.integers(3)
    ]
    weights = weights * (1 - 1e-9)
    log_e = rng.normal(2, 3, m).round(int(rng.integers(0, 3)))
    on = rng.random(m) < 0.3
    log_e[on] = -np.log(rng.integers(1, m + 1, on.sum()) * 0.1 * weights[on])
    log_e[rng.random(m) < 0.1] = -np.inf
    return log_e, weights


def test_k_star_and_levels_equal_the_definition_on_a_thousand_streams_with_ties():
    rng = np.random.default_rng(41)
    seen = set()
    for _ in range(1000):
        log_e, weights = random_stream(rng)
        k_star, levels = online_ebh(log_e, weights, 0.1)
        assert k_star == brute_force(log_e, weights, 0.1)
        np.testing.assert_array_equal(levels, np.minimum(max(k_star, 1) * 0.1 * weights, 0.1))
        decided = np.sum(rounded(log_e) >= log_threshold(levels))
        assert decided == k_star  # exactly k*: one more would have raised it
        seen.add(k_star)
    assert len(seen) > 15


def test_appending_hypotheses_never_undecides_one():
    rng = np.random.default_rng(42)
    for _ in range(1000):
        log_e, weights = random_stream(rng)
        m = int(rng.integers(1, len(log_e) + 1))
        k_before, levels_before = online_ebh(log_e[:m], weights[:m], 0.1)
        k_after, levels_after = online_ebh(log_e, weights, 0.1)
        assert k_after >= k_before
        decided_before = rounded(log_e[:m]) >= log_threshold(levels_before)
        assert (rounded(log_e[:m]) >= log_threshold(levels_after[:m]))[decided_before].all()


def test_the_order_of_hypotheses_does_not_matter():
    rng = np.random.default_rng(43)
    for _ in range(200):
        log_e, weights = random_stream(rng)
        order = rng.permutation(len(log_e))
        k_star, levels = online_ebh(log_e, weights, 0.1)
        k_shuffled, levels_shuffled = online_ebh(log_e[order], weights[order], 0.1)
        assert k_shuffled == k_star
        np.testing.assert_array_equal(levels_shuffled, levels[order])


def test_an_e_value_of_exactly_one_over_the_level_is_decided_whichever_way_its_log_rounds():
    for m in range(1, 200):
        k_star, _ = online_ebh([np.log(m / 0.05)], [1 / m], 0.05)
        assert k_star == 1


def test_nothing_registered_decides_nothing():
    k_star, levels = online_ebh([], [], 0.05)
    assert (k_star, len(levels)) == (0, 0)


def test_dependent_nulls_built_to_fail_together_keep_the_false_share_at_alpha():
    """The worst dependence for e-BH: all e-values reach their threshold at once, as rarely as e-values may."""
    m, alpha = 10, 0.1
    rng = np.random.default_rng(44)
    shares = []
    for _ in range(4000):
        k = int(rng.integers(1, m + 1))
        log_e = np.full(m, -np.inf)
        if rng.random() < alpha:  # the mean of each e-value is alpha * (k / m) * m / (k * alpha) = 1
            log_e[rng.choice(m, k, replace=False)] = np.log(m / (k * alpha))
        k_star, _ = online_ebh(log_e, np.full(m, 1 / m), alpha)
        shares.append(1.0 if k_star else 0.0)
    assert abs(np.mean(shares) - alpha) <= 3 * np.sqrt(alpha * (1 - alpha) / 4000)  # the bound is attained


@pytest.mark.parametrize(
    ("weights", "alpha", "field"),
    [
        ([0.6, 0.6], 0.05, "weights"),
        ([0.0, 0.5], 0.05, "weights"),
        ([0.5, 0.5], 0.0, "alpha"),
        ([0.5, 0.5], 1.0, "alpha"),
    ],
)
def test_a_budget_that_is_none_is_refused(weights, alpha, field):
    with pytest.raises(StatsError, match=f"{field}="):
        online_ebh([0.0, 0.0], weights, alpha)
