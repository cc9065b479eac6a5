"""Plans: the first guess, the smallest visible effect, and the power of simulated paths."""

from dataclasses import replace

import numpy as np
import pytest

from agentkit.errors import StatsError
from agentkit.stats.claims import Claim
from agentkit.stats.planning import first_guess, largest_sd, log_needed, simulated_plan, smallest_effect

BOUNDED = Claim("bounded_mean", "greater", 0.0, 0.1, -1.0, 1.0)
SHARP = Claim("sharp", "greater", 0.0, 0.1, -np.inf, np.inf)
NEEDED = log_needed(BOUNDED, 0.05, 1 / 100)


def plan(claim, effect, sd, seed=51, max_units=200, needed=NEEDED, pool=200, **changed):
    explore = np.random.default_rng(seed).normal(0, sd, pool)
    settings = {"mu": effect, "needed": needed, "max_units": max_units, "batch_units": 20} | changed
    return simulated_plan(
        claim, explore, np.zeros(pool, bool), rng=np.random.default_rng(seed + 1), **settings
    )


def test_the_threshold_of_a_claim_in_a_campaign_of_a_hundred_is_four_thousand():
    assert np.exp(NEEDED) == pytest.approx(4000)
    assert np.exp(log_needed(replace(BOUNDED, interval="one_sided"), 0.05, 1 / 100)) == pytest.approx(2000)


def test_the_first_guess_is_the_larger_of_noise_and_the_price_of_the_range():
    assert first_guess(BOUNDED, 0.1, 0.5, NEEDED) == pytest.approx(2 * NEEDED * 25)
    assert first_guess(BOUNDED, 0.1, 0.0, NEEDED) == pytest.approx(NEEDED / np.log1p(0.095))
    assert first_guess(BOUNDED, -0.1, 0.5, NEEDED) == np.inf


def test_no_noise_free_claim_is_decided_sooner_than_the_price_of_its_range():
    for effect in (0.05, 0.3, 1.0):
        guess = first_guess(BOUNDED, effect, 0.0, NEEDED)
        decided = plan(BOUNDED, effect, 0.0, max_units=400, batch_units=1).median_units
        assert guess <= decided <= 1.5 * guess + 2  # the even share of ten bets costs log(10) at most
    claim = replace(SHARP, direction="less")
    guess = first_guess(claim, -0.1, 0.0, NEEDED)
    assert guess <= plan(claim, -0.1, 0.0, batch_units=1).median_units <= 1.1 * guess + 2


@pytest.mark.parametrize("direction", ["greater", "less", "two_sided"])
@pytest.mark.parametrize(
    ("test", "lo", "hi"), [("bounded_mean", -2, 0.5), ("sign", -1, 1), ("sharp", -np.inf, np.inf)]
)
def test_the_smallest_effect_is_the_one_guessed_to_take_all_units(test, lo, hi, direction):
    for sd in (0.01, 0.1, 0.4):
        claim = Claim(test, direction, 0.0, 0.1, lo, hi)
        effect = smallest_effect(claim, 200, sd, NEEDED)
        above, below = (first_guess(claim, side * effect, sd, NEEDED) for side in (1, -1))
        guess = {"greater": above, "less": below, "two_sided": max(above, below)}[direction]
        assert guess == pytest.approx(200)


@pytest.mark.parametrize("sesoi", [0.05, 0.2, 0.45, 0.6])
def test_a_band_is_wide_enough_exactly_when_the_smallest_effect_is_within_it(sesoi):
    claim = Claim("bounded_mean", "equivalent", 0.0, sesoi, -2, 0.5)
    for sd in (0.0, 0.1, 0.4):
        affordable = first_guess(claim, 0.0, sd, NEEDED) <= 200
        assert (smallest_effect(claim, 200, sd, NEEDED) <= sesoi) == affordable


def test_too_few_units_for_the_stake_of_sharp_see_nothing():
    assert smallest_effect(SHARP, 10, 1.0, NEEDED) == np.inf
    assert smallest_effect(SHARP, 15, 1.0, NEEDED) < np.inf


