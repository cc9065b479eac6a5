"""The planner's own sentences: plan lines, questions, refusals. Every filled value says where it came from."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from agentkit.agent.offline.cards import ParamCard, ToolCard
    from agentkit.agent.offline.intents import Claim
    from agentkit.agent.offline.request import Request

QUESTION = "One question: "
"""Every question begins so; the user's next message then answers it."""
SIGNATURE = "planned by the offline planner (rules and statistics, not a language model)"
MOST_OFFERED = 3


def ask_tool(cards: Sequence[ToolCard]) -> str:
    """Which of at most three tools is meant."""
    offered = "\n".join(f"- {c.name}: {c.summary}" for c in cards[:MOST_OFFERED])
    return f"{QUESTION}which of these do you mean? Answer with its name.\n{offered}"


def ask_param(card: ToolCard, param: ParamCard) -> str:
    """What a required param should be: its meaning, its bounds and an example answer."""
    meaning = f" ({param.description})" if param.description else ""
    return (
        f"{QUESTION}{card.name} needs `{param.name}`{meaning}{_allowed(param)}. "
        f"What shall it be? For example: {param.name} {_example(param)}"
    )


def ask_number(card: ToolCard, number: str) -> str:
    """What a number means that fits no param, or fits two."""
    known = ", ".join(f"{p.name}{_bounds(p)}" for p in card.params if p.numeric and len(p.path) == 1)
    return f"{QUESTION}what is {number}? {card.name} takes these numbers: {known}. For example: {_name_example(card)}"


def ask_place(card: ToolCard, place: str) -> str:
    """Where an address goes that the tool has no param for."""
    known = ", ".join(p.name for p in card.params if p.textual and len(p.path) == 1)
    return f"{QUESTION}what is {place}? {card.name} has no param that it fits; these take text: {known or 'none'}. For example: NAME={place}"


def ask_difference(claim: Claim) -> str:
    """By how much, where the request names a level that must not be crossed."""
    return (
        f"{QUESTION}by how much should {claim.metric} move? I test differences to the untouched target, not levels. "
        f"For example: by more than 0.05"
    )


def refusal(cards: Sequence[ToolCard]) -> str:
    """Off topic: what this planner is, and the three nearest things that it can do."""
    offered = "\n".join(f"- {c.name}: {c.summary}" for c in cards[:MOST_OFFERED])
    return (
        "I plan and test perturbations with the tools that are installed; I cannot discuss anything else. "
        f"I am rules and statistics, not a language model. The nearest that I can do:\n{offered}"
    )


def no_tools() -> str:
    """Nothing is installed that could be run."""
    return "No perturbation tool may be called here, so there is nothing to plan. `agentkit plugins list` shows what is installed."


def too_many_questions(card: ToolCard | None) -> str:
    """After three questions the planner stops asking."""
    name = card.name if card else "TOOL"
    return (
        f"I asked three times and still cannot fill what is missing. Say it in one line, for example: {name} "
        f"{' '.join(f'{p.name}={_example(p)}' for p in (card.params if card else ()) if p.required)}".rstrip()
        + "; or give the study explore steps (`explore:`)."
    )


def cancelled() -> str:
    """The user has ended a call: nothing more is started for this goal."""
    return "Stopped there; what was measured is kept. Say continue to go on, or ask for something else."


def plan_line(request: Request) -> str:
    """One line: tool, values with provenance, metric and claim, cost."""
    card = request.card
    said = f' [you: "{request.tool_said}"]' if request.tool_said else ""
    parts = [f"plan  {request.intent}: {card.name}{said}"]
    for name, value in request.params.items():
        parts.append(f'{name} {_short(value)} [you: "{request.said.get(name, name)}"]')
    if request.sweep:
        parts.append(f"{request.sweep[0]} at {', '.join(str(v) for v in request.sweep[1])}")
    defaults = [
        p.name for p in card.params if len(p.path) == 1 and p.name not in request.params and p.name != "units"
    ]
    if defaults:
        shown = [p for p in card.params if p.name in defaults and p.name in ("target", "data")]
        parts += [f"{p.name} {_short(p.default)} [default]" for p in shown]
    parts.append(_claim_words(request))
    units = request.units
    cost = f", about {card.seconds_per_unit * units:g} s" if card.seconds_per_unit else ""
    return (
        f"{'; '.join(parts)}; explore {units} units{cost} (never evidence), then fresh units for each claim"
    )


