"""Explore coarse to fine: which look to take next, given the answers so far. Explored values only choose.

Scans halve the sites that are left (Karnin, Koren & Somekh 2013, successive halving); dose-response
curves halve the bracket in which the effect first matters.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agentkit.agent.offline.candidates import DOSE, default_sesoi, effects_of, harmful_sign, series_of
from agentkit.agent.offline.words import stem, stems_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from agentkit.agent.offline.candidates import Effect
    from agentkit.agent.offline.cards import ParamCard, ToolCard
    from agentkit.agent.offline.request import Request

REFINEMENTS = 2
MOST_UNITS = 64
LEAST_SCAN_UNITS = 4
UNITS_PER_SITE = 8
SURVIVORS = 3
MOST_SERIES = 3
CLAIMS = ("claim", "equivalence")
FAR_BETTER = 1.5
"""How many times better another metric must tell the effects than the tool's first one."""


@dataclass(frozen=True)
class Look:
    """One exploration: its params and units, and its answer once there is one (None when it was refused)."""

    params: dict[str, Any]
    units: int
    answer: Mapping[str, Any] | None = None


def next_look(request: Request, looks: Sequence[Look]) -> Look | None:
    """The next exploration, or None when enough was seen.

    Args:
        request: what the user wants.
        looks: the explorations answered so far for this request, in order.
    """
    first = first_looks(request)
    if len(looks) < len(first):
        return first[len(looks)]
    if any(look.answer is None for look in looks):
        return None
    if request.intent == "scan":
        return _next_round(request, looks)
    numbers = request.sweep is not None and all(isinstance(v, int | float) for v in request.sweep[1])
    if request.intent != "compare" and (request.refinable or numbers):
        return _refinement(request, looks, len(looks) - len(first))
    return None


def first_looks(request: Request) -> list[Look]:
    """The looks that need no answer: one, or one for each level of a scalar param."""
    units = request.units
    if request.intent == "scan" and not request.units_said:
        units = min(units, LEAST_SCAN_UNITS)
    if request.sweep is None:
        return [Look(request.params, units)]
    name, levels = request.sweep
    return [Look({**request.params, name: level}, units) for level in levels]


def table_of(look: Look, metric: str) -> Mapping[str, Any]:
    """The answer's rows of one metric (empty when it has none)."""
    found: Mapping[str, Any] = (look.answer or {}).get("metrics", {}).get(metric, {})
    return found


def telling_metric(request: Request, looks: Sequence[Look]) -> str:
    """The metric to go by: the user's own; else the tool's first, unless another tells the effects far better.

    No displacement from the untouched target counts (a metric with a fixed baseline), which any perturbation moves; and
    only outcomes in a range are compared with a first one that was measured. How well a metric tells is the size of its
    effects over their standard errors, both as root mean squares over the conditions of the first look.
    """
    first = request.claim.metric
    if (
        request.claim.metric_from
        or request.claim.amount is not None
        or not looks
        or request.intent == "claim"
    ):
        return first
    if not request.card.metric(first).is_bounded_outcome:
        return first
    in_a_range = bool(table_of(looks[0], first))
    told = {
        m.name: _tells(table_of(looks[0], m.name))
        for m in request.card.metrics
        if (m.is_bounded_outcome if in_a_range else m.baseline is None)
    }
    best = max(told, key=lambda name: told[name], default=first)
    return best if told.get(best, 0.0) > FAR_BETTER * told.get(first, 0.0) else first


def _tells(table: Mapping[str, Any]) -> float:
    squares = [sum(v * v for v in table.get(key, ())) for key in ("mean", "se")]
    return math.sqrt(squares[0] / squares[1]) if squares[1] else 0.0


def sign_of(request: Request, table: Mapping[str, Any]) -> int:
    """The direction asked for: -1 lower, 1 higher; that of harm unless the request says otherwise."""
    way = request.claim.direction
    if way in ("less", "greater"):
        return -1 if way == "less" else 1
    harm = harmful_sign(table, effects_of(table))
    return -harm if way == "benefit" else harm


