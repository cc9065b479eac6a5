"""From an explored table to the few claims worth freezing. Explored values choose; they are never results."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

DOSE = re.compile(r"(?P<kind>.+)=(?P<strength>-?\d+(?:\.\d+)?(?:e-?\d+)?)")
WINNERS = 2
CLEAR = 1.5
"""A candidate's mean less its standard error must pass this many effects of interest."""
FLAT = 0.5
"""A condition is taken for unimportant when two standard errors around its mean stay within this many of them."""
SIGN_SESOI = 0.5
"""Effect of interest where only the direction can be tested: three units in four move the same way."""
DEFAULT_SESOI_SHARE = 0.05
"""Of the metric's range, where the user named no effect of interest; always said so."""


@dataclass(frozen=True)
class Effect:
    """Explored mean difference to baseline of one condition, with its standard error over units."""

    condition: str
    mean: float
    se: float
    is_control: bool = False
    """Whether the tool declares it as a control: it shows the floor of a metric, and nobody asks whether it perturbs."""

    @property
    def reach(self) -> float:
        """How far from zero the mean may plausibly be: its size and two standard errors."""
        return abs(self.mean) + 2 * self.se

    def towards(self, sign: int) -> float:
        """Size of the effect in the direction `sign`; in its own where 0."""
        return sign * self.mean if sign else abs(self.mean)


def candidates(
    step: Mapping[str, Any], explored: Mapping[str, Any], *, sign: int | None = None
) -> list[dict[str, Any]]:
    """Arguments of `register` for what one exploration suggests, most promising first; none where it left the metric out.

    Args:
        step: the explore step: tool, params, and what matters to the user (`metric`, `sesoi`).
        explored: the answer of the exploration.
        sign: the direction asked for; that of harm when None.
    """
    name = step.get("metric") or next(iter(explored["metrics"]))
    table = explored["metrics"].get(name)
    effects = effects_of(table) if table else []
    if not table or not effects:
        return []
    sesoi = step.get("sesoi") or default_sesoi(table)
    sign = sign or harmful_sign(table, effects)
    found = claims_of(effects, sign, sesoi)
    common = {"tool": step["tool"], "params": dict(step.get("params") or {}), "metric": name, "sesoi": sesoi}
    return [{**common, **claim} for claim in found]


def effects_of(table: Mapping[str, Any]) -> list[Effect]:
    """The effects of one metric's table, in its order."""
    controls = table.get("controls", ())
    rows = zip(table["conditions"], table["mean"], table["se"], strict=True)
    return [Effect(name, mean, se, name in controls) for name, mean, se in rows]


def claims_of(
    effects: Sequence[Effect], sign: int, sesoi: float, *, winners: int = WINNERS
) -> list[dict[str, Any]]:
    """Condition, direction and null of what is worth freezing: along a dose, or among sites.

    With `sign` 0 either direction will do, and each claim goes in that of its own effect.
    """
    effects = [e for e in effects if not e.is_control]
    if not effects:
        return []
    if _is_dose(effects):
        return _dose_claims(
            effects, sign or (1 if max(effects, key=lambda e: abs(e.mean)).mean > 0 else -1), sesoi
        )
    return _scan_claims(effects, sign, sesoi, winners)


def _dose_claims(effects: Sequence[Effect], sign: int, sesoi: float) -> list[dict[str, Any]]:
    """The weakest strength that clearly matters, and the strongest that seems not to."""
    claims: list[dict[str, Any]] = []
    for series in series_of(effects).values():
        harmful = [e for e in series if e.towards(sign) - e.se >= CLEAR * sesoi]
        claims += [_moves(e, sign, sesoi) for e in harmful[:1]]
        tolerated = [e for e in series if e.reach < FLAT * sesoi]
        claims += [_unchanged(e) for e in tolerated[-1:]]
    return claims


def _scan_claims(effects: Sequence[Effect], sign: int, sesoi: float, winners: int) -> list[dict[str, Any]]:
    """The sites with the clearest effect, and the one with the least."""
    ranked = sorted(effects, key=lambda e: (-e.towards(sign) / _floor(e.se), e.condition))
    clear = [e for e in ranked if e.towards(sign) - e.se >= CLEAR * sesoi][:winners]
    claims = [_moves(e, sign or (1 if e.mean > 0 else -1), sesoi) for e in clear]
    least = min(effects, key=lambda e: (e.reach, e.condition))
    if least.reach < FLAT * sesoi:
        claims.append(_unchanged(least))
    return claims


def in_direction_only(claim: Mapping[str, Any]) -> dict[str, Any]:
    """The weaker claim for an effect too small for its metric's range: lower (higher) on more units than not."""
    return {**claim, "test": "sign", "null": 0.0, "sesoi": SIGN_SESOI}


def _moves(effect: Effect, sign: int, beyond: float) -> dict[str, Any]:
    """A claim that the condition moves the metric by more than `beyond` in the direction `sign`."""
    direction = "greater" if sign > 0 else "less"
    return {"condition": effect.condition, "direction": direction, "null": sign * beyond}


def _unchanged(effect: Effect) -> dict[str, Any]:
    return {"condition": effect.condition, "direction": "equivalent", "null": 0.0}


def series_of(effects: Sequence[Effect]) -> dict[str, list[Effect]]:
    """Effects of conditions such as `typos=0.2`, by kind, each in order of strength."""
    series: dict[str, list[tuple[float, Effect]]] = {}
    for effect in effects:
        if match := DOSE.fullmatch(effect.condition):
            series.setdefault(match["kind"], []).append((float(match["strength"]), effect))
    return {kind: [e for _, e in sorted(rows, key=lambda r: r[0])] for kind, rows in series.items()}


def _is_dose(effects: Sequence[Effect]) -> bool:
    return any(len(series) >= 3 for series in series_of(effects).values())


def harmful_sign(table: Mapping[str, Any], effects: Sequence[Effect]) -> int:
    """The direction in which a perturbation does harm; where the metric has none, that of the largest effect."""
    if (better := table.get("higher_is_better")) is not None:
        return -1 if better else 1
    return 1 if max(effects, key=lambda e: abs(e.mean)).mean > 0 else -1


def default_sesoi(table: Mapping[str, Any]) -> float:
    """5 % of the metric's range; without one a fifth of the baseline's spread, or a tenth of the largest effect seen."""
    low, high = table.get("low"), table.get("high")
    if low is not None and high is not None:
        return float(DEFAULT_SESOI_SHARE * (high - low))
    largest = max((abs(m) for m in table["mean"]), default=0.0)
    return float(0.2 * table["baseline_sd"]) or 0.1 * largest or 1e-9


def _floor(se: float) -> float:
    return max(se, 1e-12)
