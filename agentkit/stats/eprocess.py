"""Evidence that may be read at any time: e-processes for a candidate value v of mu, in log space.

`log_k_plus(streams, v)` is the log of K+(v), a non-negative supermartingale that starts at 1 whenever mu <= v
(so P(K+ ever reaches 1/a) <= a, Ville's inequality). It falls with v. K-(v) is K+ of the mirrored streams.
Bets with fixed fractions as in Waudby-Smith & Ramdas (2024), Theorem 3.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from agentkit.stats.problems import refused

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]
    Bools = NDArray[np.bool_]

ENGINE_VERSION = "1"
"""Changes whenever a bet below, or anything else a stored log_e depends on, changes."""
BETS = np.array([0.01, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.95])
SHARP_SLOPES = np.array([0.03, 0.06, 0.125, 0.25, 0.5, 1.0, 2.0])
SHARP_STAKE = 0.999
SHARP_FREE_UNITS = 2
"""Units that only set the scale of the bets to come."""
CHUNK_BYTES = 2 * 2**20
"""Factors held at once: what fits into a core's cache is faster than one large array."""
MOST_RELATIVE = 1e30
"""Cap on (D - v)/(v - lo), reached only where v - lo is that small; a smaller win is as fair and stays finite."""
RANGE_SLACK = 1e-12
"""A D outside [lo, hi] by less than this share of max(|lo|, |hi|) is rounding of the sum that made it."""


@dataclass(frozen=True)
class Streams:
    """Differences of several hypotheses with one test; shorter ones are padded at the end.

    `values` (hypothesis, unit), already signs for `sign`; `ok` and `failed` (hypothesis, unit), both False where
    padded; `scale` (hypothesis, unit) is r_s for `sharp`, NaN where no bet is placed; `lo`, `hi` (hypothesis,).
    """

    test: str
    values: Floats
    ok: Bools
    failed: Bools
    scale: Floats | None
    lo: Floats
    hi: Floats

    def mirrored(self) -> Streams:
        """The same streams seen from the other side: D -> -D, so that K+(-v) of these is K-(v) of those."""
        return replace(self, values=-self.values, lo=-self.hi, hi=-self.lo)

    def with_mirror(self) -> Streams:
        """The streams followed by their mirror images."""
        both, other = np.concatenate, self.mirrored()
        return Streams(
            self.test,
            both([self.values, other.values]),
            both([self.ok, other.ok]),
            both([self.failed, other.failed]),
            None if self.scale is None else both([self.scale, self.scale]),
            both([self.lo, other.lo]),
            both([self.hi, other.hi]),
        )

    def __len__(self) -> int:
        return len(self.values)


def streams(
    test: str,
    differences: Sequence[ArrayLike],
    failed: Sequence[ArrayLike],
    lo: Sequence[float],
    hi: Sequence[float],
) -> Streams:
    """Streams from one array of D and one failed mask per hypothesis, both in unit order.

    What stands in D at a failed unit is ignored. Raises StatsError for NaN or infinity at an ok unit and for a
    `bounded_mean` value outside [lo, hi].
    """
    rows = [np.asarray(d, dtype=np.float64).ravel() for d in differences]
    masks = [np.asarray(f, dtype=np.bool_).ravel() for f in failed]
    shape = (len(rows), max((len(row) for row in rows), default=0))
    values, ok, bad = np.zeros(shape), np.zeros(shape, np.bool_), np.zeros(shape, np.bool_)
    scale = np.full(shape, np.nan) if test == "sharp" else None
    for i, (row, mask) in enumerate(zip(rows, masks, strict=True)):
        if len(row) != len(mask):
            raise refused("failed", len(mask), f"one entry per difference ({len(row)})")
        n = len(row)
        ok[i, :n], bad[i, :n] = ~mask, mask
        good = within(test, row[~mask], lo[i], hi[i])
        values[i, :n][~mask] = np.sign(good) if test == "sign" else good
        if scale is not None:
            scale[i, :n][~mask] = past_scale(good)
    return Streams(
        test, values, ok, bad, scale, np.array(lo, dtype=np.float64), np.array(hi, dtype=np.float64)
    )


def within(test: str, values: Floats, lo: float, hi: float) -> Floats:
    """The values, those off the range by rounding put on its end; raises StatsError for any other value outside."""
    if not np.isfinite(values).all():
        raise refused("differences", values[~np.isfinite(values)][0].item(), "finite numbers at ok units")
    if test != "bounded_mean":
        return values
    outside = beyond_range(values, lo, hi)
    if outside is not None:
        raise refused("differences", outside, f"numbers in [{lo:g}, {hi:g}]")
    return np.clip(values, lo, hi)


def beyond_range(values: Floats, lo: float, hi: float) -> float | None:
    """The first value outside [lo, hi] by more than rounding, or None."""
    slack = RANGE_SLACK * max(abs(lo), abs(hi))
    outside = values[(values < lo - slack) | (values > hi + slack)]
    return outside[0].item() if len(outside) else None


def past_scale(values: Floats) -> Floats:
    """r_s: standard deviation of the values before each one; NaN (no bet) for the first two. Welford's recurrence."""
    scale = np.full(len(values), np.nan)
    mean = total = 0.0
    for s, value in enumerate(values.tolist()):
        if s >= SHARP_FREE_UNITS:
            scale[s] = math.sqrt(total / (s - 1)) if total >= 0 else math.nan  # NaN after an overflow: no bet
        step = value - mean
        mean += step / (s + 1)
        total += step * (value - mean)
    scale[~np.isfinite(scale)] = np.nan
    return scale