def _claim_words(request: Request) -> str:
    claim = request.claim
    metric = f"metric {claim.metric} [{_from(claim.metric_from, 'the first of the tool')}]"
    way = f"{claim.direction} [{_from(claim.direction_from, 'no direction said')}]"
    if claim.amount is None:
        return f"{metric}, {way}, sesoi [default: 5 % of the range, or 0.2 baseline sd]"
    return f"{metric}, {way}, sesoi {claim.amount:g} [{_from(claim.amount_from, 'default')}]"


def _from(said: str, otherwise: str) -> str:
    return f'you: "{said}"' if said else f"default: {otherwise}"


def _allowed(param: ParamCard) -> str:
    if param.values:
        return f", one of {', '.join(map(str, param.values))}"
    return _bounds(param)


def _bounds(param: ParamCard) -> str:
    if not param.numeric or (param.low is None and param.high is None):
        return ""
    low = "-inf" if param.low is None else f"{param.low:g}"
    high = "inf" if param.high is None else f"{param.high:g}"
    return f" [{low}, {high}]"


def _example(param: ParamCard) -> str:
    """An answer that the param would take."""
    if param.values:
        return str(param.values[0])
    if match := re.search(
        r"\b[a-z][a-z0-9+-]*:[A-Za-z][^\s,;)]*\?[^\s,;)]*|\b[a-z0-9]+:[\w./-]+|\b[A-Z]{2,}:\w+",
        param.description,
    ):
        return match[0]
    if param.numeric:
        low, high = param.low or 0.0, param.high if param.high is not None else (param.low or 0.0) + 1
        return f"{low if param.integral else (low + high) / 2:g}"
    return "G1" if "gene" in param.description else "NAME"


def _name_example(card: ToolCard) -> str:
    numeric = [p for p in card.params if p.numeric and len(p.path) == 1]
    best = next((p for p in numeric if p.is_strength), numeric[0] if numeric else None)
    return f"{best.name} {_example(best)}" if best else "leave it out"


def _short(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def status_lines(rows: Mapping[str, Any]) -> list[str]:
    """A status answer in lines, with nothing added: label, estimate, interval and n as the ledger gives them."""
    if "hypotheses" in rows:
        claims = [f"{h['hypothesis']} ({h['state']}): {h['claim']}" for h in rows["hypotheses"]]
        head = f"campaign {rows.get('campaign', '')}, alpha {rows.get('alpha', 0.05):g}: {len(claims)} claims"
        return [head, *claims] if claims else [f"{head}; nothing is registered yet"]
    if "tools" in rows:
        return [f"{name}: {summary}" for name, summary in rows["tools"].items()]
    if "runs" in rows:
        return [f"{r['run']} {r['phase']} {r['tool']}, {r['units']} units" for r in rows["runs"]] or [
            "no runs yet"
        ]
    if "hypothesis" in rows:
        return [_claim_status(rows)]
    if "budget" in rows:
        spent = rows.get("spent") or {}
        each = [f"{t}: {', '.join(f'{c} {v:.6g}' for c, v in s.items())}" for t, s in sorted(spent.items())]
        return [f"budget: {rows['budget']}", *each]
    return [json.dumps(rows, sort_keys=True)]


def _claim_status(row: Mapping[str, Any]) -> str:
    lo, hi = row.get("interval") or (None, None)
    shown = "" if lo is None or hi is None else f" [{lo:.3g}, {hi:.3g}]"
    estimate = row.get("estimate")
    value = "no estimate yet" if estimate is None else f"estimate {estimate:.3g}{shown}"
    state = row.get("state", "")
    label = (
        f"{row.get('label_if_stopped')}"
        if state == "closed"
        else f"{row.get('label_if_stopped')} if it were stopped now"
    )
    return f"{row['hypothesis']} ({state}): {label}; {value}, n={row.get('units')}"