def _refinement(request: Request, looks: Sequence[Look], done: int) -> Look | None:
    """The middle of the bracket in which the effect first reaches the sesoi, with twice the units."""
    name = request.refinable or (request.sweep[0] if request.sweep else "")
    effects, table = union(looks, request.claim.metric)
    if done >= REFINEMENTS or not effects:
        return None
    sesoi = request.claim.amount or default_sesoi(table)
    middles = [
        m for s in list(series_of(effects).values())[:MOST_SERIES] if (m := _middle(s, sesoi)) is not None
    ]
    if not middles:
        return None
    units = min(request.units * 2 ** (done + 1), max(MOST_UNITS, request.units))
    levels = sorted(set(middles))
    return Look({**request.params, name: levels if request.refinable else levels[0]}, units)


def _middle(series: Sequence[Effect], sesoi: float) -> float | None:
    """Halfway between the last level whose effect is small and the first that matters (zero has none)."""
    below = 0.0
    for effect in series:
        strength = _strength(effect.condition)
        if abs(effect.mean) >= sesoi:
            wide = below > 0 and strength / below >= 100
            middle = math.sqrt(below * strength) if wide else (below + strength) / 2
            return float(f"{middle:.4g}") if strength > below else None
        below = strength
    return None


def _strength(condition: str) -> float:
    match = DOSE.fullmatch(condition)
    return float(match["strength"]) if match else math.nan


def union(looks: Sequence[Look], metric: str) -> tuple[list[Effect], Mapping[str, Any]]:
    """Effects of all looks, a later look at a condition replacing an earlier one; and one of the tables."""
    effects: dict[str, Effect] = {}
    table: Mapping[str, Any] = {}
    for look in looks:
        if found := table_of(look, metric):
            table = found
            effects |= {e.condition: e for e in effects_of(found)}
    return list(effects.values()), table


def _next_round(request: Request, looks: Sequence[Look]) -> Look | None:
    """The better half of the sites with more units, until three are left."""
    if request.units_said:
        return None
    table = table_of(looks[0], request.claim.metric)
    sites = len(table.get("conditions", ()))
    last = table_of(looks[-1], request.claim.metric)
    alive = effects_of(last) if last else []
    if sites <= SURVIVORS or len(alive) <= SURVIVORS:
        return None
    kept = better_half(alive, sign_of(request, table) if request.claim.direction != "two_sided" else 0)
    param, values = _site_values(request.card, [e.condition for e in kept])
    if param is None:
        return None
    rounds = math.ceil(math.log2(sites))
    if len(looks) > rounds:
        return None  # sites that come in pairs may not be separable: the same ones are looked at again
    fresh = max(LEAST_SCAN_UNITS, (UNITS_PER_SITE * sites) // (len(kept) * rounds))
    units = min(looks[-1].units + fresh, MOST_UNITS)
    return Look({**request.params, param.name: values}, units)


def better_half(effects: Sequence[Effect], sign: int) -> list[Effect]:
    """The half, at least three, with the larger mean in the direction `sign` (any when 0); ties by name."""
    ranked = sorted(effects, key=lambda e: (-(e.towards(sign) if sign else abs(e.mean)), e.condition))
    kept = max(math.ceil(len(ranked) / 2), SURVIVORS)
    return sorted(ranked[:kept], key=lambda e: e.condition)


def _site_values(card: ToolCard, conditions: Sequence[str]) -> tuple[ParamCard | None, Any]:
    """The param that restricts a call to some sites, and its value for these; (None, None) where there is none."""
    for param in card.params:
        if len(param.path) == 1 and param.takes_sites:
            return param, list(conditions) if "string" not in param.types else ", ".join(conditions)
    parts = list(dict.fromkeys(p for c in conditions for p in c.split("+")))  # a pair is KO:A+KO:B
    tails = list(dict.fromkeys(p.partition(":")[2] for p in parts))
    heads = {stem(p.partition(":")[0]) for p in parts}
    if not all(tails):
        return None, None
    subject = set(stems_of(card.summary))
    for param in card.params:
        if len(param.path) > 1 or not param.is_list or param.required:
            continue
        words = set(param.name_words)
        if words == heads and param.integral and all(t.isdigit() for t in tails):
            return param, [int(t) for t in tails]
        if param.textual and not param.schemes and words & (subject | heads):
            return param, tails
    return None, None
