"""Options named in a request: values of enums, alone or in lists, and switches."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from agentkit.agent.offline.intents import is_direction_word
from agentkit.agent.offline.words import COMMON_VALUES, STOP, alike, pieces, stem, stems_of, synonyms

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agentkit.agent.offline.cards import ParamCard, ToolCard
    from agentkit.agent.offline.text import Token

MIXED = re.compile(
    r"\b(?:mix\w*|combin\w*|together|jointly|simultaneous\w*|at once|at the same time)\b", re.IGNORECASE
)
"""Words that ask for several kinds in one condition, where a tool has a param for that."""
WINDOW = 4
"""Within how many tokens the words of one value must stand."""


class Several(tuple[Any, ...]):
    """Values that a param takes one at a time: `pgd versus fgsm`."""


def option_values(
    card: ToolCard, text: str, tokens: Sequence[Token], consumed: set[int]
) -> dict[str, tuple[Any, list[Token]]]:
    """Param name to the value (or list of values) that the request names, with the tokens that named it."""
    found: dict[str, tuple[Any, list[Token]]] = {}
    for param in card.params:
        if len(param.path) > 1:
            continue
        if "boolean" in param.types and not param.values:
            if (switch := _switch(param, tokens)) is not None:
                found[param.name] = switch
        elif not (param.numeric and param.is_list) and (hits := _hits(param, card, tokens, consumed)):
            found[param.name] = _chosen(param, hits)
        if "array" in param.item_types and MIXED.search(text) and (kinds := _listed(found)):
            found[param.name] = ([kinds[0]], kinds[1])
    return found


def _listed(found: dict[str, tuple[Any, list[Token]]]) -> tuple[list[Any], list[Token]] | None:
    """The values of a list that names several: what a mix is of."""
    return next((f for f in found.values() if isinstance(f[0], list) and len(f[0]) > 1), None)


def _chosen(param: ParamCard, hits: list[tuple[Any, list[Token]]]) -> tuple[Any, list[Token]]:
    words = [t for _, ts in hits for t in ts]
    if not param.is_list and len(hits) > 1:
        return Several(dict.fromkeys(v for v, _ in hits)), words
    if not param.is_list or hits[0][0] in param.alone:
        return hits[0]
    return list(dict.fromkeys(v for v, _ in hits)), words


def _hits(
    param: ParamCard, card: ToolCard, tokens: Sequence[Token], consumed: set[int]
) -> list[tuple[Any, list[Token]]]:
    """Values named, in the order of the request; long names first, so that `mean_ablate` hides `ablate`."""
    taken: set[int] = set()
    exact: list[tuple[Any, list[Token]]] = []
    for value in sorted(param.values, key=lambda v: (-len(pieces(str(v))), str(v))):
        said = _said(str(value), tokens, consumed | taken)
        if not said and (name := _own_name(str(value), param)):
            said = _said(name, tokens, consumed | taken)
        if said and _means_it(value, said, param, card, tokens):
            taken |= {t.index for t in said}
            exact.append((value, said))
    exact = _without_shorter_names(exact, tokens)
    exact = _without_subject_words(exact, param, card, tokens)
    if exact:
        return sorted(exact, key=lambda h: min(t.index for t in h[1]))
    return _described(param, card, tokens, consumed) or _by_synonym(param, card, tokens, consumed)


def _own_name(value: str, param: ParamCard) -> str:
    """What a member of a family is called by itself (`fog` of `imagenet_c.fog`), unless another value is meant by that."""
    family, dot, name = value.rpartition(".")
    plain = [set(pieces(str(v))) for v in param.values if "." not in str(v)]
    return name if family and dot and not any(p <= set(pieces(name)) for p in plain) else ""


def _said(value: str, tokens: Sequence[Token], unusable: set[int]) -> list[Token]:
    """The tokens that spell a value, whole or in pieces near each other."""
    usable = [t for t in tokens if t.kind in ("word", "symbol", "site", "quoted") and t.index not in unusable]
    for token in usable:
        if token.text.casefold() == value.casefold() or _abbreviates(token.text, value):
            return [token]
    parts = [stem(p) for p in pieces(value)]
    if not parts or (len(parts) == 1 and len(parts[0]) < 2):
        return _lettered(value, usable)
    spots = [[t for t in usable if _spells(t, part)] for part in parts]
    if len(parts) > 1 and any(spots):
        spots = [
            row or [t for t in usable if _means(t, part)] for row, part in zip(spots, parts, strict=True)
        ]
    if not all(spots):
        return []
    for start in spots[0]:
        nearest = [min(row, key=lambda t: abs(t.index - start.index)) for row in spots]
        first, last = min(t.index for t in nearest), max(t.index for t in nearest)
        telling = [t for t in tokens[first + 1 : last] if not t.numeric and t.text.casefold() not in STOP]
        if last - first < WINDOW or not telling:
            return nearest
    return []


def _abbreviates(said: str, value: str) -> bool:
    """`bf16` for `bfloat16`: the same number, and the letters begin alike and come in the same order."""
    ours, theirs = (re.fullmatch(r"([a-z]+)(\d{2,})", w.casefold()) for w in (said, value))
    if not ours or not theirs or ours[2] != theirs[2] or ours[1][0] != theirs[1][0]:
        return False
    rest = iter(theirs[1])
    return all(letter in rest for letter in ours[1])


def _means(token: Token, part: str) -> bool:
    """Whether a word means a part of a value: a near-synonym, or the same word longer (`acts` for `action`)."""
    meanings = {token.stem, *synonyms().get(token.stem, ())}
    return any(alike(m, part) for m in meanings) and token.text.casefold() not in STOP


def _spells(token: Token, part: str) -> bool:
    return token.stem == part or part in [stem(p) for p in pieces(token.text)]


def _lettered(value: str, usable: Sequence[Token]) -> list[Token]:
    """`2` in `L2`."""
    return [t for t in usable if value.isdigit() and t.text.casefold() == f"l{value}"][:1]


def _means_it(
    value: Any, said: Sequence[Token], param: ParamCard, card: ToolCard, tokens: Sequence[Token]
) -> bool:
    """Whether a common word is really meant as a value: then the param's name stands beside it."""
    text = str(value).casefold()
    numbers = {p.name for p in card.params if p.numeric}
    doubtful = text in COMMON_VALUES or text.isdigit() or text in numbers or text in STOP
    if any(m.name == text for m in card.metrics):
        doubtful = True
    return not doubtful or _name_beside(param, said, tokens)


