"""Numbers of a request and the params they belong to: the assignment with the largest support, never a guess."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from agentkit.agent.offline.words import STOP, pieces, stem, synonyms

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from agentkit.agent.offline.cards import ParamCard
    from agentkit.agent.offline.text import Token

REACH = 3
"""How many tokens away a param's name may stand from its number."""
MOST_GROUPS = 6
ENOUGH = 2.0
"""Least support: named beside the number, or the one strength of the tool and inside its bounds."""


@dataclass(frozen=True)
class Group:
    """Numbers that were listed together, or one range."""

    tokens: tuple[Token, ...]

    @property
    def is_range(self) -> bool:
        """Whether it is `a to b`."""
        return self.tokens[0].kind == "range"

    @property
    def worded(self) -> bool:
        """Whether the number was written as a word, which often counts nothing (`two models`)."""
        return len(self.tokens) == 1 and self.tokens[0].text.isalpha()

    @property
    def text(self) -> str:
        """As written."""
        return ", ".join(t.text for t in self.tokens)

    def values_for(self, param: ParamCard) -> list[float]:
        """The numbers in the param's units: 30 % is 0.3 where values lie in [0, 1]."""
        share = any(t.percent for t in self.tokens) and param.unit_interval
        values = [v / 100 if share else v for t in self.tokens for v in t.values]
        return [round(v, 12) for v in values]


def groups_of(tokens: Sequence[Token], consumed: set[int]) -> list[Group]:
    """Free numbers of a request; neighbours joined by commas, `and` or `or` are one group."""
    groups: list[list[Token]] = []
    free = [t for t in tokens if t.numeric and t.index not in consumed]
    for token in free:
        last = groups[-1][-1] if groups else None
        between = [] if last is None else [t for t in tokens if last.index < t.index < token.index]
        joined = last is not None and all(t.text.casefold() in (",", "and", "or") for t in between)
        if joined and last is not None and last.kind == token.kind == "number":
            groups[-1].append(token)
        else:
            groups.append([token])
    return [Group(tuple(g)) for g in groups]


def assign(
    groups: Sequence[Group],
    params: Sequence[ParamCard],
    tokens: Sequence[Token],
    anchors: Iterable[int],
) -> tuple[list[tuple[Group, ParamCard]], list[Group]]:
    """Pairs of group and param with the largest total support, and the groups that fit nowhere.

    Args:
        groups: numbers of the request.
        params: numeric params of the tool.
        tokens: the whole request.
        anchors: indices of tokens that named an option; a strength often stands beside one (`typos 0.2`).
    """
    anchors = set(anchors)
    placed: list[tuple[Group, ParamCard]] = []
    left: list[Group] = []
    work = [g for group in groups for g in _split_where_needed(group, params, tokens, anchors)]
    options = [_options(g, params, tokens, anchors) for g in work]
    kept = _without_repeats(work, options)
    work, options = [work[i] for i in kept], [options[i] for i in kept]
    chosen = _best(options) if len(work) <= MOST_GROUPS else _greedy(options)
    for group, choice in zip(work, chosen, strict=True):
        if choice is not None:
            placed.append((group, choice))
        elif not group.worded:
            left.append(group)
    return placed, left


def _split_where_needed(
    group: Group, params: Sequence[ParamCard], tokens: Sequence[Token], anchors: set[int]
) -> list[Group]:
    """A list that no list param takes as a whole is several numbers: `eps 0.05 and 0.1, 10 steps`."""
    if len(group.tokens) == 1 or any(p.is_list for _, p in _options(group, params, tokens, anchors)):
        return [group]
    cuts = [(Group(group.tokens[:i]), Group(group.tokens[i:])) for i in range(len(group.tokens) - 1, 0, -1)]
    for tail_too in (True, False):  # rather one number left over than all
        for head, tail in cuts:
            heads, tails = (_options(g, params, tokens, anchors) for g in (head, tail))
            if heads and (tails or not tail_too) and (len(head.tokens) == 1 or heads[0][1].is_list):
                return [head, *_split_where_needed(tail, params, tokens, anchors)]
    return [group]


def _without_repeats(
    groups: Sequence[Group], options: Sequence[Sequence[tuple[float, ParamCard]]]
) -> list[int]:
    """Indices of the groups, a number said twice counted once, where it is named best."""
    kept: list[int] = []
    for i, group in enumerate(groups):
        twins = [k for k in kept if [t.values for t in groups[k].tokens] == [t.values for t in group.tokens]]
        shared = [
            k
            for k in twins
            if not (options[k] and options[i])
            or {p.path for _, p in options[k]} & {p.path for _, p in options[i]}
        ]
        if not shared:
            kept.append(i)
        elif _strength_of(options[i]) > _strength_of(options[shared[0]]):
            kept[kept.index(shared[0])] = i
    return kept


def _strength_of(row: Sequence[tuple[float, ParamCard]]) -> float:
    return row[0][0] if row else 0.0


def _options(
    group: Group, params: Sequence[ParamCard], tokens: Sequence[Token], anchors: set[int]
) -> list[tuple[float, ParamCard]]:
    scored = [(support(group, p, tokens, anchors), p) for p in params]
    kept = [(s, p) for s, p in scored if s >= (ENOUGH + 1 if group.worded else ENOUGH)]
    return sorted(kept, key=lambda o: -o[0])[:8]


