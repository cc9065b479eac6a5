"""Fits of a falling curve, isotonic and logistic, and where they cross a level: never extrapolated."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

LEAST_FOR_LOGISTIC = 5
"""Strengths, zero among them, below which four parameters would fit anything."""


@dataclass(frozen=True)
class Crossing:
    """Where a curve passes a level: a strength inside the grid, or only on which side of the grid.

    Attributes:
        strength: None when censored.
        censored: `<` or `>` beside `bound`, or None.
        bound: the end of the grid that the crossing lies beyond.
    """

    strength: float | None
    censored: str | None = None
    bound: float | None = None

    def __str__(self) -> str:
        return f"{self.strength:.4g}" if self.strength is not None else f"{self.censored} {self.bound:g}"

    def to_json(self) -> dict[str, Any]:
        """Strength or censoring, as JSON."""
        return {"strength": self.strength, "censored": self.censored, "bound": self.bound}


@dataclass(frozen=True)
class Logistic:
    """y(s) = bottom + (top - bottom) / (1 + (s / centre)^slope)."""

    top: float
    bottom: float
    centre: float
    slope: float

    def at(self, strengths: NDArray[np.float64]) -> NDArray[np.float64]:
        """The curve's levels at `strengths` >= 0, same shape."""
        return self.bottom + (self.top - self.bottom) / (1 + (strengths / self.centre) ** self.slope)

    def crossing(self, level: float, grid: NDArray[np.float64]) -> Crossing:
        """Where the curve passes `level`, censored at the ends of the grid of positive strengths."""
        if level >= self.top:
            return censored(0.0, grid)
        if level <= self.bottom:
            return censored(math.inf, grid)
        ratio = (self.top - level) / (level - self.bottom)
        return censored(self.centre * ratio ** (1 / self.slope), grid)


def isotonic(levels: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weighted least-squares fit that never rises, shape as `levels` (..., strengths).

    The closed form of pool-adjacent-violators: fit_i = min over a <= i of max over b >= i of the weighted
    mean of levels a..b. Weights have shape (strengths,) and are positive.
    """
    n = levels.shape[-1]
    weight = np.concatenate([[0.0], np.cumsum(weights)])
    total = np.concatenate([np.zeros((*levels.shape[:-1], 1)), np.cumsum(levels * weights, axis=-1)], axis=-1)
    fit = np.full(levels.shape, np.inf)
    for a in range(n):
        means = (total[..., a + 1 :] - total[..., a : a + 1]) / (weight[a + 1 :] - weight[a])
        largest_from = np.maximum.accumulate(means[..., ::-1], axis=-1)[..., ::-1]
        fit[..., a:] = np.minimum(fit[..., a:], largest_from)
    return fit


def crossings(
    fits: NDArray[np.float64], strengths: NDArray[np.float64], level: NDArray[np.float64]
) -> NDArray[np.float64]:
    """First strength at which each falling fit reaches its level, linear between points, shape (draws,).

    Args:
        fits: never-rising curves, shape (draws, strengths).
        strengths: ascending, the first is 0, shape (strengths,).
        level: shape (draws,).

    Returns:
        inf where the curve ends above the level; a value below the first positive strength is only known
        to lie below it.
    """
    reached = fits <= level[:, None]
    first = np.argmax(reached, axis=1)
    at = np.arange(len(fits))
    before = np.maximum(first - 1, 0)
    drop = fits[at, before] - fits[at, first]
    share = np.where(drop > 0, (fits[at, before] - level) / np.where(drop > 0, drop, 1), 0.0)
    inside = strengths[before] + np.clip(share, 0, 1) * (strengths[first] - strengths[before])
    return np.where(reached.any(axis=1), inside, np.inf)


def logistic(
    strengths: NDArray[np.float64], levels: NDArray[np.float64], weights: NDArray[np.float64]
) -> Logistic | None:
    """Weighted least-squares four-parameter logistic with top >= bottom; None below five strengths.

    Centre lies within a tenth of the smallest and ten times the largest positive strength, slope in [0.2, 20].
    """
    from scipy.optimize import least_squares

    if len(strengths) < LEAST_FOR_LOGISTIC:
        return None
    positive = strengths[strengths > 0]
    root = np.sqrt(weights / weights.max())
    span = max(float(np.ptp(levels)), 1e-12)

    def curve(x: NDArray[np.float64]) -> Logistic:
        return Logistic(x[0], x[0] - x[1], math.exp(x[2]), math.exp(x[3]))

    def residuals(x: NDArray[np.float64]) -> NDArray[np.float64]:
        found: NDArray[np.float64] = root * (curve(x).at(strengths) - levels) / span
        return found

    low = [-np.inf, 0.0, math.log(positive.min() / 10), math.log(0.2)]
    high = [np.inf, np.inf, math.log(positive.max() * 10), math.log(20.0)]
    fits = [
        least_squares(
            residuals, [levels.max(), span, math.log(centre), math.log(slope)], bounds=(low, high),
            x_scale=[span, span, 1, 1], xtol=1e-14, ftol=1e-14, gtol=1e-14, max_nfev=500,
        )
        for centre in np.quantile(positive, [0.2, 0.5, 0.8]) for slope in (1.5, 4.0)
    ]  # fmt: skip
    return curve(min(fits, key=lambda fit: fit.cost).x)


def censored(strength: float, grid: NDArray[np.float64]) -> Crossing:
    """The crossing at `strength`, or the end of the grid of positive strengths that it lies beyond."""
    if strength < grid.min():
        return Crossing(None, "<", float(grid.min()))
    if strength > grid.max():
        return Crossing(None, ">", float(grid.max()))
    return Crossing(strength)
