import numpy as np
import pytest

from agentkit_input_noise import contrasts
from agentkit_input_noise.curve_fits import Crossing, Logistic, crossings, isotonic, logistic
from agentkit_input_noise.dose_response import describe

GRID = np.array([0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.6, 0.8])
TRUE = Logistic(top=0.95, bottom=0.1, centre=0.25, slope=2.5)


def pool_adjacent_violators(levels, weights):
    """The textbook loop, for a never-rising fit."""
    blocks = []
    for level, weight in zip(levels, weights, strict=True):
        blocks.append([level, weight, 1])
        while len(blocks) > 1 and blocks[-2][0] < blocks[-1][0]:
            b, a = blocks.pop(), blocks.pop()
            w = a[1] + b[1]
            blocks.append([(a[0] * a[1] + b[0] * b[1]) / w, w, a[2] + b[2]])
    return np.concatenate([[level] * n for level, _, n in blocks])


def test_isotonic_equals_pool_adjacent_violators():
    rng = np.random.default_rng(0)
    for _ in range(50):
        levels, weights = rng.normal(size=9), rng.uniform(0.1, 5, 9)
        assert isotonic(levels, weights) == pytest.approx(pool_adjacent_violators(levels, weights), abs=1e-12)


def test_isotonic_leaves_a_falling_curve_alone():
    levels = TRUE.at(GRID)
    assert isotonic(levels, np.ones(8)) == pytest.approx(levels, abs=1e-12)


def test_exact_logistic_data_give_centre_and_slope_back():
    fit = logistic(GRID, TRUE.at(GRID), np.ones(8))
    assert fit.centre == pytest.approx(TRUE.centre, rel=1e-6)
    assert fit.slope == pytest.approx(TRUE.slope, rel=1e-6)
    assert (fit.top, fit.bottom) == (pytest.approx(0.95, abs=1e-6), pytest.approx(0.1, abs=1e-6))


def test_the_logistic_needs_five_strengths():
    assert logistic(GRID[:4], TRUE.at(GRID[:4]), np.ones(4)) is None


def test_ed50_of_the_logistic_loses_half_of_baseline_minus_floor():
    strength = TRUE.crossing((0.95 + 0.2) / 2, GRID[1:]).strength
    assert TRUE.at(np.array([strength]))[0] == pytest.approx(0.575)


def test_a_crossing_is_linear_between_its_neighbours():
    fit = np.array([[1.0, 0.8, 0.2, 0.2]])
    at = crossings(fit, np.array([0.0, 0.1, 0.2, 0.4]), np.array([0.5]))
    assert at == pytest.approx([0.15])


@pytest.mark.parametrize(
    ("level", "expected"), [(0.96, Crossing(None, "<", 0.05)), (0.05, Crossing(None, ">", 0.8))]
)
def test_a_crossing_outside_the_grid_is_censored_and_has_no_number(level, expected):
    crossing = TRUE.crossing(level, GRID[1:])
    assert crossing == expected
    assert str(crossing) in ("< 0.05", "> 0.8")


def flat_units(level, units=20, noise=0.02):
    return level + noise * np.random.default_rng(1).normal(size=(units, len(GRID)))


def test_a_flat_curve_has_a_censored_ed50():
    curve = describe(GRID, flat_units(0.9), 0.1, rng=np.random.default_rng(2))
    assert (curve.ed50.strength, str(curve.ed50)) == (None, "> 0.8")
    assert [str(bound) for bound in curve.ed50_interval] == ["> 0.8", "> 0.8"]
    assert curve.area == pytest.approx(1, abs=0.02)


def test_a_curve_that_falls_at_once_has_an_ed50_below_the_grid():
    levels = flat_units(0.1)
    levels[:, 0] = 0.9
    assert str(describe(GRID, levels, 0.1, rng=np.random.default_rng(2)).ed50) == "< 0.05"


def test_no_ed50_without_a_range_to_lose():
    curve = describe(GRID, flat_units(0.1), 0.1, rng=np.random.default_rng(2))
    assert curve.ed50 is None
    assert curve.to_json()["why_no_ed50"] == "the baseline does not stand above the floor"


def test_a_curve_that_rises_again_is_flagged_and_has_no_ed50():
    levels = flat_units(0.9)
    levels[:, 2] = 0.3
    curve = describe(GRID, levels, 0.1, rng=np.random.default_rng(2))
    assert curve.non_monotone
    assert curve.to_json()["why_no_ed50"] == "the curve is not monotone"


