"""Dose-response curves: mean levels with intervals, their fits, and the ED50 with an interval.

Levels are oriented so that they fall with strength; `Curve.turned` turns the curve of a metric that rises.
Everything here is descriptive. A claim about a curve is a contrast (`contrasts.py`) that the ledger decides.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from agentkit_input_noise.curve_fits import (
    LEAST_FOR_LOGISTIC,
    Crossing,
    Logistic,
    censored,
    crossings,
    isotonic,
    logistic,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

DRAWS = 2_000
NOT_MONOTONE_SE = 3.0
CENSORED_SHARE = 0.05


def expanded_tail(units: int) -> float:
    """Share of bootstrap draws to cut off on each side for a 95 % interval from few units.

    The plain percentile interval is too short by sqrt((n-1)/n) and by normal against t quantiles; the
    expanded one (Hesterberg, The American Statistician 69, 2015, section 5.2) cuts off less.
    """
    from scipy.stats import norm, t

    if units < 2:
        return 0.025
    return float(norm.cdf(-math.sqrt(units / (units - 1)) * t.ppf(0.975, units - 1)))


@dataclass(frozen=True)
class Curve:
    """What one kind of noise does to one metric, as described by `describe`.

    Attributes:
        strengths: 0 first, ascending, shape (strengths,).
        mean: mean level over units, same shape.
        interval: 95 % bootstrap interval of the mean, shape (2, strengths).
        isotonic: never-rising fit, same shape as `mean`.
        logistic: four-parameter fit, or None.
        floor: mean level of chance (or the metric's floor).
        ed50: isotonic crossing of the middle between baseline and floor; None when that has no meaning.
        ed50_logistic: the same from the logistic fit.
        ed50_interval: 95 % bootstrap bounds of `ed50`.
        area: mean of (level - floor) / (baseline - floor) over the grid (trapezoid); None without a range.
        non_monotone: a raw point leaves the isotonic fit by more than three standard errors.
    """

    strengths: NDArray[np.float64]
    mean: NDArray[np.float64]
    interval: NDArray[np.float64]
    isotonic: NDArray[np.float64]
    logistic: Logistic | None
    floor: float
    ed50: Crossing | None
    ed50_logistic: Crossing | None
    ed50_interval: tuple[Crossing, Crossing] | None
    area: float | None
    non_monotone: bool

    def to_json(self) -> dict[str, Any]:
        """All of it as plain JSON; what has no meaning is null and `why_no_ed50` says why."""
        fit = self.logistic
        return {
            "strengths": self.strengths.tolist(),
            "mean": self.mean.tolist(),
            "interval_95": self.interval.tolist(),
            "isotonic": self.isotonic.tolist(),
            "logistic": None if fit is None else vars(fit),
            "floor": self.floor,
            "ed50": None if self.ed50 is None else self.ed50.to_json(),
            "ed50_logistic": None if self.ed50_logistic is None else self.ed50_logistic.to_json(),
            "ed50_interval_95": self.ed50_interval and [bound.to_json() for bound in self.ed50_interval],
            "area": self.area,
            "non_monotone": self.non_monotone,
            "why_no_ed50": self.why_no_ed50,
            "why_no_logistic": self.why_no_logistic,
            "status": "descriptive: only a verdict is a finding",
        }

    def turned(self) -> Curve:
        """The same curve of a metric that rises, after its negative was fitted."""
        fit = self.logistic
        return replace(
            self,
            mean=-self.mean,
            interval=-self.interval[::-1],
            isotonic=-self.isotonic,
            floor=-self.floor,
            logistic=fit and Logistic(-fit.top, -fit.bottom, fit.centre, fit.slope),
        )

    @property
    def why_no_ed50(self) -> str | None:
        """Why no ED50 is given, or None."""
        if self.ed50 is not None:
            return None
        if self.non_monotone:
            return "the curve is not monotone"
        return "the baseline does not stand above the floor"

    @property
    def why_no_logistic(self) -> str | None:
        """Why the isotonic fit is the only one, or None."""
        if self.logistic is not None:
            return None
        return f"{len(self.strengths)} strengths, zero among them; a fit of four parameters needs {LEAST_FOR_LOGISTIC}"


def describe(
    strengths: NDArray[np.float64],
    levels: NDArray[np.float64],
    floor: NDArray[np.float64] | float,
    *,
    rng: np.random.Generator,
    draws: int = DRAWS,
    smooth: bool = True,
) -> Curve:
    """Fit one falling curve.

    Args:
        strengths: 0 first, ascending, shape (strengths,).
        levels: level of each unit, or of each item of each unit, shape (units, strengths[, items]).
        floor: level of chance per unit, shape (units,), or one number.
        rng: draws the bootstrap: units, then items inside them, the same for all strengths (paired).
        draws: how many.
        smooth: fit the logistic too (10 ms).
    """
    unit_levels = levels if levels.ndim == 2 else levels.mean(axis=2)
    floors = np.broadcast_to(np.asarray(floor, dtype=np.float64), (len(levels),))
    mean, low = unit_levels.mean(axis=0), float(floors.mean())
    boot, boot_floor = _bootstrap(levels, floors, rng, draws)
    error = boot.std(axis=0, ddof=1) if len(levels) > 1 or levels.ndim == 3 else np.zeros_like(mean)
    weights, tail = _weights(error), expanded_tail(len(levels))
    fit = isotonic(mean, weights)
    has_range = mean[0] - low > NOT_MONOTONE_SE * math.hypot(error[0], boot_floor.std())
    non_monotone = bool((np.abs(mean - fit) > NOT_MONOTONE_SE * error + 1e-12).any())
    sigmoid = logistic(strengths, mean, weights) if smooth else None
    ed50 = ed50_smooth = bounds = area = None
    if has_range:
        scaled = (mean - low) / (mean[0] - low)
        area = float(np.trapezoid(scaled, strengths) / (strengths[-1] - strengths[0]))
    if has_range and not non_monotone:
        grid, half = strengths[strengths > 0], (mean[0] + low) / 2
        ed50 = censored(float(crossings(fit[None], strengths, np.array([half]))[0]), grid)
        ed50_smooth = None if sigmoid is None else sigmoid.crossing(half, grid)
        found = crossings(isotonic(boot, weights), strengths, (boot[:, 0] + boot_floor) / 2)
        bounds = _bounds(found, grid, tail)
    return Curve(
        strengths=strengths, mean=mean, interval=np.quantile(boot, [tail, 1 - tail], axis=0), isotonic=fit,
        logistic=sigmoid, floor=low, ed50=ed50, ed50_logistic=ed50_smooth, ed50_interval=bounds, area=area,
        non_monotone=non_monotone,
    )  # fmt: skip


def _bootstrap(
    levels: NDArray[np.float64], floors: NDArray[np.float64], rng: np.random.Generator, draws: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Means over redrawn units (and items inside them), shapes (draws, strengths) and (draws,)."""
    units = len(levels)
    taken = rng.multinomial(units, np.full(units, 1 / units), size=draws) / units
    if levels.ndim == 2:
        return taken @ levels, taken @ floors
    items = levels.shape[2]
    means = np.zeros((draws, levels.shape[1]))
    for unit in range(units):  # one product a unit: (draws, items) by (items, strengths)
        within = rng.multinomial(items, np.full(items, 1 / items), size=draws) / items
        means += taken[:, unit, None] * (within @ levels[unit].T)
    return means, taken @ floors


def _weights(error: NDArray[np.float64]) -> NDArray[np.float64]:
    """1/SE^2, with a floor under the SE: a level that never varied is well known, not infinitely well."""
    floor = 0.1 * float(error.max())
    return np.ones_like(error) if floor == 0 else np.maximum(error, floor) ** -2.0


def _bounds(found: NDArray[np.float64], grid: NDArray[np.float64], tail: float) -> tuple[Crossing, Crossing]:
    """The draws without both tails; a side on which more than 5 % of them are censored has no number."""
    low, high = np.quantile(found, [tail, 1 - tail], method="inverted_cdf")
    if (found < grid.min()).mean() > CENSORED_SHARE:
        low = 0.0
    if (found > grid.max()).mean() > CENSORED_SHARE:
        high = np.inf
    return censored(float(low), grid), censored(float(high), grid)
