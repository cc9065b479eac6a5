"""Understanding one request: what to run with which values and which claim, or what to ask, answer or refuse."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from agentkit.agent.offline import replies
from agentkit.agent.offline.choice import choose
from agentkit.agent.offline.intents import (
    CLAIM_ID,
    LEVEL,
    LOOK_ONLY,
    Claim,
    Intent,
    claim_of,
    intent_of,
    is_ledger_question,
)
from agentkit.agent.offline.text import normalised, read_tokens

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agentkit.agent.offline.cards import ToolCard
    from agentkit.agent.offline.choice import Choice
    from agentkit.agent.offline.values import Values

EXPLORE_UNITS, PILOT_UNITS, LEAST_UNITS = 8, 16, 2
SLOW_SECONDS = 600.0
"""A first look should not take longer; a tool that says it is slow gets fewer units."""
MOST_QUESTIONS = 3
PERTURBING = re.compile(
    r"\b(?:robust\w*|perturb\w*|sensitivit\w*|ablat\w*|stress[- ]test\w*|adversarial\w*|corrupt\w*|lesion\w*"
    r"|prun(?:e|ed|ing)|quanti[sz]\w*|knock\w*|silenc\w*|overexpress\w*)\b",
    re.IGNORECASE,
)
"""Words of the trade: a request with one of them is asked about, not refused."""


@dataclass(frozen=True)
class Request:
    """What to do, fully filled."""

    card: ToolCard
    intent: Intent
    params: dict[str, Any]
    claim: Claim
    units: int
    said: dict[str, str] = field(default_factory=dict)
    tool_said: str = ""
    sweep: tuple[str, tuple[Any, ...]] | None = None
    refinable: str | None = None
    """The list param whose levels the planner may refine."""
    look_only: bool = False
    budget: dict[str, float] = field(default_factory=dict)
    named_values: tuple[str, ...] = ()
    """Values the user named, as they may appear in a condition's name."""
    usual_values: tuple[str, ...] = ()
    """Default options of the tool, as they may appear in a condition's name."""
    units_said: bool = False
    text: str = ""


@dataclass(frozen=True)
class Reply:
    """Words instead of a run: a question, a refusal."""

    text: str
    kind: str


@dataclass(frozen=True)
class Lookup:
    """A question about what is recorded: the calls that answer it."""

    what: str
    id: str | None = None


def understand(parts: Sequence[str], cards: tuple[ToolCard, ...]) -> Request | Reply | Lookup:
    """Read a goal.

    Args:
        parts: the goal, then the user's answers to the questions asked about it.
        cards: the tools that may be called.
    """
    numbered = sorted({m.name for c in cards for m in c.metrics if re.search(r"\d", m.name)})
    text = normalised(". ".join(p.strip() for p in parts), numbered)
    if not cards:
        return Reply(replies.no_tools(), "refusal")
    if is_ledger_question(parts[0]):
        return lookup_of(parts[0])
    whole = frozenset(s for c in cards for p in c.params for s in p.whole_schemes)
    tokens = read_tokens(text, whole)
    choice = choose(cards, text, tokens)
    if not choice.on_topic and PERTURBING.search(text):
        return _asked(parts, replies.ask_tool(choice.cards), None)
    if not choice.on_topic:
        return Reply(replies.refusal(choice.cards), "refusal")
    if not choice.accepted:
        return _asked(parts, replies.ask_tool(choice.cards), None)
    card, values = choice.cards[0], choice.values[0]
    if (question := _open_point(card, values)) is not None:
        return _asked(parts, question, card)
    intent = intent_of(text, tokens, has_range=values.levels is not None or values.sweep is not None)
    used = frozenset(" ".join(values.said.values()).casefold().split())
    claim = claim_of(text, tokens, card, intent, used)
    if claim.amount is None and intent == "claim" and LEVEL.search(text):
        return _asked(parts, replies.ask_difference(claim), card)
    return _filled(card, values, intent, claim, text, choice)


