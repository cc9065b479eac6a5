"""What a hypothesis will cost and can see, before it is registered."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from agentkit.errors import SpecError
from agentkit.seeds import derive_seed, numpy_rng
from agentkit.stats.planning import first_guess, log_needed, simulated_plan, smallest_effect

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from agentkit.ledger.spec import Spec

BATCH_UNITS = 20


@dataclass(frozen=True)
class Plan:
    """Cost and reach of a spec in its campaign; numbers that need a pilot are None without one.

    `mde` is the smallest distance from the null that is expected to be decided within `max_units`: from the standard
    deviation `sd` of the pilot (of signs at the smallest effect of interest, with the pilot's ties), else from the range alone (then no noise at all is assumed). `expected_units` and
    `share_decided` assume a true effect of exactly `sesoi` (no effect for `equivalent`).
    """

    max_units: int
    sesoi: float
    mde: float
    sd: float | None
    expected_units: float | None
    share_decided: float | None

    @property
    def underpowered(self) -> bool:
        """Whether the smallest effect of interest is expected to stay undecided."""
        return self.sesoi > 0 and self.mde > self.sesoi * (1 + 1e-9)

    def refuse_underpowered(self) -> None:
        """Raise SpecError, with the numbers that decide it, when `underpowered`."""
        if self.underpowered:
            raise SpecError(
                f"sesoi={self.sesoi:g}: at {self.max_units} units the smallest detectable effect is {self.mde:.3g} > "
                f"{self.sesoi:g}; raise max_units or sesoi, or pass allow_underpowered"
            )


def make_plan(spec: Spec, alpha: float, weight: float, pilot: NDArray[np.float64] | None) -> Plan:
    """The plan of a spec; equal inputs give equal plans.

    Args:
        spec: what would be registered.
        alpha: error level of its campaign.
        weight: its share of the error budget.
        pilot: D of explore units in any order, NaN at failed units; at least two ok ones to be of use.
    """
    claim, needed = spec.claim, log_needed(spec.claim, alpha, weight)
    values = np.asarray([] if pilot is None else pilot, dtype=np.float64).ravel()
    ok = values[np.isfinite(values)]
    if claim.test == "sign":
        ok = np.sign(ok)
    if len(ok) < 2:
        mde = smallest_effect(claim, spec.max_units, 0.0, needed)
        return Plan(spec.max_units, spec.sesoi, mde, None, None, None)
    effect = _effect(spec)
    sd = float(np.std(ok, ddof=1)) if claim.test != "sign" else _sd_of_signs(ok, effect or 0.0)
    mde = smallest_effect(claim, spec.max_units, sd, needed)
    if effect is None or not math.isfinite(first_guess(claim, effect, sd, needed)):
        return Plan(spec.max_units, spec.sesoi, mde, sd, None, None)
    found = simulated_plan(
        claim,
        np.nan_to_num(values),
        ~np.isfinite(values),
        mu=effect,
        needed=needed,
        max_units=spec.max_units,
        batch_units=min(BATCH_UNITS, spec.max_units),
        rng=numpy_rng(derive_seed("plan", spec.sha256), "paths"),
    )
    return Plan(spec.max_units, spec.sesoi, mde, sd, found.median_units, found.share_decided)


def _sd_of_signs(signs: NDArray[np.float64], mean: float) -> float:
    """Of signs with this mean and as many ties: the mean fixes it, a pilot's own few signs say little of it."""
    return math.sqrt(max(float(np.mean(np.abs(signs))) - mean**2, 0.0))


def _effect(spec: Spec) -> float | None:
    """Mean of D at the smallest effect of interest, inside the range."""
    if spec.direction == "equivalent":
        return 0.0
    if spec.sesoi == 0:
        return None
    effect = spec.null - spec.sesoi if spec.direction == "less" else spec.null + spec.sesoi
    return min(max(effect, spec.lo), spec.hi)
