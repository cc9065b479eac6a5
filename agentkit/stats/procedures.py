"""Rules that decide many hypotheses at once. The campaign's own rule is `online_ebh`; the rest are for comparison."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from agentkit.stats.intervals import log_threshold, rounded
from agentkit.stats.problems import refused

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]


def online_ebh(log_e: ArrayLike, weights: ArrayLike, alpha: float) -> tuple[int, Floats]:
    """k* and the level of every hypothesis: online e-BH (Fischer, Xu & Ramdas, arXiv 2407.20683).

    `log_e` holds the log e-value of each hypothesis (-inf: open or invalid), `weights` its share of the error
    budget, fixed before its data and summing to at most 1. Hypothesis i is decided iff log_e[i] reaches
    `log_threshold(levels[i])`; the expected share of false ones among the decided is at most alpha, whatever the
    dependence. With k = max(k*, 1) the level is k * alpha * weight, capped at alpha: with unequal weights it could
    pass alpha, even 1, and call supported what has no evidence of its own.

    Raises:
        StatsError: for alpha outside (0, 1), a weight that is not positive, or weights that sum to more than 1.
    """
    evidence, shares = rounded(log_e), np.asarray(weights, dtype=np.float64)
    check_weights(shares, alpha)
    if evidence.shape != shares.shape:
        raise refused("log_e", evidence.shape, f"one entry per weight ({shares.shape})")
    enough = np.sort(_smallest_k(evidence, shares, alpha))
    reached = np.flatnonzero(enough <= np.arange(1, len(enough) + 1))
    k_star = int(reached[-1]) + 1 if len(reached) else 0
    return k_star, levels_at(k_star, shares, alpha)


def levels_at(k: int, weights: Floats, alpha: float) -> Floats:
    """Level of each hypothesis when k are decided."""
    return np.minimum(max(k, 1) * alpha * weights, alpha)


def check_weights(weights: Floats, alpha: float) -> None:
    """Raise StatsError unless alpha and the weights are an error budget."""
    if not 0 < alpha < 1:
        raise refused("alpha", alpha, "a number in (0, 1)")
    if not (weights > 0).all():
        raise refused("weights", weights.tolist(), "positive numbers")
    if math.fsum(weights.tolist()) > 1 + 1e-12:
        raise refused("weights", math.fsum(weights.tolist()), "a sum of at most 1")


def _smallest_k(log_e: Floats, weights: Floats, alpha: float) -> Floats:
    """Smallest k at which each hypothesis would be decided; inf where none is (its level never passes alpha)."""
    possible = log_e >= log_threshold(alpha)
    with np.errstate(over="ignore"):
        guess = np.ceil(np.exp(-np.where(possible, log_e, 0.0)) / (alpha * weights))
    guess = np.maximum(guess, 1.0)
    for step in (-1.0, 1.0):  # the rounded comparison is the rule; the division above may be one off
        moved = np.maximum(guess + step, 1.0)
        reached_at_guess = log_e >= log_threshold(np.minimum(guess * alpha * weights, alpha))
        reached_at_moved = log_e >= log_threshold(np.minimum(moved * alpha * weights, alpha))
        move = reached_at_moved if step < 0 else ~reached_at_guess
        guess = np.where(move, moved, guess)
    return np.where(possible, guess, np.inf)