def _asked(parts: Sequence[str], question: str, card: ToolCard | None) -> Reply:
    """One question, unless three were answered already."""
    if len(parts) > MOST_QUESTIONS:
        return Reply(replies.too_many_questions(card), "refusal")
    return Reply(question, "question")


def _open_point(card: ToolCard, values: Values) -> str | None:
    if values.missing:
        return replies.ask_param(card, values.missing[0])
    if values.homeless:
        return replies.ask_place(card, values.homeless[0])
    if values.unplaced:
        return replies.ask_number(card, values.unplaced[0])
    return None


def _filled(
    card: ToolCard, values: Values, intent: Intent, claim: Claim, text: str, choice: Choice
) -> Request:
    usual = PILOT_UNITS if intent in ("claim", "equivalence") else EXPLORE_UNITS
    units = values.units or _affordable(usual, card, values.budget)
    return Request(
        card=card,
        intent=intent,
        params=values.params,
        claim=claim,
        units=units,
        said=values.said,
        tool_said=choice.said,
        sweep=values.sweep,
        refinable=_refinable(card, values, intent),
        look_only=bool(LOOK_ONLY.search(text)),
        budget=values.budget,
        named_values=_condition_words(
            {**values.params, "sweep": list(values.sweep[1]) if values.sweep else []}
        ),
        usual_values=_condition_words(
            {
                p.name: p.default
                for p in card.params
                if p.values and len(p.path) == 1 and p.name not in values.params
            }
        ),
        units_said=values.units is not None,
        text=text,
    )


def _refinable(card: ToolCard, values: Values, intent: Intent) -> str | None:
    """The strength list, unless the user listed its values himself."""
    if intent not in ("dose", "look") or values.levels:
        return values.levels
    strength = next((p for p in card.params if p.is_strength and p.is_list and len(p.path) == 1), None)
    return strength.name if strength and strength.name not in values.params and intent == "dose" else None


def _affordable(units: int, card: ToolCard, budget: dict[str, float]) -> int:
    if not card.seconds_per_unit:
        return units
    seconds = min(SLOW_SECONDS, 0.3 * budget.get("seconds", 1e12))
    return max(LEAST_UNITS, min(units, int(seconds / card.seconds_per_unit)))


def _condition_words(params: dict[str, Any]) -> tuple[str, ...]:
    """How the named values would stand in a condition: `0.2`, `L3.H2`, `KO:A`, `typos`."""
    words: list[str] = []
    for value in params.values():
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, bool) or item is None:
                continue
            words.append(f"{item:g}" if isinstance(item, int | float) else str(item))
    return tuple(dict.fromkeys(words))


def lookup_of(text: str) -> Lookup:
    """Which rows a question about the record needs."""
    if match := CLAIM_ID.search(text):
        return Lookup("hypothesis", match[0]) if match[0].startswith("H") else _of_id(match[0])
    if re.search(r"\b(?:tools?|perturbations|can (?:you|i) do|help)\b", text, re.IGNORECASE):
        return Lookup("tools")
    if re.search(r"\bbudget\b", text, re.IGNORECASE):
        return Lookup("budget")
    if re.search(r"\bruns\b", text, re.IGNORECASE):
        return Lookup("runs")
    if re.search(
        r"\b(?:verdicts?|supported|contradicted|confirmed|inconclusive|decided|report|find|found|learn\w*|results?|evidence|findings|summari[sz]e)\b",
        text,
        re.IGNORECASE,
    ):
        return Lookup("report")
    return Lookup("campaign")


def _of_id(ref: str) -> Lookup:
    """A verdict `V3.1` belongs to the hypothesis `H3`; a run stands in the list of runs."""
    return Lookup("hypothesis", f"H{ref[1:].split('.')[0]}") if ref.startswith("V") else Lookup("runs", ref)
