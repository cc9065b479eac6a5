"""From words to params: everything a request says about one tool, with the words each value came from."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from agentkit.agent.offline.intents import LEVEL, MARGIN, is_direction_word, metric_in
from agentkit.agent.offline.numbers import assign, groups_of, levels_between
from agentkit.agent.offline.options import Several, option_values
from agentkit.agent.offline.places import (
    HEAD_OF_LAYER,
    condition_values,
    is_own_name,
    site_values,
    symbol_values,
    uri_values,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agentkit.agent.offline.cards import ParamCard, ToolCard
    from agentkit.agent.offline.numbers import Group
    from agentkit.agent.offline.text import Token

BUDGET_UNITS = {
    "s": "seconds", "sec": "seconds", "secs": "seconds", "second": "seconds", "seconds": "seconds", "min": "minutes",
    "mins": "minutes", "minute": "minutes", "minutes": "minutes", "hour": "hours", "hours": "hours", "h": "hours",
    "usd": "usd", "dollar": "usd", "dollars": "usd", "$": "usd", "tokens": "tokens", "runs": "runs", "run": "runs",
}  # fmt: skip


LEVEL_REACH = 4
"""Within how many tokens before `below 0.8` the metric and its verb stand."""
USUAL_LEVELS, MOST_LEVELS = 5, 50
LEVEL_WORDS = frozenset(["steps", "levels", "points", "values", "doses", "strengths", "stages", "settings"])
READERS = (site_values, uri_values, condition_values, option_values)
"""In this order; what one reader took, the next does not see."""


@dataclass
class Values:
    """What a request says about one tool's params."""

    params: dict[str, Any] = field(default_factory=dict)
    said: dict[str, str] = field(default_factory=dict)
    units: int | None = None
    sweep: tuple[str, tuple[Any, ...]] | None = None
    """A scalar param to be varied, one call a level."""
    levels: str | None = None
    """The list param whose values the planner chose from a range, and may refine."""
    budget: dict[str, float] = field(default_factory=dict)
    unplaced: list[str] = field(default_factory=list)
    """Numbers that fit no param: asked about, never dropped."""
    missing: list[ParamCard] = field(default_factory=list)
    homeless: list[str] = field(default_factory=list)
    """URIs, paths, sites and conditions of the request that the tool has no param for."""
    strange: int = 0
    """How many names of the request (G9, FGSM) neither fit a param nor stand anywhere in the tool's words."""
    named: int = 0
    """How many params the request names."""


def read_values(card: ToolCard, text: str, tokens: Sequence[Token]) -> Values:
    """Everything the request says about the tool's params."""
    values = Values()
    consumed = _claim_tokens(card, text, tokens) | _budget(values, card, tokens)
    anchors: set[int] = set()
    for reader in READERS:
        for name, (value, used) in reader(card, text, tokens, consumed).items():
            if name not in values.params:
                several = isinstance(value, Several) and len(value) > 1
                values.sweep = (name, tuple(value)) if several else values.sweep
                values.params[name] = value[0] if isinstance(value, Several) else value
                values.said[name] = " ".join(t.text for t in used)
                consumed |= {t.index for t in used}
                anchors |= {t.index for t in used}
    _numbers(values, card, tokens, consumed, anchors)
    for name, (value, used) in symbol_values(card, tokens, consumed, set(values.params)).items():
        values.params[name] = value
        values.said[name] = " ".join(t.text for t in used)
        consumed |= {t.index for t in used}
    atoms = [t for t in tokens if t.kind in ("uri", "path", "site", "condition") and t.index not in consumed]
    values.homeless = [t.text for t in atoms if t.text.casefold() not in card.vocabulary]
    values.homeless += [
        m[0] for m in HEAD_OF_LAYER.finditer(text) if not any(p.names_sites for p in card.params)
    ]
    values.strange = len([t for t in tokens if _is_strange(t, card) and t.index not in consumed])
    values.missing = [
        p for p in card.params if len(p.path) == 1 and p.required and p.name not in values.params
    ]
    values.named = len(values.params)
    return values


def _is_strange(token: Token, card: ToolCard) -> bool:
    return token.kind == "symbol" and is_own_name(token, card.vocabulary)


