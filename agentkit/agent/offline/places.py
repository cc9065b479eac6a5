"""Where to perturb and what to read: URIs, paths, sites, conditions and names of genes or columns."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from agentkit.agent.offline.words import NUMBER_WORDS, STOP, alike, pieces, stem, synonyms

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agentkit.agent.offline.cards import ParamCard, ToolCard
    from agentkit.agent.offline.text import Token

BEFORE_A_NAME = frozenset(["gene", "genes", "regulator", "regulators", "the", "of", "for", "both"])
"""What may stand between `knock out` and the name that it is about; `knock-outs that move G` is about others."""
AFTER_A_PARAM = {"uri": {"=", ":", "is"}, "path": {"=", ":", "is", "are", "in", "file"}}
"""What may stand between the name of a param and its value: `results are in results.csv`, but not `genes in grn:toggle`."""
TAG = re.compile(r"\b([A-Z]{2,}):[A-Z]\b")
NUMBERS = r"\d+(?:\s*(?:,|and|or|&|,\s*and)\s*\d+)*"
HEAD_OF_LAYER = re.compile(
    rf"\bheads?\s+(?P<h1>{NUMBERS})\s+(?:of|in|from|at)\s+(?:the\s+)?layer\s+(?P<l1>\d+)"
    rf"|\blayer\s+(?P<l2>\d+)[\s,]+heads?\s+(?P<h2>{NUMBERS})"
    rf"|\blayers?\s+(?P<from>\d+)\s*(?:-|–|\.\.+|to|through|until)\s*(?P<to>\d+)(?!\s*[-.]\d)"
    rf"|\blayers?\s+(?P<l3>{NUMBERS})(?!\s*[-.]\d)"
    rf"|\b(?P<h3>(?:\d+(?:st|nd|rd|th)))\s+head\s+(?:of|in)\s+layer\s+(?P<l4>\d+)",
    re.IGNORECASE,
)
HEAD_OF_EVERY_LAYER = re.compile(
    rf"\bheads?\s+(?P<h>{NUMBERS})\s+(?:of|in|from|at)\s+(?:each|every|all(?:\s+the)?)\s+layers?\b",
    re.IGNORECASE,
)
RELATIVE_LAYER = re.compile(
    rf"\b(?P<end>first|last|final)\s+(?:(?P<n>[2-9]|{'|'.join(NUMBER_WORDS)})\s+)?layers?\b", re.IGNORECASE
)

Placed = dict[str, tuple[Any, list["Token"]]]


def site_values(card: ToolCard, text: str, tokens: Sequence[Token], consumed: set[int]) -> Placed:
    """Sites for the param that takes them: `L3.H2`, `head 2 of layer 3`, `layers 1 and 4`."""
    param = next((p for p in card.params if p.takes_sites), None) or next(
        (p for p in card.params if p.names_sites and not p.is_list), None
    )
    if param is None:
        return {}
    sites, used = [], []
    for token in tokens:
        if token.kind == "site":
            sites.append((token.start, _written_site(token.text, param)))
            used.append(token)
    for start, end, site in [*_worded_sites(text), *_relative_layers(text)]:
        sites.append((start, ", ".join(_written_site(s, param) for s in site)))
        used += [t for t in tokens if start <= t.start < end]
    if not sites:
        return {}
    joined = ", ".join(s for _, s in sorted(sites))
    return {param.name: ([joined] if param.is_list and "string" not in param.types else joined, used)}


def _worded_sites(text: str) -> list[tuple[int, int, list[str]]]:
    """`head 2 of layer 3`, `layers 1 and 4`: where it stands, and its sites."""
    found = []
    for match in HEAD_OF_LAYER.finditer(text):
        heads = re.findall(r"\d+", match["h1"] or match["h2"] or match["h3"] or "")
        if match["from"]:
            layers = [str(n) for n in range(int(match["from"]), int(match["to"]) + 1)]
        else:
            layers = re.findall(r"\d+", match["l1"] or match["l2"] or match["l3"] or match["l4"])
        found.append((*match.span(), [f"L{la}.H{h}" for la in layers for h in heads or ["*"]]))
    found += [
        (*m.span(), [f"L*.H{h}" for h in re.findall(r"\d+", m["h"])])
        for m in HEAD_OF_EVERY_LAYER.finditer(text)
    ]
    return found


def _relative_layers(text: str) -> list[tuple[int, int, list[str]]]:
    """`the last two layers` counts from the end, as sites do: L-2 and L-1."""
    found = []
    for match in RELATIVE_LAYER.finditer(text):
        word = (match["n"] or "1").casefold()
        count = NUMBER_WORDS.get(word) or int(word)
        layers = range(count) if match["end"].casefold() == "first" else range(-count, 0)
        found.append((*match.span(), [f"L{la}.H*" for la in layers]))
    return found


def _written_site(text: str, param: ParamCard) -> str:
    """`L3H2` and `L3` in the pattern language of a param: `L3.H2`, `L3.H*`; `L3` where it names layers only."""
    text = text if "H" in text else f"{text}.H*"
    text = text if "." in text else text.replace("H", ".H")
    return text.partition(".")[0] if param.takes_layers else text


def uri_values(card: ToolCard, text: str, tokens: Sequence[Token], consumed: set[int]) -> Placed:
    """URIs and paths for the params that take them, by scheme, by the param's name, then by order."""
    found: Placed = {}
    for token in sorted(tokens, key=lambda t: (t.kind != "uri", t.index)):
        if token.kind not in ("uri", "path") or token.index in consumed:
            continue
        scored = [(_uri_fit(token, p, tokens), -i, p) for i, p in enumerate(card.params) if _takes_text(p)]
        scored = [s for s in scored if s[0] >= 1 and s[2].name not in found]
        if scored:
            param = max(scored, key=lambda s: s[:2])[2]
            found[param.name] = (_wrapped(param, token.text), [token])
    for param in card.params:
        if (
            _takes_text(param)
            and param.name not in found
            and (said := _scheme_in_words(param, tokens, consumed))
        ):
            found[param.name] = (_wrapped(param, said[0]), [said[1]])
    _add_companions(card, found)
    return found