def support(group: Group, param: ParamCard, tokens: Sequence[Token], anchors: set[int]) -> float:
    """How well numbers fit a param: its name beside them, its bounds, whole numbers, one strength among the params."""
    values = group.values_for(param)
    ends = [v for v in values if not (group.is_range and v == 0)] if param.is_list else values
    if param.integral and any(t.percent for t in group.tokens):
        return 0.0  # nobody counts in per cent
    if not ends or not all(param.inside(v) for v in ends):
        return 0.0
    named = named_beside(group, param, tokens)
    nested = len(param.path) > 1
    if nested and (named < 2 or not _mentions(tokens, param.path[0])):
        return 0.0
    total = named + 1.0
    if param.integral or not all(v.is_integer() for v in values):
        total += 0.5
    if param.is_strength and not nested:
        beside = any(abs(t.index - a) <= REACH for t in group.tokens for a in anchors)
        total += 0.6 + (0.5 if beside else 0.0) + (0.2 if param.is_list else 0.0)
    elif not named and not (param.values and param.integral and param.is_list):
        return 0.0
    if param.values and param.integral:
        total += 0.5
    if len(values) > 1:
        total += 0.5 if param.is_list else -0.5
    if any(t.percent for t in group.tokens):
        total += 0.3 if param.unit_interval else -0.6
    return total


def named_beside(group: Group, param: ParamCard, tokens: Sequence[Token]) -> float:
    """2 to 3.5 when the param's name stands beside the numbers, about 1.2 when a word of its description does."""
    first, last = group.tokens[0].index, group.tokens[-1].index
    if first >= 2 and tokens[first - 1].text in "=:" and _is_name(tokens[first - 2], param.name):
        return 5.0
    words = [w for w in param.name_words if len(param.name_words) == 1 or (len(w) > 1 and w not in STOP)]
    near = [(t, _steps(t.index, first, last, tokens)) for t in tokens if t.kind in ("word", "symbol", "site")]
    near = [(t, d) for t, d in near if d <= REACH]
    distances = [min((d for t, d in near if _same(t, w)), default=None) for w in words]
    held = [d for d in distances if d is not None]
    if held and (len(held) == len(words) or (len(words) > 1 and len(held) >= len(words) / 2)):
        if len(param.name) <= 2 and min(held) > 1:
            return 0.0
        share = len(held) / len(words)
        told = any(_same(t, w) for t, _ in near for w in param.described_by - set(words) if len(w) > 2)
        return 2.0 * share + 0.35 * (REACH - min(held)) + 0.15 * (len(held) - 1) + (0.4 if told else 0.0)
    about = param.described_by - set(words)
    said_of_it = sum(1 for w in about if len(w) > 2 and any(_same(t, w) for t in tokens if t.kind == "word"))
    likely = [
        (1.5, d)
        for t, d in near
        if any(w in synonyms().get(stem(t.text), ()) for w in words) and t.stem not in STOP
    ]
    likely += [
        (1.2, d)
        for t, d in near
        if t.text.casefold() not in STOP and any(_same(t, w) for w in param.described_by if len(w) > 2)
    ]
    best = max((base + 0.15 * (REACH - d) for base, d in likely), default=0.0)
    return best + 0.2 * min(max(said_of_it - 1, 0), 2) if best else 0.0


def _steps(index: int, first: int, last: int, tokens: Sequence[Token]) -> int:
    """Tokens between a word and the numbers; a comma or another number in between is a border."""
    lo, hi = (index, first) if index < first else (last, index)
    crossed = [t for t in tokens if lo < t.index < hi]
    borders = sum(2 for t in crossed if t.text in ",;:" or t.numeric)
    return hi - lo + borders


def _is_name(token: Token, name: str) -> bool:
    return token.text.casefold() == name or _same(token, stem(name))


def _same(token: Token, word: str) -> bool:
    if token.kind == "site":
        return token.text.casefold() == word
    parts = [stem(p) for p in pieces(token.text)]
    return any(p == word or (len(word) >= 3 and len(p) >= 3 and p.startswith(word)) for p in parts)


def _mentions(tokens: Sequence[Token], name: str) -> bool:
    return any(_is_name(t, name) for t in tokens)


def _best(options: Sequence[Sequence[tuple[float, ParamCard]]]) -> list[ParamCard | None]:
    """Exhaustive: each param at most once, the largest total; a group may stay free at no gain."""
    best: tuple[float, list[ParamCard | None]] = (-1.0, [None] * len(options))

    def extend(i: int, total: float, taken: list[ParamCard | None]) -> None:
        nonlocal best
        if i == len(options):
            if total > best[0] + 1e-9:
                best = (total, list(taken))
            return
        for score, param in options[i]:
            if all(t is None or t.path != param.path for t in taken):
                extend(i + 1, total + score, [*taken, param])
        extend(i + 1, total, [*taken, None])

    extend(0, 0.0, [])
    return best[1]


def _greedy(options: Sequence[Sequence[tuple[float, ParamCard]]]) -> list[ParamCard | None]:
    taken: list[ParamCard | None] = []
    for row in options:
        used = {t.path for t in taken if t is not None}
        taken.append(next((p for _, p in row if p.path not in used), None))
    return taken


def levels_between(low: float, high: float, count: int = 5) -> list[float]:
    """Levels over a range: geometric from 100-fold on, else linear; zero, the baseline, is left out."""
    if low > high:
        low, high = high, low
    if low > 0 and high / low >= 100:
        ratio = (high / low) ** (1 / (count - 1))
        found = [low * ratio**i for i in range(count)]
    elif low == 0:
        found = [high * (i + 1) / count for i in range(count)]
    else:
        found = [low + (high - low) * i / (count - 1) for i in range(count)]
    return [float(f"{v:.4g}") for v in found]
