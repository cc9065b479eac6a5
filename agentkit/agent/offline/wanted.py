"""From what was explored for a request to the claims worth freezing, with their arguments for `register`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from agentkit.agent.offline.candidates import (
    WINNERS,
    claims_of,
    default_sesoi,
    effects_of,
    series_of,
)
from agentkit.agent.offline.strategy import SURVIVORS, sign_of, table_of, union
from agentkit.agent.offline.words import pieces, stem

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from agentkit.agent.offline.candidates import Effect
    from agentkit.agent.offline.request import Request
    from agentkit.agent.offline.strategy import Look

MOST_CLAIM_TEXT = 500


def wanted_claims(request: Request, looks: Sequence[Look]) -> list[dict[str, Any]]:
    """Arguments of `register`, most promising first."""
    if request.intent in ("claim", "equivalence"):
        return _stated(request, looks)
    if request.intent == "compare":
        return _compared(request, looks) or _stated(request, looks)
    return _suggested(request, looks)


def _suggested(request: Request, looks: Sequence[Look]) -> list[dict[str, Any]]:
    """What the looks suggest: along all levels of a dose, among the sites that are left of a scan."""
    metric = request.claim.metric
    answered = [look for look in looks if look.answer is not None]
    seen = answered[-1:] if request.intent == "scan" else answered
    effects, table = union(seen, metric)
    if not effects:
        return []
    sesoi = request.claim.amount or default_sesoi(table)
    either = request.claim.direction == "two_sided" and table.get("higher_is_better") is None
    sign = 0 if either else sign_of(request, table)
    claims = claims_of(effects, sign, sesoi, winners=SURVIVORS)[: WINNERS + SURVIVORS]
    moved = any(c["direction"] != "equivalent" for c in claims)
    if request.claim.direction == "two_sided" and not moved:  # nothing does harm; something may do good
        claims = claims_of(effects, 0, sesoi, winners=SURVIVORS)[: WINNERS + SURVIVORS]
    bounded = table.get("low") is not None and table.get("high") is not None
    if not bounded:  # without a range no interval can show equivalence
        claims = [c for c in claims if c["direction"] != "equivalent"]
    return [
        {**_common(request, look, sesoi), **c}
        for c in claims
        if (look := _look_with(seen, metric, c["condition"]))
    ]


def _stated(request: Request, looks: Sequence[Look]) -> list[dict[str, Any]]:
    """The user's own claim, about the condition that he named."""
    metric = request.claim.metric
    effects, table = union(looks, metric)
    if not effects:
        return []
    sesoi = request.claim.amount or default_sesoi(table)
    chosen = _named_conditions(request, effects)
    other = _other_side(request, effects, chosen)
    claims = []
    if len(chosen) == 2 and re.search(r"\bthan\b", request.text, re.IGNORECASE):
        chosen, other = _in_order_of_speech(request, chosen)
    for effect in chosen:
        look = _look_with(looks, metric, effect.condition)
        direction, null = _terms(request, table)
        compared = (
            {"contrast": {effect.condition: 1.0, other: -1.0}} if other else {"condition": effect.condition}
        )
        if look is not None:
            claims.append({**_common(request, look, sesoi), **compared, "direction": direction, "null": null})
    return claims


def _terms(request: Request, table: Mapping[str, Any]) -> tuple[str, float]:
    way, amount = request.claim.direction, request.claim.amount
    if way in ("two_sided", "equivalent"):
        return way, 0.0
    sign = sign_of(request, table)
    return ("greater" if sign > 0 else "less"), sign * amount if amount else 0.0


def _compared(request: Request, looks: Sequence[Look]) -> list[dict[str, Any]]:
    """The difference itself, where one call holds both sides as conditions."""
    effects, table = union(looks, request.claim.metric)
    sides = _named_conditions(request, effects)
    look = _look_with(looks, request.claim.metric, *(e.condition for e in sides))
    if len(sides) != 2 or look is None:
        return []
    sesoi = request.claim.amount or default_sesoi(table)
    contrast = {sides[0].condition: 1.0, sides[1].condition: -1.0}
    return [{**_common(request, look, sesoi), "contrast": contrast, "direction": "two_sided", "null": 0.0}]