def simulated(rng, units=20, items=30, spread=0.15):
    """Right or wrong answers around a curve whose centre differs from unit to unit."""
    centre = TRUE.centre * np.exp(spread * rng.normal(size=(units, 1)))
    p = TRUE.bottom + (TRUE.top - TRUE.bottom) / (1 + (GRID / centre) ** TRUE.slope)
    return (rng.random((units, items, 1)) < p[:, None, :]).mean(axis=1)


def test_the_bootstrap_interval_of_ed50_covers_the_truth():
    """95 % is asked for, from 20 units."""
    rng = np.random.default_rng(3)
    many = np.mean([simulated(rng) for _ in range(400)], axis=(0, 1))
    half = np.array([(many[0] + 0.1) / 2])
    truth = crossings(isotonic(many, np.ones(8))[None], GRID, half)[0]
    covered = 0
    for _ in range(400):
        curve = describe(GRID, simulated(rng), 0.1, rng=rng, draws=300, smooth=False)
        low, high = (bound.strength for bound in curve.ed50_interval)
        covered += low <= truth <= high
    assert 0.90 <= covered / 400 <= 0.99, covered


def test_items_inside_units_widen_the_interval_when_they_are_few():
    rng = np.random.default_rng(4)
    levels = (rng.random((12, 8, 10)) < TRUE.at(GRID)[None, :, None]).astype(float)
    by_unit = describe(GRID, levels.mean(axis=2), 0.1, rng=np.random.default_rng(5))
    by_item = describe(GRID, levels, 0.1, rng=np.random.default_rng(5))
    assert by_item.mean == pytest.approx(by_unit.mean)
    assert np.ptp(by_item.interval, axis=0)[2:6].mean() > np.ptp(by_unit.interval, axis=0)[2:6].mean()


def test_a_rising_metric_is_turned_back_after_the_fit():
    levels = flat_units(0.9)
    curve = describe(GRID, -levels, -1.0, rng=np.random.default_rng(2)).turned()
    assert curve.mean == pytest.approx(levels.mean(axis=0))
    assert curve.floor == 1
    assert (curve.interval[0] < curve.interval[1]).all()


STRENGTHS = GRID[1:].tolist()


def levels(centre, kind="typos"):
    curve = Logistic(0.95, 0.1, centre, 2.5)
    named = {f"{kind}={s:g}": float(curve.at(np.array([s]))[0]) for s in STRENGTHS}
    return {"baseline": 0.95, "chance": 0.1} | named


@pytest.mark.parametrize("strength", [0.2, 0.3])
def test_the_sign_of_the_ed50_contrast_says_on_which_side_the_ed50_lies(strength):
    """The true ED50 is 0.25: at 0.2 less than half is lost, at 0.3 more."""
    contrast = contrasts.ed50_below("typos", strength)
    assert (contrasts.value(contrast, levels(0.25)) < 0) == (strength > 0.25)


def test_coefficients_of_every_ready_made_contrast_sum_to_zero():
    both = levels(0.25) | levels(0.4, "delete")
    rows = contrasts.ready_made(
        ["typos", "delete"], STRENGTHS, "accuracy", 0, 1, both, controls={"typos": "delete"}
    )
    assert {r["claim"].split(" of ")[0].split(" beyond ")[0] for r in rows} >= {
        "trend",
        "ED50",
        "area",
        "typos=0.1",
    }
    for row in rows:
        assert sum(row["contrast"].values()) == pytest.approx(0, abs=1e-12)


def test_the_area_contrast_is_the_difference_of_trapezoid_means():
    both = levels(0.25) | levels(0.4, "delete")
    found = contrasts.value(contrasts.area_difference("typos", "delete", STRENGTHS), both)
    a, b = (Logistic(0.95, 0.1, centre, 2.5).at(GRID) for centre in (0.25, 0.4))
    assert found == pytest.approx(np.trapezoid(a - b, GRID) / 0.8)


def test_the_trend_contrast_is_negative_exactly_for_falling_levels():
    contrast = contrasts.trend("typos", STRENGTHS)
    assert contrasts.value(contrast, levels(0.25)) < 0
    assert contrasts.value(contrast, dict.fromkeys(contrast, 0.7)) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(("shift", "least"), [(-0.06, 134), (-0.14, 58)])
def test_the_least_number_of_units_is_that_of_the_betting_bound(shift, least):
    assert contrasts.units_needed({"a": 1, "baseline": -1}, shift, 0, 1) == least


def test_a_shift_that_points_away_costs_no_finite_number_of_units():
    assert contrasts.units_needed({"a": 1, "baseline": -1}, 0.1, 0, 1) is None
