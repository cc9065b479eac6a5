"""Rules that decide many hypotheses at once.

The campaign's rule is `online_ebh`. The p-value rules are for fixed-n analyses and comparisons only: a p-value that
was peeked at, or taken from reused data, breaks every one of them.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from agentkit.stats.intervals import log_threshold, rounded
from agentkit.stats.problems import refused

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]
    Bools = NDArray[np.bool_]

SAFFRON_LAMBDA = 0.5
ADDIS_TAU, ADDIS_LAMBDA = 0.5, 0.25


class Decisions(NamedTuple):
    """What an online rule did: which hypotheses it rejected, and the level each was tested at."""

    rejected: Bools
    levels: Floats


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
    _check_alpha(alpha)
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


def e_bh(log_e: ArrayLike, alpha: float) -> Bools:
    """Rejections of e-BH on a finished family: the k largest, k = max{k : k e_(k) / m >= 1/alpha}. Any dependence."""
    evidence = np.asarray(log_e, dtype=np.float64)
    if not evidence.size:
        return np.zeros(0, np.bool_)
    _, levels = online_ebh(evidence, np.full(evidence.shape, 1 / evidence.size), alpha)
    rejected: Bools = rounded(evidence) >= log_threshold(levels)
    return rejected


def e_lond(log_e: ArrayLike, weights: ArrayLike, alpha: float) -> Decisions:
    """e-LOND: reject iff e_t >= 1/(alpha w_t (R+1)), R the rejections so far. Any dependence (Xu & Ramdas 2024)."""
    evidence, shares = np.asarray(log_e, dtype=np.float64), np.asarray(weights, dtype=np.float64)
    check_weights(shares, alpha)
    if evidence.shape != shares.shape:
        raise refused("log_e", evidence.shape, f"one entry per weight ({shares.shape})")
    log_rewards = -np.log(alpha * shares) - evidence  # rejected iff log(R + 1) reaches it
    factor, log_factor, factors, rejected = 1, 0.0, [], []
    for needed in log_rewards.tolist():
        factors.append(factor)
        rejected.append(log_factor >= needed)
        if rejected[-1]:
            factor += 1
            log_factor = math.log(factor)
    return Decisions(np.array(rejected, np.bool_), alpha * shares * np.array(factors, np.float64))


def log_e_from_p(p_values: ArrayLike, kappa: float = 0.5) -> Floats:
    """Log e-value kappa * p^(kappa - 1) of each p-value, 0 < kappa < 1."""
    if not 0 < kappa < 1:
        raise refused("kappa", kappa, "a number in (0, 1)")
    with np.errstate(divide="ignore"):
        log_e: Floats = math.log(kappa) + (kappa - 1) * np.log(_checked_p(p_values))
    return log_e


def mean_log_e(log_e: ArrayLike) -> float:
    """Log of the mean of e-values of one claim: an e-value whatever their dependence (a product need not be one)."""
    values = np.asarray(log_e, dtype=np.float64)
    return float(np.logaddexp.reduce(values) - math.log(values.size))


def lord_weights(n: int) -> Floats:
    """g_1 .. g_n of LORD: .0772 ln(max(j, 2)) / (j e^sqrt(ln j)), summing to at most 1 (Javanmard & Montanari 2018)."""
    j = np.arange(1, n + 1, dtype=np.float64)
    weights: Floats = 0.07720838 * np.log(np.maximum(j, 2)) / (j * np.exp(np.sqrt(np.log(j))))
    return weights


def saffron_weights(n: int) -> Floats:
    """g_1 .. g_n of SAFFRON and ADDIS: proportional to j^-1.6, summing to at most 1."""
    weights: Floats = 0.4374901658 * np.arange(1, n + 1, dtype=np.float64) ** -1.6
    return weights


def lord_plus_plus(p_values: ArrayLike, alpha: float) -> Decisions:
    """LORD++: FDR under independence (Ramdas, Yang, Wainwright & Jordan 2017)."""
    p = _checked_p(p_values)
    return _invest(p, lord_weights(p.size + 1), alpha, np.ones(p.size, np.bool_), factor=1.0, cap=1.0)


def saffron(p_values: ArrayLike, alpha: float) -> Decisions:
    """SAFFRON, lambda .5: FDR under independence (Ramdas, Zrnic, Wainwright & Jordan 2018)."""
    p = _checked_p(p_values)
    lam = SAFFRON_LAMBDA
    return _invest(p, saffron_weights(p.size + 1), alpha, p > lam, factor=1 - lam, cap=lam)


def addis(p_values: ArrayLike, alpha: float) -> Decisions:
    """ADDIS, tau .5, lambda .25: FDR under independence, gains where nulls are conservative (Tian & Ramdas 2019)."""
    p = _checked_p(p_values)
    counted = (p > ADDIS_LAMBDA) & (p <= ADDIS_TAU)
    return _invest(
        p, saffron_weights(p.size + 1), alpha, counted, factor=ADDIS_TAU - ADDIS_LAMBDA, cap=ADDIS_LAMBDA
    )


def alpha_investing(p_values: ArrayLike, alpha: float) -> Decisions:
    """Alpha-investing: mFDR under conditional super-uniformity (Foster & Stine 2008).

    Starts with wealth alpha/2; a test earns alpha if it rejects and pays level / (1 - level) otherwise. The level is
    set so that the price is wealth / (1 + tests since the last rejection): never more than there is.
    """
    p = _checked_p(p_values)
    _check_alpha(alpha)
    wealth, since = alpha / 2, 0
    levels, rejected = np.zeros(p.size), np.zeros(p.size, np.bool_)
    for t, value in enumerate(p.tolist()):
        since += 1
        price = wealth / (1 + since)
        level = price / (1 + price)
        levels[t], rejected[t] = level, value <= level
        if value <= level:
            wealth, since = wealth + alpha, 0
        else:
            wealth -= price
    return Decisions(rejected, levels)


def _invest(
    p: Floats, weights: Floats, alpha: float, counted: Bools, *, factor: float, cap: float
) -> Decisions:
    """The shared engine of LORD++, SAFFRON and ADDIS.

    All three spend wealth along a clock that ticks at each counted test: alpha/2 from the start, alpha/2 more from
    the first rejection on, alpha from every later one. `weights` are the spending shares per tick.
    """
    _check_alpha(alpha)
    at_tick = factor * (alpha / 2) * weights
    levels, rejected = np.zeros(p.size), np.zeros(p.size, np.bool_)
    tick, earned = 0, alpha / 2
    for t, (value, ticks) in enumerate(zip(p.tolist(), counted.tolist(), strict=True)):
        level = min(cap, float(at_tick[tick]))
        levels[t], rejected[t] = level, value <= level
        tick += ticks
        if value <= level:
            at_tick[tick:] += factor * earned * weights[: len(weights) - tick]
            earned = alpha
    return Decisions(rejected, levels)


def bh(p_values: ArrayLike, alpha: float) -> Bools:
    """Benjamini-Hochberg: FDR under positive dependence (PRDS)."""
    return _step_up(p_values, lambda rank, m: alpha * rank / m, alpha)


def by(p_values: ArrayLike, alpha: float) -> Bools:
    """Benjamini-Yekutieli: FDR under any dependence."""
    return _step_up(p_values, lambda rank, m: alpha * rank / (m * np.sum(1 / rank)), alpha)


def holm(p_values: ArrayLike, alpha: float) -> Bools:
    """Holm: FWER under any dependence, never weaker than Bonferroni."""
    p = _checked_p(p_values)
    _check_alpha(alpha)
    order = np.argsort(p, kind="stable")
    passed = p[order] <= alpha / np.arange(p.size, 0, -1)
    rejected = np.zeros(p.size, np.bool_)
    rejected[order] = np.logical_and.accumulate(passed)
    return rejected


def bonferroni(p_values: ArrayLike, alpha: float) -> Bools:
    """Bonferroni: FWER under any dependence."""
    p = _checked_p(p_values)
    _check_alpha(alpha)
    return p <= alpha / max(1, p.size)


def _step_up(p_values: ArrayLike, bounds: Callable[[Floats, int], Floats], alpha: float) -> Bools:
    """Reject the k smallest, k the largest rank whose p-value is within its bound."""
    p = _checked_p(p_values)
    _check_alpha(alpha)
    ordered = np.sort(p)
    within = np.flatnonzero(ordered <= bounds(np.arange(1.0, p.size + 1), p.size))
    return p <= ordered[within[-1]] if len(within) else np.zeros(p.size, np.bool_)


def _checked_p(p_values: ArrayLike) -> Floats:
    p = np.asarray(p_values, dtype=np.float64).ravel()
    outside = ~((p >= 0) & (p <= 1))
    if outside.any():
        raise refused("p_values", p[outside][0].item(), "numbers in [0, 1]")
    return p


def _check_alpha(alpha: float) -> None:
    if not 0 < alpha < 1:
        raise refused("alpha", alpha, "a number in (0, 1)")