def _common(request: Request, look: Look, sesoi: float) -> dict[str, Any]:
    return {
        "tool": request.card.name,
        "params": dict(look.params),
        "metric": request.claim.metric,
        "sesoi": sesoi,
        "claim": request.text[:MOST_CLAIM_TEXT],
    }


def _look_with(looks: Sequence[Look], metric: str, *conditions: str) -> Look | None:
    """The last look that measured all the conditions."""
    for look in reversed(looks):
        if set(conditions) <= set(table_of(look, metric).get("conditions", ())):
            return look
    return None


def _named_conditions(request: Request, effects: Sequence[Effect]) -> list[Effect]:
    """The conditions that hold most of the values the user named; when none does, the clearest one."""
    scores = {e.condition: _named_score(request, e.condition) for e in effects}
    best = max(scores.values(), default=0.0)
    if best >= 1:
        return [e for e in effects if scores[e.condition] == best][:WINNERS]
    own = [e for e in effects if scores[e.condition] == best and not e.is_control]
    return sorted(own, key=lambda e: (-abs(e.mean) / max(e.se, 1e-12), e.condition))[:1]


def _named_score(request: Request, condition: str) -> float:
    parts = {condition.casefold(), *(p.casefold() for p in re.split(r"[=:,@+]", condition))}
    named = sum(
        1.0
        for w in request.named_values
        if w.casefold() in parts or w.casefold() in condition.casefold().split("+")
    )
    usual = sum(0.5 for w in request.usual_values if w.casefold() in parts)
    return named + usual


def _in_order_of_speech(request: Request, pair: Sequence[Effect]) -> tuple[list[Effect], str]:
    """`typos hurt more than swaps`: the first is compared with the second."""
    kinds = [e.condition.partition("=")[0].casefold() for e in pair]
    spots = [request.text.casefold().find(k) for k in kinds]
    first = 1 if spots[1] < spots[0] else 0
    return [pair[first]], pair[1 - first].condition


def _other_side(request: Request, effects: Sequence[Effect], chosen: Sequence[Effect]) -> str | None:
    """The condition named after `than`: `more than random sign noise at 0.1`."""
    match = re.search(r"\bthan\b(?P<rest>.*)", request.text, re.IGNORECASE | re.DOTALL)
    if match is None or len(chosen) != 1:
        return None
    words = {stem(p) for w in re.findall(r"\w+", match["rest"]) for p in pieces(w)}
    level = chosen[0].condition.partition("=")[2]
    for effect in effects:
        kind, _, strength = effect.condition.partition("=")
        names = [stem(p) for p in pieces(kind)]
        if effect is not chosen[0] and strength == level and names and all(n in words for n in names):
            return effect.condition
    return None


def explored_lines(request: Request, looks: Sequence[Look]) -> list[str]:
    """What was seen, marked as exploratory: the clearest conditions of the asked metric."""
    lines = []
    for look in looks:
        table = table_of(look, request.claim.metric)
        effects = effects_of(table) if table else []
        for e in _most_telling(request, effects)[:SURVIVORS]:
            n = (look.answer or {}).get("units", look.units)
            lines.append(
                f"exploratory: {request.claim.metric} of {e.condition} {e.mean:+.3g} ± {e.se:.2g} (se), n={n}"
            )
    return lines


def _most_telling(request: Request, effects: Sequence[Effect]) -> list[Effect]:
    """What the user named first, then steps of a dose or sites, then the rest; each by how clear it is."""
    stepped = {e.condition for row in series_of(effects).values() for e in row}

    def rank(e: Effect) -> tuple[float, bool, float, str]:
        clear = -abs(e.mean) / max(e.se, 1e-12)
        return (
            -_named_score(request, e.condition),
            bool(stepped) and e.condition not in stepped,
            clear,
            e.condition,
        )

    return sorted(effects, key=rank)
