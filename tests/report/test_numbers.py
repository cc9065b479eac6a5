from __future__ import annotations

import math

import numpy as np
import pytest

from agentkit.report.numbers import decimals_for, fixed, interval, number


def _ends(text: str) -> tuple[float, float]:
    lo, hi = text.strip("[]").replace("−", "-").split(", ")
    return float(lo), float(hi)


def test_a_printed_interval_always_covers_the_true_one():
    rng = np.random.default_rng(3)
    for lo, width, decimals in zip(
        rng.normal(size=500), rng.exponential(size=500), rng.integers(0, 6, 500), strict=True
    ):
        printed = _ends(interval(lo, lo + width, int(decimals)))
        assert printed[0] <= lo and printed[1] >= lo + width


@pytest.mark.parametrize(
    ("lo", "hi"), [(-0.3, -0.00004), (0.00004, 0.3), (-0.0199996, 0.019), (0.020001, 0.4)]
)
def test_rounding_never_moves_an_end_across_or_onto_the_null_or_the_band(lo, hi):
    printed = _ends(interval(lo, hi, 2, (0.0, -0.02, 0.02)))
    for mark in (0.0, -0.02, 0.02):
        assert np.sign(printed[0] - mark) == np.sign(lo - mark)
        assert np.sign(printed[1] - mark) == np.sign(hi - mark)


def test_an_end_that_is_stored_as_a_short_decimal_is_printed_as_it_is():
    assert interval(-0.1, 0.3, 2) == "[−0.10, 0.30]"  # 0.3 is below 3/10 in binary, 0.1 above 1/10


def test_an_unbounded_end_is_infinite():
    assert interval(None, 0.5, 1) == "[−∞, 0.5]"
    assert interval(-0.5, None, 1) == "[−0.5, ∞]"


def test_minus_is_a_minus_sign_and_zero_has_none():
    assert fixed(-0.0561, 3) == "−0.056"
    assert fixed(-0.0001, 2) == "0.00"
    assert number(-1e-7) == "−1e-7"
    assert "-" not in fixed(-12.5, 1) + number(-0.25)


def test_numbers_keep_three_significant_digits_and_no_trailing_zeros():
    assert [number(x) for x in (0.05, 1.0, 1234.5, 0.00012345, 0.0)] == [
        "0.05",
        "1",
        "1.23e3",
        "0.000123",
        "0",
    ]
    assert number(None) == fixed(None, 3) == "–"
    assert number(math.inf) == "∞"


def test_decimals_show_two_digits_of_the_spread():
    assert [decimals_for(s) for s in (0.0055, 0.012, 0.5, 7.0, 250.0)] == [4, 3, 2, 1, 0]
    assert decimals_for(0.0) == decimals_for(math.nan) == 3
