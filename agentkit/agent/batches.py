"""Which frozen claim gets the next batch, and which is closed: a pure function of what the ledger reported.

Shared by scripted runs and the offline planner. Stopping can cost power, never validity: the interval
holds at any stopping time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

BATCH_UNITS = 20
FUTILITY_FROM_UNITS = 60
FUTILITY_SPEED = 3.0
"""How many times faster than so far evidence may still grow before its claim is given up."""
LEARNING_NATS = 2.0
"""What a betting e-process loses while it learns how to bet; after that it grows faster than log_e / units says."""
FIRST_BATCHES = FUTILITY_FROM_UNITS // BATCH_UNITS


@dataclass(frozen=True)
class OpenClaim:
    """What is known of one registered claim: its terms and its last status."""

    ref: str
    direction: str
    null: float
    sesoi: float
    max_units: int
    batches: int = 0
    units: int = 0
    units_left: int = 1
    decided: bool = False
    closed: bool = False
    log_e: float = 0.0
    level: float = 0.05
    interval: tuple[float | None, float | None] = (None, None)

    def after(self, status: Mapping[str, Any], *, batch: bool = True) -> OpenClaim:
        """The claim after a status row of the ledger."""
        lo, hi = status.get("interval") or (None, None)
        return replace(
            self,
            batches=self.batches + int(batch),
            units=int(status["units"]),
            units_left=int(status["units_left"]),
            decided=status["state"] == "decided",
            closed=status["state"] == "closed",
            log_e=float(status.get("log_e") or 0.0),
            level=float(status["level"]),
            interval=(lo, hi),
        )


@dataclass(frozen=True)
class Step:
    """The next thing to do: run a batch, stop a claim, or nothing more."""

    kind: Literal["run_batch", "stop", "done"]
    hypothesis: str = ""
    reason: str = ""


def next_step(claims: Sequence[OpenClaim]) -> Step:
    """Round robin until every open claim has its first batches, then the one whose evidence stands highest.

    Where a budget ends first, it was spent on what it could decide. A finished claim is stopped before the next batch.
    """
    open_claims = [c for c in claims if not c.closed]
    for claim in open_claims:
        if claim.batches and (reason := reason_to_stop(claim)):
            return Step("stop", claim.ref, reason)
    if not open_claims:
        return Step("done")
    fewest = min(open_claims, key=lambda c: c.batches)
    if fewest.batches < FIRST_BATCHES:
        return Step("run_batch", fewest.ref)
    return Step(
        "run_batch", max(open_claims, key=lambda c: c.log_e).ref
    )  # the first registered of equal ones


def reason_to_stop(claim: OpenClaim) -> str:
    """`decided`, `max_units`, `futile`, or "" to go on."""
    if claim.decided:
        return "decided"
    if claim.units_left <= 0:
        return "max_units"
    return "futile" if is_futile(claim) else ""


def is_futile(claim: OpenClaim) -> bool:
    """Whether the evidence, grown at several times its speed, would still miss its threshold; or the effect is ruled out."""
    if claim.units < FUTILITY_FROM_UNITS:
        return False
    left = claim.max_units - claim.units
    speed = FUTILITY_SPEED * max(0.0, (claim.log_e + LEARNING_NATS) / claim.units)
    reachable = claim.log_e + left * speed
    return reachable < math.log(1 / claim.level) or _effect_ruled_out(claim)


def _effect_ruled_out(claim: OpenClaim) -> bool:
    lo, hi = claim.interval
    if claim.null != 0 or claim.sesoi <= 0 or claim.direction == "equivalent" or lo is None or hi is None:
        return False
    too_low, too_high = hi < claim.sesoi, lo > -claim.sesoi
    return {"greater": too_low, "less": too_high, "two_sided": too_low and too_high}[claim.direction]