def _add_companions(card: ToolCard, found: Placed) -> None:
    """The data that go with a named model, and the model that goes with named data, as descriptions say."""
    for param in card.params:
        for uri, used in list(found.values()):
            if _takes_text(param) and param.name not in found and (with_it := param.companion_of(str(uri))):
                found[param.name] = (_wrapped(param, with_it), used)
        for own, other in param.companions:
            if param.name in found and found[param.name][0] == own:
                takers = [p for p in card.params if other[:-1] in p.bare_schemes and p.name not in found]
                found |= {p.name: (_wrapped(p, other), found[param.name][1]) for p in takers[:1]}


def _scheme_in_words(
    param: ParamCard, tokens: Sequence[Token], consumed: set[int]
) -> tuple[str, Token] | None:
    """`on EfficientNet` as `effnet-lite0:`, where the param's description names that scheme and its default has another."""
    usual = str(param.default).partition(":")[0]
    for scheme in sorted(param.schemes & param.bare_schemes - {usual}):
        words = {scheme, scheme.partition("-")[0]}
        for token in tokens:
            written = token.text.casefold()
            if token.index not in consumed and (
                written in words or words & synonyms().get(token.stem, frozenset())
            ):
                return f"{scheme}:", token
    return None


def _uri_fit(token: Token, param: ParamCard, tokens: Sequence[Token]) -> float:
    described = f"{param.default} {param.description}"
    named = any(
        t.text.casefold() == param.name
        and all(
            between.text.casefold() in AFTER_A_PARAM[token.kind]
            for between in tokens[t.index + 1 : token.index]
        )
        for t in tokens
        if 0 < token.index - t.index <= 3
    )
    takes_uris = param.schemes or "URI" in described or param.name == "target"
    fit = 3.0 if named or (_beside(token, param, tokens) and (token.kind == "path" or takes_uris)) else 0.0
    if token.kind == "uri" and token.text.endswith(":") and token.text != param.default:
        return 3.0 if token.text[:-1] in param.schemes & param.bare_schemes else 0.0
    if token.kind == "uri":
        scheme = token.text.split(":")[0]
        if token.text == param.default:
            fit += 3
        if scheme in param.schemes:
            fit += 2 + (0.5 if param.name == "target" else 0)
        elif "URI" in described or param.name == "target":
            fit += 1 + (0.5 if param.name == "target" else 0)
    elif re.search(r"\bpaths?\b|\bfiles?\b|PATH|\.npz|\.h5ad", described):
        fit += 1.5 + (1.0 if param.required else 0.0)
    return fit


def condition_values(card: ToolCard, text: str, tokens: Sequence[Token], consumed: set[int]) -> Placed:
    """Conditions as written (`KO:A`), and verbs with a name (`knock out A`) where the tool's own tags say so."""
    param = next((p for p in card.params if _takes_text(p) and TAG.search(p.description)), None)
    if param is None:
        return {}
    tags = set(TAG.findall(param.description))
    named: list[str] = []
    used: list[Token] = []
    for i, token in enumerate(tokens):
        if token.kind == "condition" and token.text.split(":")[0] in tags:
            named.append(token.text)
            used.append(token)
        elif token.kind in ("word", "symbol") and (tag := _tag_of(token, tags)):
            after = next((t for t in tokens[i + 1 : i + 4] if t.text.casefold() not in BEFORE_A_NAME), None)
            if after is not None and after.kind == "symbol" and after.index not in consumed:
                amount = _amount_after(after, tokens) if f"{tag}:A@" in param.description else None
                named.append(f"{tag}:{after.text}" + (f"@{_fraction(amount):g}" if amount else ""))
                used += [token, after, *([amount] if amount else [])]
    if not named:
        return {}
    return {param.name: (list(dict.fromkeys(named)) if param.is_list else named[0], used)}