def _name_beside(param: ParamCard, said: Sequence[Token], tokens: Sequence[Token]) -> bool:
    indices = {t.index for t in said}
    return any(
        t.index not in indices and any(alike(t.stem, w) for w in param.name_words if len(w) > 1)
        for t in tokens
        if t.kind in ("word", "symbol") and any(abs(t.index - i) <= 3 for i in indices)
    )


def _without_shorter_names(
    hits: list[tuple[Any, list[Token]]], tokens: Sequence[Token]
) -> list[tuple[Any, list[Token]]]:
    """`ablate every head, with mean ablation` means `mean_ablate` alone; `ablate versus mean ablate` means both."""
    names = [{stem(p) for p in pieces(str(v))} for v, _ in hits]
    kept = []
    for (value, said), name in zip(hits, names, strict=True):
        longer = [ts for (_, ts), other in zip(hits, names, strict=True) if name < other]
        if not any(not _set_against(said, ts, tokens) for ts in longer):
            kept.append((value, said))
    return kept


def _set_against(a: Sequence[Token], b: Sequence[Token], tokens: Sequence[Token]) -> bool:
    """Whether a word of comparing or listing stands between two names."""
    spots = sorted({t.index for t in [*a, *b]})
    between = tokens[spots[0] : spots[-1] + 1]
    return any(
        t.text.casefold() in ("and", "or", "versus", "vs", "than", "against", "to", ",") for t in between
    )


