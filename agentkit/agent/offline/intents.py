"""What a request wants, from a closed set, and the claim it makes about a metric, each with where it came from."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from agentkit.agent.offline.words import alike, pieces, stem

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agentkit.agent.offline.cards import MetricCard, ToolCard
    from agentkit.agent.offline.text import Token

Intent = Literal["control", "ledger", "claim", "equivalence", "compare", "scan", "dose", "look"]
Direction = Literal["less", "greater", "harm", "benefit", "two_sided", "equivalent"]

CONTROL = re.compile(
    r"\s*(?:please\s+)?(stop|halt|abort|cancel|continue|go on|carry on|proceed|resume|cheaper|make it cheaper)"
    r"(?:\s+(?:it|that|this|now|please|everything|all|(?P<id>H\d+)))*\s*[.!]*\s*",
    re.IGNORECASE,
)
CLAIM_ID = re.compile(r"(?<![\w.:])[HVR]\d+(?:\.\d+)?(?![\w:])")
LEDGER = re.compile(
    r"\b(?:status|verdicts?|where (?:do|are) we(?: stand)?|so far|how far (?:are|did) (?:we|you)|progress"
    r"|(?:which|what|list|show|any|our|the|open|these|those|all)\s+(?:\w+\s+){0,2}?(?:claims?|hypothes[ei]s|findings)"
    r"|(?:which|what|anything)\s+(?:\w+\s+){0,3}?(?:supported|contradicted|confirmed|inconclusive|decided)"
    r"|(?:which|what|how many)\s+runs|list (?:of )?(?:the )?runs|show (?:me )?(?:the |all )?runs"
    r"|what (?:did|have) (?:we|you) (?:find|found|learn\w*|test\w*|done|do|tried|try)"
    r"|(?:which|what) (?:tools?|perturbations)|list (?:the |all |your )?tools|show (?:me )?(?:the |all |your )?tools"
    r"|what can (?:you|i) do|how can you help|budget left|(?:show|what is|what's|how much|our|my|remaining|check)\s+(?:\w+\s+){0,2}?budget|write (?:me )?(?:a |the )?report|report (?:on|of) (?:the )?campaign"
    r"|summari[sz]e (?:the |our )?(?:results|campaign|ledger|evidence|findings))\b",
    re.IGNORECASE,
)
LEDGER_WITH_ID = re.compile(
    r"\b(?:why|compare|how (?:is|did|was|far)|what (?:is|was|happened|about|became)|show|explain|status|about|state|results?|rests?|verdict"
    # a closed claim takes no more units and an open one is gone on with: both is told, and neither starts another tool
    r"|again|repeat|replicate|re-?run|more (?:units|data)|extend|continue"
    r"|supported|claim|hypothesis|is|was|did)\b",
    re.IGNORECASE,
)
HELP = re.compile(r"\s*(?:please\s+)?help(?:\s+me)?\s*[!.?]*\s*", re.IGNORECASE)
_NUMBER = r"\+?\d*\.?\d+(?:e-?\d+)?"
_SHARE = r"\s?(?:%|percent(?:age points?)?\b|pp\b|points?\b)"
_COUNTED = r"(?!\s*(?:units|runs|images|texts|cells|items|queries|steps|draws|s\b|seconds|minutes|hours|candidates|epochs|words|letters))"
MARGIN = re.compile(
    rf"(?:\bby\s+)?(?:\bmore than\b|\bat least\b|\bover\b|\bno less than\b|\bexceed(?:s|ing)?\b|\bgreater than\b|\blarger than\b|>=?|≥)\s*"
    rf"(?P<a>{_NUMBER})(?P<ap>{_SHARE})?{_COUNTED}"
    rf"|(?:\b(?:lower|drop|reduc|decreas|fall|shrink|declin|rais|increas|improv|gain|boost|ris|hurt|worsen|degrad|chang|mov|shift|flip|down)\w*\b[^.;:]{{0,60}}?)"
    rf"\bby\s+(?P<b>{_NUMBER})(?P<bp>{_SHARE})?(?!\s*(?:,|and)\s*\d)(?:\s+or more\b)?{_COUNTED}"
    rf"|\b(?:within|less than|at most|no more than)\s*(?:±|\+/-)?\s*(?P<c>{_NUMBER})(?P<cp>{_SHARE})?(?=\s*(?:of (?:the )?baseline|$|[?.,;]))",
    re.IGNORECASE,
)
LEVEL = re.compile(r"\b(?:below|under|above|beneath)\s+(?P<a>\d*\.?\d+)(?P<p>\s?%)?", re.IGNORECASE)

LESS = "lower drop reduce decrease fall shrink lose fewer less decline sink smaller down"
GREATER = "raise increase improve gain grow boost higher rise more exceed larger greater climb lift"
HARM = "hurt harm worsen degrade damage impair worse suffer break spoil"
BENEFIT = "better benefit help"
SAME = re.compile(
    r"\b(?:no (?:effect|influence|impact|difference|change)|unchanged|unaffected|equivalent|indifferent|robust (?:to|against|under)"
    r"|insensitive|(?:not|n't|never) (?:change|matter|affect|move|hurt|drop|lower|alter)s?|stays? (?:the same|put|unchanged)|the same as|keeps? (?:its|the))\b",
    re.IGNORECASE,
)
OPEN = re.compile(
    r"\b(?:how (?:much|well|robust|many|far|large|strong\w*|sensitive|sharp|does|do|is)|at (?:which|what)|what (?:share|rate|dose|strength)|curve|dose|tolerates?|threshold)\b",
    re.IGNORECASE,
)
WHETHER = re.compile(
    r"\b(?:test|see|check|verify|find out|know|tell me|decide) (?:whether|if|that)\b", re.IGNORECASE
)
ASKS_CLAIM = re.compile(
    r"\b(?:register|hypothesis|is it true|significant\w*|test (?:it|this|that))\b", re.IGNORECASE
)
YES_NO = re.compile(
    r"(?:^|[,;:.!?])\s*(?:and |so |then |or )?(?:does|do|did|is|are|can|will|would|has|have)\b", re.IGNORECASE
)
SCAN = re.compile(
    r"\b(?:which|rank(?:ing)? (?:the|all|each|every|by)|(?<!at )most|(?<!at )least|screen|scan|every|each|one (?:by one|at a time)|best|worst|what \w+ matters?)\b",
    re.IGNORECASE,
)
COMPARE = re.compile(
    r"\b(?:versus|vs\.?|compared?|against|than|worse|better|difference between)\b", re.IGNORECASE
)
LOOK_ONLY = re.compile(
    r"\b(?:only|just) (?:explore|look)|explor(?:e|ation) only|(?:do not|don't|without) regist\w+|no claims?\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Claim:
    """What is said of a metric: direction, the amount, and the words it came from ("" where it is a default)."""

    metric: str
    direction: Direction
    amount: float | None
    metric_from: str = ""
    direction_from: str = ""
    amount_from: str = ""


def control_of(text: str) -> tuple[str, str | None] | None:
    """`stop`, `continue` or `cheaper`, with the id of one claim where it is named."""
    match = CONTROL.fullmatch(text)
    if match is None:
        return None
    word = match[1].casefold()
    kind = (
        "stop"
        if word in ("stop", "halt", "abort", "cancel")
        else "cheaper"
        if "cheaper" in word
        else "continue"
    )
    return kind, match["id"].upper() if match["id"] else None


def is_ledger_question(text: str) -> bool:
    """Whether the request is about what is recorded, not about a new experiment."""
    if LEDGER.search(text) or HELP.fullmatch(text):
        return True
    return bool(CLAIM_ID.search(text) and LEDGER_WITH_ID.search(text)) or bool(
        CLAIM_ID.fullmatch(text.strip(" ?.!"))
    )


def intent_of(text: str, tokens: Sequence[Token], *, has_range: bool) -> Intent:
    """The intent of a request for an experiment, by cue words and in a fixed precedence."""
    asked_openly = bool(OPEN.search(text))
    if WHETHER.search(text):
        return "claim"
    if SAME.search(text) and not asked_openly:
        return "equivalence"
    if YES_NO.search(text) and not asked_openly and (MARGIN.search(text) or any(_way_of(t) for t in tokens)):
        return "claim"
    if SCAN.search(text) and not asked_openly:
        return "scan"
    if asked_openly:
        return "dose"
    if MARGIN.search(text) or ASKS_CLAIM.search(text):
        return "claim"
    if COMPARE.search(text):
        return "compare"
    return "dose" if has_range else "look"


def claim_of(
    text: str, tokens: Sequence[Token], card: ToolCard, intent: Intent, used: frozenset[str] = frozenset()
) -> Claim:
    """The claim a request makes or implies about one of the tool's metrics.

    Args:
        text: the request.
        tokens: its tokens.
        card: the tool.
        intent: what the request wants.
        used: words that named values of params; part of a metric's name is not read from them.
    """
    metric, said = metric_in(tokens, card, used)
    margin = MARGIN.search(text)
    amount = _amount(margin)
    way, way_said = _direction(text, tokens, intent)
    if margin and margin["c"] is not None:
        way, way_said = "equivalent", margin[0].strip()
    return Claim(metric.name, way, amount, said, way_said, margin[0].strip() if margin else "")


def _amount(margin: re.Match[str] | None) -> float | None:
    if margin is None:
        return None
    key = next(k for k in "abc" if margin[k] is not None)
    return float(margin[key]) / (100 if margin[f"{key}p"] else 1)


def _direction(text: str, tokens: Sequence[Token], intent: Intent) -> tuple[Direction, str]:
    if intent == "equivalence" and (same := SAME.search(text)):
        return "equivalent", same[0]
    for token in tokens:
        if token.kind == "word" and (way := _way_of(token)) and not _is_part_of_margin(token, tokens):
            return way, token.text
    return "two_sided", ""


def _is_part_of_margin(token: Token, tokens: Sequence[Token]) -> bool:
    """`more` in `by more than 0.05` says how much, not which way."""
    following = [t for t in tokens if t.index > token.index][:2]
    return (
        token.stem in ("more", "less", "larger", "greater", "large", "great", "exce")
        and any(t.text.casefold() == "than" for t in following[:1])
        and any(t.numeric for t in following)
    )


def _way_of(token: Token) -> Direction | None:
    if token.kind != "word":
        return None
    return _ways().get(token.stem)


def _ways() -> dict[str, Direction]:
    return _WAYS


_WAYS: dict[str, Direction] = {}
for _words, _way in ((LESS, "less"), (GREATER, "greater"), (HARM, "harm"), (BENEFIT, "benefit")):
    for _word in _words.split():
        _WAYS[stem(_word)] = _way  # type: ignore[assignment]


def metric_in(
    tokens: Sequence[Token], card: ToolCard, used: frozenset[str] = frozenset()
) -> tuple[MetricCard, str]:
    """The metric whose name the request holds most of, and the words; else the tool's first and ""."""
    best: tuple[float, MetricCard, str] | None = None
    for metric in card.metrics:
        score, said = _named(metric, tokens, used)
        if score and (best is None or score > best[0] + 1e-9):
            best = (score, metric, said)
    return (best[1], best[2]) if best else (card.metrics[0], "")


def _named(metric: MetricCard, tokens: Sequence[Token], used: frozenset[str]) -> tuple[float, str]:
    """How much of the metric's name stands in the request: whole name 10, else parts and their share."""
    for token in tokens:
        if token.text.casefold() == metric.name:
            return 10.0, token.text
    held = [
        next((t for t in tokens if t.kind in ("word", "symbol") and _says(t, word)), None)
        for word in metric.words
    ]
    found = [t for t in held if t is not None]
    whole = len(found) == len(held)
    if not found or held[0] is None or (not whole and held[0].text.casefold() in used):
        return 0.0, ""
    return len(found) + len(found) / len(held), " ".join(t.text for t in found)


def _says(token: Token, word: str) -> bool:
    parts = [stem(p) for p in pieces(token.text)]
    return any(p == word or (len(word) >= 4 and alike(p, word)) for p in parts)


def is_direction_word(token: Token) -> bool:
    """Whether a word says which way a metric moves (`drop`), so that it names no option."""
    return _way_of(token) is not None
