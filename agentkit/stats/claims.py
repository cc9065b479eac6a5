"""What is claimed about a paired difference D, and which claims are well posed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agentkit.stats.problems import refused

if TYPE_CHECKING:
    from collections.abc import Mapping

TESTS = ("bounded_mean", "sign", "sharp")
DIRECTIONS = ("greater", "less", "two_sided", "equivalent")
INTERVALS = ("two_sided", "one_sided")
BASELINE = "baseline"
MOST_FAILED_SHARE = 0.05


@dataclass(frozen=True)
class Claim:
    """One claim about mu, as a hypothesis freezes it; `check` says whether it is well posed.

    `mu` is E[D] for `bounded_mean`, P(D>0)-P(D<0) for `sign`, the centre of symmetry of D for `sharp`;
    `null`, `sesoi`, `lo` and `hi` are in that unit (`sign`: lo=-1, hi=1; `sharp`: lo and hi may be infinite).
    """

    test: str
    direction: str
    null: float
    sesoi: float
    lo: float
    hi: float
    interval: str = "two_sided"
    invalid_if: float | None = None
    """None: failed units count as the worst case. q: as well, and more than a share q of them is `invalid`."""

    @property
    def theta(self) -> float:
        """Share of the error level that each tail may use."""
        return 1.0 if self.interval == "one_sided" else 0.5

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels this claim can earn, in the order in which they are looked for."""
        if self.interval == "one_sided":
            return ("supported",)
        if self.direction == "equivalent":
            return ("equivalent", "contradicted")
        decided = ("supported",) if self.direction == "two_sided" else ("supported", "contradicted")
        return decided if self.test == "sharp" or self.sesoi == 0 else ("equivalent", *decided)


def check(claim: Claim) -> None:
    """Raise StatsError, naming field, value and allowed set, unless the claim can be tested as it stands."""
    _check_names(claim)
    _check_range(claim)
    _check_null(claim)
    _check_sesoi(claim)
    if claim.invalid_if is not None and not 0 <= claim.invalid_if <= MOST_FAILED_SHARE:
        raise refused("invalid_if", claim.invalid_if, f"a share in [0, {MOST_FAILED_SHARE:g}]")


def _check_names(claim: Claim) -> None:
    for field, value, allowed in (
        ("test", claim.test, TESTS),
        ("direction", claim.direction, DIRECTIONS),
        ("interval", claim.interval, INTERVALS),
    ):
        if value not in allowed:
            raise refused(field, value, "one of " + ", ".join(allowed))
    if claim.direction == "equivalent" and claim.test == "sharp":
        raise refused("direction", claim.direction, "greater, less, two_sided for test 'sharp'")
    if claim.interval == "one_sided" and claim.direction not in ("greater", "less"):
        raise refused("direction", claim.direction, "greater, less for interval 'one_sided'")


def _check_range(claim: Claim) -> None:
    if claim.test == "sign" and (claim.lo, claim.hi) != (-1, 1):
        raise refused("lo, hi", (claim.lo, claim.hi), "(-1, 1) for test 'sign'")
    if claim.test == "bounded_mean" and not (math.isfinite(claim.lo) and math.isfinite(claim.hi)):
        raise refused("lo, hi", (claim.lo, claim.hi), "a finite range for test 'bounded_mean'")
    if not claim.lo < claim.hi:  # NaN lands here as well
        raise refused("lo, hi", (claim.lo, claim.hi), "lo < hi")


def _check_null(claim: Claim) -> None:
    if claim.direction == "equivalent":
        if claim.null != 0:
            raise refused("null", claim.null, "0 for direction 'equivalent', whose band lies around 0")
    elif claim.test == "sharp":
        # the design makes D symmetric about 0 when nothing changes; about any other value symmetry is a guess
        if claim.null != 0:
            raise refused("null", claim.null, "0 for test 'sharp'")
    elif not claim.lo < claim.null < claim.hi:
        raise refused("null", claim.null, f"a number inside ({claim.lo:g}, {claim.hi:g})")


def _check_sesoi(claim: Claim) -> None:
    if not (math.isfinite(claim.sesoi) and claim.sesoi >= 0):
        raise refused("sesoi", claim.sesoi, "a finite number >= 0")
    if claim.direction == "equivalent" and claim.sesoi == 0:
        raise refused("sesoi", claim.sesoi, "a number > 0 for direction 'equivalent'")
    if claim.direction == "equivalent" and not (-claim.sesoi < claim.hi and claim.sesoi > claim.lo):
        raise refused("sesoi", claim.sesoi, f"a band that reaches into [{claim.lo:g}, {claim.hi:g}]")
    if -claim.sesoi <= claim.lo and claim.sesoi >= claim.hi:
        raise refused(
            "sesoi", claim.sesoi, f"a band that leaves part of [{claim.lo:g}, {claim.hi:g}] outside"
        )


def check_contrast(coefficients: Mapping[str, float], test: str) -> None:
    """Raise StatsError unless the coefficients are a contrast that `test` can judge.

    `sharp` needs coefficients that are the same set after a change of sign: exchangeable arms make D symmetric
    only then (2, -1, -1 of three skewed arms is a skewed D although nothing changed).
    """
    values = list(coefficients.values())
    if len(values) < 2 or not all(math.isfinite(c) for c in values):
        raise refused("contrast", dict(coefficients), "at least two finite coefficients")
    largest = max(abs(c) for c in values)
    if largest == 0 or abs(math.fsum(values)) > 1e-9 * largest:
        raise refused("contrast", dict(coefficients), "coefficients, not all zero, that sum to 0")
    pairs = zip(sorted(values), sorted(-c for c in values), strict=True)
    if test == "sharp" and any(abs(c - mirrored) > 1e-9 * largest for c, mirrored in pairs):
        raise refused("contrast", dict(coefficients), "for test 'sharp' a set equal to its own negative")


def difference(coefficients: Mapping[str, float], values: Mapping[str, float]) -> float:
    """D of one unit: sum of coefficient * value over the conditions of the contrast, whatever their order.

    Raises:
        StatsError: when a condition of the contrast has no value.
    """
    absent = sorted(set(coefficients) - set(values))
    if absent:
        raise refused("values", sorted(values), "a value for each of " + ", ".join(absent))
    return math.fsum(coefficient * values[condition] for condition, coefficient in coefficients.items())


def difference_range(
    coefficients: Mapping[str, float], low: float, high: float, baseline: float | None = None
) -> tuple[float, float]:
    """Smallest and largest D = sum of coefficient * value when every value lies in [low, high].

    `baseline` is the constant the metric takes on the untouched target: in any contrast that contains the condition
    named "baseline" that condition then contributes exactly coefficient * baseline, and the range of D shrinks.
    """
    if not low < high:
        raise refused("low, high", (low, high), "low < high")
    if baseline is not None and not low <= baseline <= high:
        raise refused("baseline", baseline, f"a number in [{low:g}, {high:g}]")
    lowest, highest = [], []
    for condition, coefficient in coefficients.items():
        known = baseline is not None and condition == BASELINE
        ends = (baseline, baseline) if known else (low, high)
        products = [coefficient * end for end in ends if end is not None and coefficient != 0]
        if products:
            lowest.append(min(products))
            highest.append(max(products))
    return math.fsum(lowest), math.fsum(highest)