def _claim_tokens(card: ToolCard, text: str, tokens: Sequence[Token]) -> set[int]:
    """Numbers that are said of the metric: `by more than 0.05`, `before recall falls under 0.8`."""
    spans = []
    if margin := MARGIN.search(text):
        spans.append(next(margin.span(k) for k in "abc" if margin[k] is not None))
    for level in LEVEL.finditer(text):
        before = [t for t in tokens if t.start < level.start()][-LEVEL_REACH:]
        if any(is_direction_word(t) for t in before) and metric_in(before, card)[1]:
            spans.append(level.span("a"))
    own = {w for p in card.params if p.numeric for w in p.name_words}
    counted = {t.index for t, after in pairwise(tokens) if after.kind == "word" and after.stem in own}
    said = {t.index for t in tokens if t.numeric and any(a <= t.start < b for a, b in spans)}
    return said - counted  # `over 4 rounds` is no margin


def _budget(values: Values, card: ToolCard, tokens: Sequence[Token]) -> set[int]:
    """Numbers followed by a unit of time, money or runs; such a number is no param."""
    used: set[int] = set()
    own = {p.name for p in card.params}
    for token, following in pairwise(tokens):
        money = token.text == "$" and following.kind == "number"
        unit = "usd" if money else BUDGET_UNITS.get(following.text.casefold(), "")
        number = following if money else token
        if unit and number.kind == "number" and following.text.casefold() not in own:
            factor = {"minutes": 60.0, "hours": 3600.0}.get(unit, 1.0)
            key = "seconds" if unit in ("minutes", "hours") else unit
            values.budget[key] = number.values[0] * factor
            used |= {token.index, following.index}
    return used


def _numbers(
    values: Values, card: ToolCard, tokens: Sequence[Token], consumed: set[int], anchors: set[int]
) -> None:
    open_params = [p for p in card.params if p.numeric and p.name not in values.params]
    count = _count_of_levels(card, tokens, consumed)
    consumed |= {count.index} if count else set()
    placed, left = assign(groups_of(tokens, consumed), open_params, tokens, anchors)
    for group, param in placed:
        _place(values, group, param, int(count.values[0]) if count else USUAL_LEVELS)
    values.unplaced = [g.text for g in left]


def _count_of_levels(card: ToolCard, tokens: Sequence[Token], consumed: set[int]) -> Token | None:
    """How many levels a range shall have: `0 to 0.5 in 6 steps`, where `steps` is no number of the tool's own."""
    if not any(t.kind == "range" and t.index not in consumed for t in tokens):
        return None
    own = {w for p in card.params if p.numeric for w in p.name_words}
    for token, following in pairwise(tokens):
        whole = (
            token.kind == "number" and token.values[0].is_integer() and 2 <= token.values[0] <= MOST_LEVELS
        )
        if whole and following.text.casefold() in LEVEL_WORDS and following.stem not in own:
            return token
    return None


def _place(values: Values, group: Group, param: ParamCard, count: int) -> None:
    numbers: list[float] = group.values_for(param)
    if group.is_range and param.integral:
        low, high = int(min(numbers)), int(max(numbers))
        few = high - low < max(count, 6)
        numbers = [float(v) for v in range(low, high + 1)] if few else levels_between(low, high, count)
        numbers = list(dict.fromkeys(float(round(v)) for v in numbers))
    elif group.is_range:
        numbers = levels_between(numbers[0], numbers[1], count)
    typed = [_typed(v, param) for v in numbers]
    values.said[param.name] = group.text
    if param.path == ("units",):
        values.units = int(typed[0])
    elif len(param.path) > 1:
        values.params.setdefault(param.path[0], {})[param.name] = typed[0]
    elif param.is_list and not (
        "array" in param.types and len(param.types) > 1 and len(typed) == 1 and _scalar(param)
    ):
        values.params[param.name] = typed
        values.levels = param.name if group.is_range else values.levels
    else:
        values.params[param.name] = typed[0]
        if len(typed) > 1:
            values.sweep = (param.name, tuple(typed))


def _scalar(param: ParamCard) -> bool:
    """Whether a single number may stand without a list around it."""
    return bool({"number", "integer"} & param.types)


def _typed(value: float, param: ParamCard) -> Any:
    return int(value) if param.integral or (float(value).is_integer() and abs(value) >= 1) else value