def _without_subject_words(
    hits: list[tuple[Any, list[Token]]], param: ParamCard, card: ToolCard, tokens: Sequence[Token]
) -> list[tuple[Any, list[Token]]]:
    """A word of the tool's own first line says what the tool is; it names a value only beside another value."""
    if not param.is_list:
        return hits
    subject = set(stems_of(card.summary))
    kept = []
    for value, said in hits:
        others = [t.index for v, ts in hits if v != value for t in ts]
        enumerated = any(abs(t.index - o) <= 2 or _joined(t.index, o, tokens) for t in said for o in others)
        if enumerated or not all(t.stem in subject for t in said):
            kept.append((value, said))
    return kept


def _joined(a: int, b: int, tokens: Sequence[Token]) -> bool:
    """`LoRA and zeroth order (zo)`, `lora r=4 and sam`: a word that lists stands between, and the other value is not far."""
    low, high = min(a, b), max(a, b)
    return high - low <= 6 and any(
        t.text.casefold() in ("and", "or", ",", "+") for t in tokens[low + 1 : high]
    )


def _described(
    param: ParamCard, card: ToolCard, tokens: Sequence[Token], consumed: set[int]
) -> list[tuple[Any, list[Token]]]:
    """A value by the words that explain it: `2: also every pair of them`, `cle: chemical Langevin`."""
    found: list[tuple[int, Any, list[Token]]] = []
    numbers = {w for p in card.params if p.numeric for w in p.name_words}
    for value in param.values:
        match = re.search(
            rf"(?:^|[\s;,]){re.escape(str(value))}(?: \([^)]*\))?: ([^;:,(]*)", param.description
        )
        words = list(dict.fromkeys(stems_of(match[1])))[:3] if match else []
        usable = [t for t in tokens if t.kind == "word" and t.index not in consumed]
        spots = [
            next((t for t in usable if _like(t, w) or w in synonyms().get(t.stem, ())), None) for w in words
        ]
        held = [t for t in spots if t is not None]
        if len(words) == 1 and (words[0] in numbers or str(value).casefold() in COMMON_VALUES):
            continue  # `one step` explains a value, but `steps` is a number of its own
        if words and len(held) == len(words):
            spread = max(t.index for t in held) - min(t.index for t in held)
            if spread <= WINDOW and (len(words) > 1 or not is_direction_word(held[0])):
                found.append((len(words), value, held))
    found.sort(key=lambda f: (-f[0], f[1] == param.default))
    return [(value, held) for _, value, held in found[:1] if value != param.default]


def _like(token: Token, word: str) -> bool:
    return any(alike(stem(p), word) for p in pieces(token.text))


def _by_synonym(
    param: ParamCard, card: ToolCard, tokens: Sequence[Token], consumed: set[int]
) -> list[tuple[Any, list[Token]]]:
    """A value by a near-synonym (`knock down` is KD), when exactly one value has it."""
    hits: list[tuple[Any, list[Token]]] = []
    for value in param.values:
        parts = pieces(str(value))
        if len(parts) != 1 or len(parts[0]) < 2 or str(value).casefold() in COMMON_VALUES:
            continue
        for token in tokens:
            plain = token.kind in ("word", "symbol") and token.index not in consumed
            if not plain or token.text.casefold() in STOP or is_direction_word(token):
                continue
            if stem(parts[0]) in synonyms().get(token.stem, ()) and token.stem not in stems_of(card.summary):
                hits.append((value, [token]))
                break
    return hits if len({str(v) for v, _ in hits}) == 1 and hits[0][0] != param.default else []


def _switch(param: ParamCard, tokens: Sequence[Token]) -> tuple[bool, list[Token]] | None:
    """`with per module`, `without verification`."""
    said = [next((t for t in tokens if t.kind == "word" and _like(t, w)), None) for w in param.name_words]
    held = [t for t in said if t is not None]
    if len(held) < len(param.name_words) or max(t.index for t in held) - min(t.index for t in held) >= WINDOW:
        return None
    first = min(t.index for t in held)
    before = [t.text.casefold() for t in tokens if first - 3 <= t.index < first]
    after = [
        t.text.casefold()
        for t in tokens
        if first < t.index <= first + 3 and t.index == max(h.index for h in held) + 1
    ]
    off = (
        any(w in ("without", "no", "not", "off", "skip", "don't") for w in [*before, *after])
        or "false" in after
    )
    return not off, held