def _amount_after(name: Token, tokens: Sequence[Token]) -> Token | None:
    """The number in `knock down A by 80 %`: right after the name, or one little word further."""
    rest = [t for t in tokens if t.index > name.index][:2]
    if rest and rest[0].text.casefold() in ("by", "at", "to", "with", "of"):
        rest = rest[1:]
    return rest[0] if rest and rest[0].kind == "number" and not rest[0].text.isalpha() else None


def _fraction(amount: Token) -> float:
    return round(amount.values[0] / (100 if amount.percent else 1), 12)


def _tag_of(token: Token, tags: set[str]) -> str | None:
    meanings = {token.stem, *synonyms().get(token.stem, ())}
    return next((tag for tag in sorted(tags) if stem(tag) in meanings), None)


def symbol_values(card: ToolCard, tokens: Sequence[Token], consumed: set[int], filled: set[str]) -> Placed:
    """Names such as G9 for text params: the one whose name stands beside it, else the one still required."""
    found: Placed = {}
    vocabulary = card.vocabulary
    takers = [p for p in card.params if _takes_text(p) and not p.takes_sites and p.name not in filled]
    free = [
        t
        for t in tokens
        if t.kind in ("symbol", "quoted") and t.index not in consumed and is_own_name(t, vocabulary)
    ]
    for token in free:
        beside = [p for p in takers if _beside(token, p, tokens)]
        beside += [p for p in takers if p.required and not p.schemes and _described_beside(token, p, tokens)]
        if beside:
            _put(found, max(beside, key=lambda p: (p.required, -card.params.index(p))), token)
    for token in free:
        needed = [p for p in takers if p.required and p.name not in found and not p.schemes]
        if all(token not in ts for _, ts in found.values()) and len(needed) == 1:
            _put(found, needed[0], token)
    for param in takers:
        if (
            param.required
            and param.name not in found
            and (token_ := _word_after_name(param, tokens, consumed))
        ):
            found[param.name] = (_wrapped(param, token_.text), [token_])
    return found


def is_own_name(token: Token, vocabulary: frozenset[str]) -> bool:
    """Whether a name is the request's own, no word of the tool's (a single letter is: docstrings use them as examples)."""
    letter = len(token.text) == 1
    return letter or (token.text.casefold() not in vocabulary and token.stem not in vocabulary)


def _put(found: Placed, param: ParamCard, token: Token) -> None:
    if param.name in found and param.is_list:
        value, used = found[param.name]
        values = value if isinstance(value, list) else [value]
        found[param.name] = ([*values, token.text], [*used, token])
    elif param.name not in found:
        found[param.name] = (_wrapped(param, token.text), [token])


def _word_after_name(param: ParamCard, tokens: Sequence[Token], consumed: set[int]) -> Token | None:
    """`readout gata1`: a plain word right after the name of a param that is required."""
    for i, token in enumerate(tokens[:-1]):
        if token.text.casefold() == param.name:
            rest = [t for t in tokens[i + 1 : i + 3] if t.text not in ("=", ":", "is")]
            if (
                rest
                and rest[0].kind == "word"
                and rest[0].index not in consumed
                and rest[0].text.casefold() not in STOP
            ):
                return rest[0]
    return None


def _takes_text(param: ParamCard) -> bool:
    return len(param.path) == 1 and param.textual and param.name != "units"


def _wrapped(param: ParamCard, text: str) -> Any:
    return [text] if param.is_list and "string" not in param.types else text


def _described_beside(token: Token, param: ParamCard, tokens: Sequence[Token]) -> bool:
    """Whether the word just before a name (`gene G`) is the first word of the param's description."""
    before = next((t for t in tokens if t.index == token.index - 1), None)
    first = (re.findall(r"[a-z]+", param.description) or [""])[0]
    return before is not None and before.kind == "word" and alike(before.stem, stem(first))


def _beside(token: Token, param: ParamCard, tokens: Sequence[Token]) -> bool:
    """Whether the param's name, or a telling word of its description, stands within two tokens before it."""
    near = [t for t in tokens if 0 < token.index - t.index <= 2 and t.kind == "word"]
    for other in near:
        parts = [stem(p) for p in pieces(other.text)]
        if any(alike(p, w) or (p[:4] == w[:4] and len(p) >= 4) for p in parts for w in param.name_words):
            return True
    return False
