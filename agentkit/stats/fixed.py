"""Tests and intervals for a number of units fixed in advance: exploration and plots, never a verdict.

All of them resample with the generator they are given; p-values count the observed arrangement, so none is 0.
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from agentkit.stats.problems import refused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]

RESAMPLES = 9999
SCAN_RESAMPLES = 1999
CELLS_AT_ONCE = 4_000_000
TIE = 1e-12
"""Relative distance below which two sums of the same numbers, added in another order, are equal."""


class Scan(NamedTuple):
    """A family of sites searched at once: `p_values` hold for the whole family (FWER)."""

    p_values: Floats
    statistics: Floats


def sign_flip_p(
    differences: ArrayLike,
    rng: np.random.Generator,
    *,
    alternative: str = "two_sided",
    resamples: int = RESAMPLES,
) -> float:
    """p-value of "D is symmetric about 0" by flipping signs; `alternative` greater, less or two_sided.

    Exact over all 2^n flips when those are fewer than `resamples`, else (1 + #{T* >= T}) / (resamples + 1).
    """
    d = _finite(differences)
    if alternative not in ("greater", "less", "two_sided"):
        raise refused("alternative", alternative, "one of greater, less, two_sided")
    d = -d if alternative == "less" else d
    two_sided = alternative == "two_sided"
    observed = abs(d.sum()) if two_sided else d.sum()
    bound = observed - TIE * np.abs(d).sum()
    count = total = 0
    exact = 2**d.size <= resamples
    for signs in _all_signs(d.size) if exact else _random_signs(d.size, resamples, rng):
        sums = signs @ d
        count += int(np.sum((np.abs(sums) if two_sided else sums) >= bound))
        total += len(signs)
    return count / total if exact else (1 + count) / (total + 1)


def tost_p(
    differences: ArrayLike, sesoi: float, rng: np.random.Generator, *, resamples: int = RESAMPLES
) -> float:
    """p-value of "the effect is not within (-sesoi, sesoi)": the larger of two one-sided sign-flip tests."""
    if not sesoi > 0:
        raise refused("sesoi", sesoi, "a number > 0")
    d = _finite(differences)
    above_low = sign_flip_p(d + sesoi, rng, alternative="greater", resamples=resamples)
    below_high = sign_flip_p(sesoi - d, rng, alternative="greater", resamples=resamples)
    return max(above_low, below_high)


def _row_means(rows: Floats) -> Floats:
    means: Floats = rows.mean(axis=-1)
    return means


def bca_interval(
    differences: ArrayLike,
    rng: np.random.Generator,
    *,
    level: float = 0.05,
    statistic: Callable[[Floats], Floats] = _row_means,
    resamples: int = RESAMPLES,
) -> tuple[float, float]:
    """Bias-corrected accelerated bootstrap interval of coverage 1 - level (Efron 1987).

    `statistic` maps rows of resampled units (resample, unit) to one number each; the mean unless said.
    """
    d = _finite(differences)
    if not 0 < level < 1:
        raise refused("level", level, "a number in (0, 1)")
    size = max(1, CELLS_AT_ONCE // d.size)
    sizes = [min(size, resamples - start) for start in range(0, resamples, size)]
    boot = np.sort(np.concatenate([statistic(rng.choice(d, (count, d.size))) for count in sizes]))
    point = float(statistic(d[None])[0])
    if boot[0] == boot[-1]:
        return float(boot[0]), float(boot[-1])
    below = (np.sum(boot < point) + np.sum(boot == point) / 2) / resamples
    normal = NormalDist()
    bias = normal.inv_cdf(min(max(float(below), 0.5 / resamples), 1 - 0.5 / resamples))
    acceleration = _acceleration(d, statistic)

    def share(tail: float) -> float:
        z = bias + normal.inv_cdf(tail)
        return normal.cdf(bias + z / max(1 - acceleration * z, TIE))

    low, high = np.quantile(boot, [share(level / 2), share(1 - level / 2)])
    return float(low), float(high)


def _acceleration(d: Floats, statistic: Callable[[Floats], Floats]) -> float:
    """Skewness of the jackknife values over 6."""
    if d.size < 2:
        return 0.0
    left_out = np.array([float(statistic(np.delete(d, i)[None])[0]) for i in range(d.size)])
    away = left_out.mean() - left_out
    spread = float(np.sum(away**2))
    return float(np.sum(away**3)) / (6 * spread**1.5) if spread > 0 else 0.0


def page_trend_p(values: ArrayLike, rng: np.random.Generator, *, resamples: int = RESAMPLES) -> float:
    """p-value of "no order among the conditions" against a rise along them (Page 1963).

    `values` is (unit, condition) with conditions in their expected order, e.g. by dose. L = sum of position * rank
    sum, ranks within units with ties shared; permuted within units.
    """
    table = _finite(values)
    if table.ndim != 2 or table.shape[1] < 2:
        raise refused("values", table.shape, "a table (unit, condition) with at least two conditions")
    ranks = _ranks_within_units(table)
    position = np.arange(1.0, table.shape[1] + 1)
    bound = float((ranks @ position).sum()) * (1 - TIE)
    size = max(1, CELLS_AT_ONCE // table.size)
    count = 0
    for start in range(0, resamples, size):
        shape = (min(size, resamples - start), *ranks.shape)
        shuffled = rng.permuted(np.broadcast_to(ranks, shape), axis=2)
        count += int(np.sum((shuffled @ position).sum(axis=1) >= bound))
    return (1 + count) / (resamples + 1)


def _ranks_within_units(table: Floats) -> Floats:
    """Ranks 1..k of each row, tied values sharing their mean rank."""
    below = (table[:, :, None] > table[:, None, :]).sum(axis=2)
    tied = (table[:, :, None] == table[:, None, :]).sum(axis=2)
    ranks: Floats = below + (tied + 1) / 2
    return ranks


def max_t(differences: ArrayLike, rng: np.random.Generator, *, resamples: int = SCAN_RESAMPLES) -> Scan:
    """Which of many sites (heads, genes) move: Westfall-Young maxT by joint sign flips over units.

    `differences` is (unit, site). A flip turns all sites of a unit together, so the dependence between sites is kept.
    T is the one-sample t statistic; p_j = (1 + #{max |T*| >= |T_j|}) / (resamples + 1). A chosen site is then a new
    hypothesis on fresh seeds, never a finding of this scan.
    """
    table = _finite(differences)
    n = len(table)
    if table.ndim != 2 or n < 2 or table.shape[1] < 1:
        raise refused("differences", table.shape, "a table (unit, site) with at least two units and one site")
    length = np.sqrt(np.sum(table**2, axis=0))
    # |t| rises with |sum of D / length|, and a flip does not change the length: no t has to be recomputed
    unit_length = table / np.where(length > 0, length, 1.0)
    observed = np.abs(unit_length.sum(axis=0))
    counts = np.zeros(table.shape[1])
    for signs in _random_signs(n, resamples, rng, cells_per_row=table.shape[1]):
        largest = np.abs(signs @ unit_length).max(axis=1)
        counts += (largest[:, None] >= observed * (1 - TIE)).sum(axis=0)
    return Scan((1 + counts) / (resamples + 1), _t_statistics(table))


def _t_statistics(table: Floats) -> Floats:
    """One-sample t of each column; 0 where the mean is 0, infinite where there is a mean and no spread."""
    mean, error = table.mean(axis=0), table.std(axis=0, ddof=1) / math.sqrt(len(table))
    with np.errstate(divide="ignore", invalid="ignore"):
        t: Floats = np.where(mean == 0, 0.0, mean / error)
    return t


def _all_signs(n: int) -> Iterator[Floats]:
    """All 2^n rows of n signs."""
    yield _signs((np.arange(2**n)[:, None] >> np.arange(n)) & 1)


def _random_signs(
    n: int, count: int, rng: np.random.Generator, *, cells_per_row: int = 1
) -> Iterator[Floats]:
    """`count` rows of n random signs, in pieces."""
    size = max(1, CELLS_AT_ONCE // max(n, cells_per_row))
    for start in range(0, count, size):
        yield _signs(rng.integers(0, 2, (min(size, count - start), n)))


def _signs(bits: NDArray[np.int64]) -> Floats:
    return np.where(bits, -1.0, 1.0).astype(np.float64)


def _finite(values: ArrayLike) -> Floats:
    array = np.asarray(values, dtype=np.float64)
    if not array.size or not np.isfinite(array).all():
        raise refused(
            "differences",
            array.tolist() if array.size < 10 else array.shape,
            "at least one number, all finite",
        )
    return array