def test_a_tight_range_is_cheaper_than_a_loose_one():
    loose, tight = BOUNDED, replace(BOUNDED, lo=-0.3)
    assert smallest_effect(tight, 200, 0.05, NEEDED) < smallest_effect(loose, 200, 0.05, NEEDED)
    assert plan(tight, 0.1, 0.05).median_units < plan(loose, 0.1, 0.05).median_units


def test_largest_sd_is_half_the_range():
    assert largest_sd(BOUNDED) == 1.0
    assert largest_sd(SHARP) == np.inf


def test_measured_need_is_between_one_and_two_and_a_half_times_the_first_guess():
    for effect in (0.5, 0.8):
        guess = first_guess(SHARP, effect, 1.0, NEEDED)
        decided = plan(SHARP, effect, 1.0, batch_units=1, max_units=400)
        assert decided.share_decided > 0.99
        assert 1.0 <= decided.mean_units / guess <= 2.5


def test_a_plan_is_the_same_for_the_same_generator_and_bounded_by_max_units():
    first, second = plan(BOUNDED, 0.1, 0.15), plan(BOUNDED, 0.1, 0.15)
    assert first == second
    assert first.median_units <= 200
    assert 0 < first.share_decided < 1


def test_an_effect_on_the_null_is_decided_by_equivalence_only():
    assert plan(BOUNDED, 0.0, 0.05, max_units=400).share_decided > 0.9
    assert plan(replace(BOUNDED, sesoi=0.0), 0.0, 0.05, max_units=400).share_decided < 0.02


def test_failing_explore_units_make_the_plan_longer():
    explore, failed = np.full(100, 0.0), np.arange(100) < 10
    settings = {"mu": 0.4, "needed": NEEDED, "max_units": 200, "batch_units": 1}
    with_failures = simulated_plan(BOUNDED, explore, failed, rng=np.random.default_rng(1), **settings)
    without = simulated_plan(BOUNDED, explore, failed & False, rng=np.random.default_rng(1), **settings)
    assert with_failures.mean_units > 1.1 * without.mean_units


def test_signs_are_drawn_with_the_effect_as_their_mean_and_the_ties_that_were_seen():
    claim = Claim("sign", "greater", 0.0, 0.1, -1.0, 1.0)
    explore = np.r_[np.zeros(50), np.ones(50)]
    weak = simulated_plan(
        claim,
        explore,
        np.zeros(100, bool),
        mu=0.5,
        needed=NEEDED,
        max_units=200,
        batch_units=1,
        rng=np.random.default_rng(2),
    )
    no_ties = simulated_plan(
        claim,
        explore[50:],
        np.zeros(50, bool),
        mu=0.5,
        needed=NEEDED,
        max_units=200,
        batch_units=1,
        rng=np.random.default_rng(2),
    )
    assert weak.mean_units < no_ties.mean_units  # no losses: half ties, half wins


def test_a_pool_without_an_ok_unit_is_refused():
    with pytest.raises(StatsError, match="differences="):
        simulated_plan(
            BOUNDED,
            [np.nan],
            [True],
            mu=0.1,
            needed=NEEDED,
            max_units=10,
            batch_units=5,
            rng=np.random.default_rng(0),
        )


def test_the_power_table_of_the_design_is_reproduced():
    sharp = [plan(SHARP, d, 1.0, pool=20_000) for d in (0.3, 0.5, 0.8, 1.2)]
    bounded = [plan(replace(BOUNDED, sesoi=0.0), 0.15 * d, 0.15, pool=20_000) for d in (0.3, 0.5, 0.8, 1.2)]
    assert [p.share_decided for p in sharp] == pytest.approx([0.34, 0.99, 1, 1], abs=0.08)
    assert [p.mean_units for p in sharp] == pytest.approx([186, 108, 55, 36], rel=0.06)
    assert [p.share_decided for p in bounded] == pytest.approx([0.03, 0.81, 1, 1], abs=0.08)
    assert [p.mean_units for p in bounded] == pytest.approx([200, 179, 115, 80], rel=0.06)
