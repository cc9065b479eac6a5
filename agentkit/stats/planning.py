"""How many units a claim will need, and the smallest effect it can see: before anything is registered."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from agentkit.stats.claims import check
from agentkit.stats.eprocess import BETS, SHARP_FREE_UNITS, SHARP_STAKE, streams
from agentkit.stats.problems import refused
from agentkit.stats.verdicts import log_e_paths

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from agentkit.stats.claims import Claim

    Floats = NDArray[np.float64]

PATHS = 400
CELLS_AT_ONCE = 500_000


@dataclass(frozen=True)
class SimulatedPlan:
    """What resampled paths through the real evidence say; units are counted at the ends of batches."""

    median_units: float
    mean_units: float
    share_decided: float
    """Share of paths that earned any label within max_units."""


def log_needed(claim: Claim, alpha: float, weight: float) -> float:
    """log(1/(theta * alpha * weight)): the log K that decides the claim when nothing else is decided."""
    if not (0 < alpha < 1 and 0 < weight <= 1):
        raise refused("alpha, weight", (alpha, weight), "alpha in (0, 1), weight in (0, 1]")
    return -math.log(claim.theta * alpha * weight)


def first_guess(claim: Claim, mu: float, sd: float, needed: float) -> float:
    """Units until the evidence reaches `needed` if D has mean `mu` and standard deviation `sd`; inf at the null.

    2 * needed / d^2 with d = distance / sd, and for `bounded_mean` at least the price of its range: not even a noise
    free D wins more than log(1 + .95 * distance / (null - lo)) a unit. Measured need is 1.6 to 2 times the guess.
    """
    distance = _distance(claim, mu)
    if distance <= 0:
        return math.inf
    by_noise = 2 * needed * (sd / distance) ** 2
    if claim.test == "sharp":
        by_stake = SHARP_FREE_UNITS + needed / math.log1p(SHARP_STAKE)
    else:
        by_stake = max(needed / math.log1p(BETS[-1] * distance / room) for room in _rooms(claim, mu))
    return max(by_noise, by_stake)


def smallest_effect(claim: Claim, max_units: int, sd: float, needed: float) -> float:
    """Smallest distance that `first_guess` puts within max_units, on the harder side (the MDE); inf if there is none.

    The distance runs from the null, for `equivalent` from the band's end to 0 (so it is a smallest sesoi).
    """
    if max_units < 1:
        raise refused("max_units", max_units, "a number >= 1")
    by_noise = sd * math.sqrt(2 * needed / max_units)
    if claim.test == "sharp":
        enough = SHARP_FREE_UNITS + needed / math.log1p(SHARP_STAKE) <= max_units
        return by_noise if enough else math.inf
    with np.errstate(over="ignore"):
        most_per_room = float(np.expm1(needed / max_units)) / float(BETS[-1])
    sides = {"greater": (math.inf,), "less": (-math.inf,)}.get(claim.direction, (math.inf, -math.inf))
    return max(by_noise, *(room * most_per_room for side in sides for room in _rooms(claim, side)))


def largest_sd(claim: Claim) -> float:
    """Largest standard deviation D can have inside its range; inf for `sharp` without one."""
    return (claim.hi - claim.lo) / 2


def simulated_plan(
    claim: Claim,
    differences: ArrayLike,
    failed: ArrayLike,
    *,
    mu: float,
    needed: float,
    max_units: int,
    batch_units: int,
    rng: np.random.Generator,
    paths: int = PATHS,
) -> SimulatedPlan:
    """Units and power at effect `mu`, from explore units resampled through the real e-process.

    D is shifted to mean `mu` and cut at the range (`sign`: signs are drawn with that mean and the ties seen), failed
    units fail as often as they did. The answer is about planning only: explore units are never evidence.

    Raises:
        StatsError: without an ok unit to resample, or for a batch or a number of units below 1.
    """
    check(claim)
    if min(max_units, batch_units, paths) < 1:
        raise refused("max_units, batch_units, paths", (max_units, batch_units, paths), "numbers >= 1")
    pool = _shifted(claim, np.asarray(differences, dtype=np.float64), np.asarray(failed, dtype=np.bool_), mu)
    ends = np.unique(np.append(np.arange(batch_units, max_units, batch_units), max_units))
    at_once = max(1, CELLS_AT_ONCE // max_units)
    sizes = [min(at_once, paths - start) for start in range(0, paths, at_once)]
    units = np.concatenate([_units_to_decide(claim, pool, needed, ends, size, rng) for size in sizes])
    used = np.minimum(units, max_units)
    return SimulatedPlan(float(np.median(used)), float(used.mean()), float(np.isfinite(units).mean()))


def _distance(claim: Claim, mu: float) -> float:
    """How far mean `mu` lies on the claimed side of what is tested; not positive where the claim is not true."""
    if claim.direction == "equivalent":
        return claim.sesoi - abs(mu)
    return {"greater": 1.0, "less": -1.0}.get(claim.direction, _side(claim, mu)) * (mu - claim.null)


def _rooms(claim: Claim, mu: float) -> list[float]:
    """Distances from each tested value to the far end of the range, which is what a bet is a share of."""
    if claim.direction == "equivalent":  # a band end beyond the range is settled and costs nothing
        return [room for room in (-claim.sesoi - claim.lo, claim.hi - claim.sesoi) if room > 0]
    above = _side(claim, mu) > 0 if claim.direction == "two_sided" else claim.direction == "greater"
    return [claim.null - claim.lo if above else claim.hi - claim.null]


def _side(claim: Claim, mu: float) -> float:
    return math.copysign(1.0, mu - claim.null)


@dataclass(frozen=True)
class _Pool:
    """What a simulated unit is drawn from: ok values with their chances, and how often units fail."""

    values: Floats
    chances: Floats
    failed_share: float


def _shifted(claim: Claim, differences: Floats, failed: NDArray[np.bool_], mu: float) -> _Pool:
    """The explore units moved to mean `mu`."""
    good = differences[~failed]
    if not len(good) or not np.isfinite(good).all():
        raise refused("differences", good.tolist(), "at least one ok unit, all finite")
    if claim.test == "sign":
        ties = min(float(np.mean(good == 0)), 1 - abs(mu))
        chances = np.array([1 - ties - mu, 2 * ties, 1 - ties + mu]) / 2
        return _Pool(np.array([-1.0, 0.0, 1.0]), chances, float(failed.mean()))
    moved = good - good.mean() + mu
    values = np.clip(moved, claim.lo, claim.hi) if claim.test == "bounded_mean" else moved
    return _Pool(values, np.full(len(values), 1 / len(values)), float(failed.mean()))


def _units_to_decide(
    claim: Claim, pool: _Pool, needed: float, ends: NDArray[np.int64], paths: int, rng: np.random.Generator
) -> Floats:
    """Batch end at which each path first earns a label, inf where none did."""
    shape = (paths, int(ends[-1]))
    values = rng.choice(pool.values, shape, p=pool.chances)
    failed = rng.random(shape) < pool.failed_share
    data = streams(claim.test, list(values), list(failed), [claim.lo] * paths, [claim.hi] * paths)
    earned = log_e_paths(claim, data)[:, ends - 1] - math.log(claim.theta) >= needed
    first: Floats = np.where(earned.any(axis=1), ends[earned.argmax(axis=1)].astype(np.float64), np.inf)
    return first
