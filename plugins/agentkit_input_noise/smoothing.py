"""Randomised smoothing: is the most likely class under Gaussian noise certain to win at a radius?

If class A wins with probability p > 1/2 under noise N(0, sigma^2), the smoothed classifier answers A
everywhere within L2 radius sigma * Phi^-1(p) (Cohen, Rosenfeld and Kolter, arXiv 1902.02918).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import special

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]

PRIOR = (4.0, 0.5)
"""Beta parameters of the bet on p, truncated to p > p0."""


def probability_at(radius: ArrayLike, sigma: float) -> Floats:
    """The probability that just certifies `radius`: Phi(radius / sigma)."""
    found: Floats = special.ndtr(np.asarray(radius, dtype=np.float64) / sigma)
    return found


def lower_bound(hits: ArrayLike, draws: ArrayLike, alpha: float) -> Floats:
    """Clopper-Pearson lower bound of p at level alpha: BetaInv(alpha; k, n - k + 1), 0 for no hit."""
    k, n = np.asarray(hits, dtype=np.float64), np.asarray(draws, dtype=np.float64)
    return np.where(k > 0, special.betaincinv(np.maximum(k, 1), n - k + 1, alpha), 0.0)


def upper_bound(hits: ArrayLike, draws: ArrayLike, alpha: float) -> Floats:
    """Clopper-Pearson upper bound of p at level alpha: BetaInv(1 - alpha; k + 1, n - k), 1 for no miss."""
    k, n = np.asarray(hits, dtype=np.float64), np.asarray(draws, dtype=np.float64)
    return np.where(k < n, special.betaincinv(k + 1, np.maximum(n - k, 1), 1 - alpha), 1.0)


def fixed_radius(hits: ArrayLike, draws: int, sigma: float, alpha: float) -> Floats:
    """Cohen's radius from k hits in n fresh draws; 0 where the bound on p is not above 1/2 (abstain)."""
    bound = lower_bound(hits, draws, alpha)
    return np.where(bound > 0.5, sigma * special.ndtri(np.maximum(bound, 0.5)), 0.0)


def largest_fixed_radius(draws: int, sigma: float, alpha: float) -> float:
    """What n draws that all agree certify: sigma * Phi^-1(alpha^(1/n))."""
    return float(sigma * special.ndtri(alpha ** (1 / draws)))


def log_evidence(hits: ArrayLike, draws: ArrayLike, p0: ArrayLike) -> Floats:
    """Log of the anytime-valid evidence against p <= p0 after k hits in t draws.

    The likelihood ratio of p0, averaged over a Beta(4, 1/2) prior that is truncated to p > p0 (arXiv
    2406.17830, 2606.27694). Each ratio with p1 > p0 is a supermartingale for every true p <= p0, and so is
    the average: whatever the truth in the null, it ever reaches 1/alpha with probability at most alpha.
    """
    k, t = np.asarray(hits, dtype=np.float64), np.asarray(draws, dtype=np.float64)
    p0 = np.asarray(p0, dtype=np.float64)
    a, b = PRIOR
    with np.errstate(divide="ignore", invalid="ignore"):
        posterior = special.betaln(k + a, t - k + b) + np.log(special.betaincc(k + a, t - k + b, p0))
        prior = special.betaln(a, b) + np.log(special.betaincc(a, b, p0))
        null = special.xlogy(k, p0) + special.xlog1py(t - k, -p0)
        found: Floats = posterior - np.where(p0 < 1, prior, np.inf) - null
    return found


def largest_sequential_radius(cap: int, sigma: float, alpha: float) -> float:
    """The largest radius that `cap` draws that all agree can certify (bisection)."""
    low, high = 0.0, 8.0 * sigma
    for _ in range(60):
        middle = (low + high) / 2
        reached = log_evidence(cap, cap, probability_at(middle, sigma)) >= -np.log(alpha)
        low, high = (middle, high) if reached else (low, middle)
    return low