def log_k_plus(data: Streams, v: ArrayLike) -> Floats:
    """Log K+(v), evidence that mu > v; `v` is (hypothesis,) or (hypothesis, candidate), and so is the answer.

    The range settles what it can: +inf for v < lo, and for v = lo as soon as one D lies above it.
    """
    candidates = np.asarray(v, dtype=np.float64)
    table = candidates.reshape(len(data), -1)
    out = np.empty(table.size)
    for part, hypothesis, value in _chunks(data, table):
        out[part] = _log_mean_exp(_log_factors(data, hypothesis, value).sum(axis=1))
    out = out.reshape(table.shape)
    lo = data.lo[:, None]
    seen_above = (data.ok & (data.values > lo)).any(axis=1, keepdims=True)
    out[(table < lo) | ((table == lo) & seen_above)] = np.inf
    return out.reshape(candidates.shape)


def log_k_minus(data: Streams, v: ArrayLike) -> Floats:
    """Log K-(v), evidence that mu < v; +inf for v > hi. Shapes as in `log_k_plus`."""
    return log_k_plus(data.mirrored(), -np.asarray(v, dtype=np.float64))


def log_tails(data: Streams, v: ArrayLike) -> tuple[Floats, Floats]:
    """Log of the evidence that mu > v and that mu < v, as decisions use them: the K of `netted`."""
    return netted(data.test, log_k_plus(data, v), log_k_minus(data, v))


def netted(test: str, plus: Floats, minus: Floats) -> tuple[Floats, Floats]:
    """Both tails after conflict: for `sharp` each K is divided by the other where that exceeds 1.

    The slopes of `sharp` may disagree so far that both tails grow (the shape changed, the centre did not move): then
    they cancel, and C(a) is never empty. For the other tests K+(v) > 1 needs a mean above v, so at most one tail grows.
    """
    if test != "sharp":
        return plus, minus
    return plus - np.maximum(minus, 0.0), minus - np.maximum(plus, 0.0)


def log_k_plus_path(data: Streams, v: ArrayLike) -> Floats:
    """Log K+(v) after each unit, (hypothesis, unit), for one candidate per hypothesis; +inf for v < lo."""
    table = np.asarray(v, dtype=np.float64).reshape(len(data), 1)
    path = np.empty(data.values.shape)
    for part, hypothesis, value in _chunks(data, table):
        path[part] = _log_mean_exp(np.cumsum(_log_factors(data, hypothesis, value), axis=1))
    path[table[:, 0] < data.lo] = np.inf
    return path


def log_tails_path(data: Streams, v: ArrayLike) -> tuple[Floats, Floats]:
    """`log_tails` after each unit, each (hypothesis, unit), for one candidate per hypothesis."""
    return netted(data.test, log_k_plus_path(data, v), log_k_minus_path(data, v))


def log_k_minus_path(data: Streams, v: ArrayLike) -> Floats:
    """Log K-(v) after each unit, (hypothesis, unit)."""
    return log_k_plus_path(data.mirrored(), -np.asarray(v, dtype=np.float64))


def _chunks(data: Streams, table: Floats) -> Iterator[tuple[slice, NDArray[np.intp], Floats]]:
    """Rows (hypothesis, candidate) of the table in slices whose factors fit into CHUNK_BYTES."""
    n_units = max(1, data.values.shape[1])
    size = max(1, CHUNK_BYTES // (8 * len(BETS) * n_units))
    hypothesis = np.repeat(np.arange(len(data)), table.shape[1])
    flat = table.ravel()
    for start in range(0, table.size, size):
        part = slice(start, start + size)
        yield part, hypothesis[part], flat[part]


def _log_factors(data: Streams, hypothesis: NDArray[np.intp], v: Floats) -> Floats:
    """Log of what each unit multiplies the wealth of each bet by, (row, unit, bet); 0 where no bet is placed."""
    away = data.values[hypothesis] - v[:, None]
    if data.scale is None:
        stakes = _relative(data, hypothesis, v, away)[:, :, None] * BETS
    else:
        stakes = _standard(away, data.scale[hypothesis])[:, :, None] * SHARP_SLOPES
        np.tanh(stakes, out=stakes)
        stakes *= SHARP_STAKE
    stakes += 1.0
    factors: Floats = np.log(stakes, out=stakes)  # np.log takes four numbers at a time, np.log1p one
    return factors


def _relative(data: Streams, hypothesis: NDArray[np.intp], v: Floats, away: Floats) -> Floats:
    """(D - v)/(v - lo): what a bet of 1 wins; -1 for a failed unit, 0 for padding."""
    gap = np.maximum(v - data.lo[hypothesis], 0.0)[:, None]
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        relative = np.where(away > -gap, away / gap, -1.0)
    # a failed unit loses the stake on both sides: the worst case, whatever made it fail
    relative = np.where(data.ok[hypothesis], relative, np.where(data.failed[hypothesis], -1.0, 0.0))
    return np.minimum(relative, MOST_RELATIVE)


def _standard(away: Floats, scale: Floats) -> Floats:
    """(D - v)/r, infinite with its sign where r = 0, and 0 where no bet is placed."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        standard = np.where(scale > 0, away / scale, np.copysign(np.inf, away))
    return np.where(np.isnan(scale) | (away == 0), 0.0, standard)


def _log_mean_exp(log_wealth: Floats) -> Floats:
    """Log of the mean over the bets (last axis)."""
    mean: Floats = np.logaddexp.reduce(log_wealth, axis=-1) - math.log(log_wealth.shape[-1])
    return mean
