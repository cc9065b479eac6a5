"""The time-uniform interval C(a): every v that neither tail has rejected at level a."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from agentkit.stats.eprocess import SHARP_STAKE, log_tails

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike, NDArray

    from agentkit.stats.eprocess import Streams

    Floats = NDArray[np.float64]

DECIMALS = 9
HALVINGS = 60


def rounded(log_values: ArrayLike) -> Floats:
    """Logs as they are stored and compared, so that the last bits of a machine's log1p do not decide a label."""
    logs: Floats = np.asarray(log_values, dtype=np.float64)
    return logs.round(DECIMALS)


def log_threshold(level: ArrayLike) -> Floats:
    """log(1/level), rounded like the evidence it is compared with."""
    return rounded(-np.log(np.asarray(level, dtype=np.float64)))


def lower_ends(data: Streams, theta: ArrayLike, level: ArrayLike) -> Floats:
    """L(a) per hypothesis: the largest v with theta * evidence above v >= 1/a, or lo. `theta` and `level` in (0, 1).

    By monotonicity one bisection each; the answer is the rejected end of its bracket, so C(a) is never too short.
    """
    needed, log_theta = log_threshold(level), np.log(np.asarray(theta, dtype=np.float64))

    def rejects(v: Floats) -> NDArray[np.bool_]:
        return rounded(log_theta + log_tails(data, v)[0]) >= needed

    above = np.max(data.values, axis=1, where=data.ok, initial=-np.inf)  # every bet loses at v >= max D
    has_units = data.ok.any(axis=1)
    above = np.where(has_units, above, data.lo)
    below = np.where(has_units, data.lo, above)
    open_ended = np.isneginf(below) & has_units
    if open_ended.any():
        below = np.where(open_ended, _reach(data, rejects, above, log_theta, needed), below)
    bounded = np.isfinite(below)
    below, above = np.where(bounded, below, 0.0), np.where(bounded, above, 0.0)
    for _ in range(HALVINGS):
        middle = below + (above - below) / 2
        rejected = rejects(middle)
        below, above = np.where(rejected, middle, below), np.where(rejected, above, middle)
    return np.where(bounded, below, -np.inf)


def _reach(
    data: Streams,
    rejects: Callable[[Floats], NDArray[np.bool_]],
    above: Floats,
    log_theta: Floats,
    needed: Floats,
) -> Floats:
    """A rejected v per hypothesis of `sharp` without a range, -inf where even v -> -inf is not rejected."""
    n_bets = np.zeros(len(data)) if data.scale is None else np.sum(~np.isnan(data.scale), axis=1)
    most = log_theta + n_bets * np.log1p(SHARP_STAKE)
    hopeless = most < needed
    smallest = np.min(data.values, axis=1, where=data.ok, initial=np.inf)
    step = np.where(above > smallest, above - smallest, np.maximum(np.abs(above), 1.0))
    found = np.full(len(data), -np.inf)
    for _ in range(HALVINGS):
        v = np.where(np.isfinite(smallest), smallest, 0.0) - step
        found = np.where(np.isneginf(found) & ~hopeless & rejects(v), v, found)
        step = 2 * step
    return found


def anytime_intervals(data: Streams, theta: ArrayLike, level: ArrayLike) -> tuple[Floats, Floats]:
    """C(a) = [L, U] per hypothesis, valid at every stopping time at once, not intersected over time."""
    both = data.with_mirror()
    sides = [np.tile(np.broadcast_to(np.asarray(x, dtype=np.float64), len(data)), 2) for x in (theta, level)]
    lower, mirrored = np.split(lower_ends(both, *sides), 2)
    return lower, -mirrored
