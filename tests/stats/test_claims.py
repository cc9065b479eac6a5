"""What can be claimed, and the range of a contrast."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from agentkit.errors import StatsError
from agentkit.stats.claims import Claim, check, check_contrast, difference, difference_range

GOOD = Claim("bounded_mean", "greater", 0.0, 0.1, -1.0, 1.0)
SHARP = Claim("sharp", "greater", 0.0, 0.1, -np.inf, np.inf)
SIGN = Claim("sign", "less", 0.0, 0.1, -1.0, 1.0)


@pytest.mark.parametrize(
    "claim", [GOOD, SHARP, SIGN, replace(GOOD, null=-0.05, direction="less", lo=-2, hi=0)]
)
def test_a_well_posed_claim_passes(claim):
    check(claim)


@pytest.mark.parametrize(
    ("base", "change", "field"),
    [
        (GOOD, {"test": "t"}, "test"),
        (GOOD, {"direction": "up"}, "direction"),
        (GOOD, {"interval": "both"}, "interval"),
        (GOOD, {"null": 1.0}, "null"),
        (GOOD, {"null": float("nan")}, "null"),
        (GOOD, {"lo": -np.inf}, "lo, hi"),
        (GOOD, {"lo": 1.0, "hi": -1.0}, "lo, hi"),
        (GOOD, {"lo": float("nan")}, "lo, hi"),
        (GOOD, {"sesoi": -0.1}, "sesoi"),
        (GOOD, {"sesoi": np.inf}, "sesoi"),
        (GOOD, {"sesoi": 1.0}, "sesoi"),
        (GOOD, {"direction": "equivalent", "sesoi": 0.0}, "sesoi"),
        (GOOD, {"direction": "equivalent", "interval": "one_sided"}, "direction"),
        (GOOD, {"direction": "two_sided", "interval": "one_sided"}, "direction"),
        (GOOD, {"invalid_if": 0.06}, "invalid_if"),
        (GOOD, {"invalid_if": float("nan")}, "invalid_if"),
        (SIGN, {"hi": 2.0}, "lo, hi"),
        (SIGN, {"sesoi": 1.0}, "sesoi"),
        (SHARP, {"direction": "equivalent"}, "direction"),
        (SHARP, {"null": 0.1}, "null"),
        (GOOD, {"direction": "equivalent", "null": 0.05}, "null"),
        (GOOD, {"direction": "equivalent", "lo": -2.0, "hi": -1.0, "sesoi": 0.5}, "sesoi"),
    ],
)
def test_an_ill_posed_claim_is_refused_with_field_value_and_allowed_set(base, change, field):
    with pytest.raises(StatsError) as caught:
        check(replace(base, **change))
    message = str(caught.value)
    assert message.startswith(f"{field}=")
    assert "allowed is " in message


def test_the_range_of_a_plain_pair_is_minus_to_plus_the_width():
    assert difference_range({"a": 1, "baseline": -1}, -1, 1, None) == (-2, 2)
    assert difference_range({"a": 1, "b": -1}, 0, 1, None) == (-1, 1)


def test_a_known_baseline_makes_the_range_of_a_plain_pair_tight():
    assert difference_range({"a": 1, "baseline": -1}, -1, 1, 1) == (-2, 0)


def test_a_known_baseline_counts_exactly_in_every_contrast_that_contains_it():
    # dose response with centred ranks: the baseline is the lowest dose
    assert difference_range({"baseline": -1, "low": 0, "high": 1}, -1, 1, 1) == (-2, 0)
    assert difference_range({"baseline": 2, "a": -1, "b": -1}, 0, 1, 0.5) == (-1, 1)
    # two perturbed conditions: no baseline in it, nothing to gain
    assert difference_range({"a": 1, "b": -1}, -1, 1, 1) == (-2, 2)


def test_no_contrast_of_values_in_range_leaves_the_computed_range():
    rng = np.random.default_rng(0)
    for _ in range(200):
        weights = rng.normal(size=3)
        coefficients = dict(zip(("baseline", "a", "b"), weights - weights.mean(), strict=True))
        baseline = float(rng.uniform(-1, 2))
        lo, hi = difference_range(coefficients, -1, 2, baseline)
        corners = [
            coefficients["baseline"] * baseline + coefficients["a"] * a + coefficients["b"] * b
            for a, b in itertools.product((-1, 2), repeat=2)
        ]
        assert lo == pytest.approx(min(corners), abs=1e-12)
        assert hi == pytest.approx(max(corners), abs=1e-12)


def test_d_does_not_depend_on_the_order_of_the_conditions():
    values = {"a": 0.1, "b": 0.7, "c": 1e16, "baseline": 1e16}
    contrast = {"a": 1.0, "b": -1.0, "c": 1.0, "baseline": -1.0}
    found = {difference(dict(order), values) for order in itertools.permutations(contrast.items())}
    assert found == {0.1 - 0.7}


def test_a_contrast_needs_a_value_for_each_of_its_conditions():
    with pytest.raises(StatsError, match="a value for each of b"):
        difference({"a": 1, "b": -1}, {"a": 0.5, "baseline": 0.1})


def test_a_baseline_outside_the_metric_range_is_refused():
    with pytest.raises(StatsError, match="baseline=3"):
        difference_range({"a": 1, "baseline": -1}, -1, 1, 3)


@pytest.mark.parametrize(
    "bad", [{"a": 1}, {"a": 1, "b": -0.5}, {"a": 0, "b": 0}, {"a": np.inf, "b": -np.inf}]
)
def test_a_set_of_coefficients_that_is_no_contrast_is_refused(bad):
    with pytest.raises(StatsError, match="contrast="):
        check_contrast(bad, "bounded_mean")


def test_sharp_takes_only_contrasts_that_equal_their_own_negative():
    check_contrast({"a": 1, "baseline": -1}, "sharp")
    check_contrast({"baseline": -1.5, "a": -0.5, "b": 0.5, "c": 1.5}, "sharp")
    check_contrast({"a": 2, "b": -1, "baseline": -1}, "bounded_mean")
    with pytest.raises(StatsError, match="own negative"):
        check_contrast({"a": 2, "b": -1, "baseline": -1}, "sharp")
