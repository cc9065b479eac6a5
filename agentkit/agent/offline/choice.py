"""Which tool: the best-ranked one if it stands out, else a question; nothing at all for what no tool is about."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agentkit.agent.offline.ranking import ranker_of
from agentkit.agent.offline.text import search_words
from agentkit.agent.offline.values import Values, read_values
from agentkit.agent.offline.words import pieces, stem, stems_of, synonyms

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agentkit.agent.offline.cards import ToolCard
    from agentkit.agent.offline.ranking import Ranker
    from agentkit.agent.offline.text import Token

ACCEPT = 0.28
"""Least share of the request's weight that the tool must hold."""
NEAR_TOPIC = 0.22
"""Below this share the request is about something else."""
LEAST_EVIDENCE = 0.95
"""Least score: about one telling word."""
ENOUGH_EVIDENCE = 2.0
"""Least score at which a tool is run without asking: about two telling words."""
PLACED_EVIDENCE = 0.5
"""What each value that found its param adds to that."""
ALL_ABOUT = 0.6
"""A short request that holds nothing else is on topic with less."""
LEADING = 0.2
"""What it adds when the request holds the verb that the tool's first line begins with."""
STANDS_OUT = 0.08
"""Least lead over the second tool, as a share of the first."""
SUBJECT = 0.5
"""What it adds when the request holds the whole first line of a tool, as a share of its score."""
CONSIDERED = 5
PLACED = 0.06
"""What each value that found its param adds to the share."""
HEDGES = frozenset(stem(w) for w in ["estimate", "approximate", "approx", "approximation"])
ASKS_ROUGH = re.compile(
    r"\b(?:estimat\w*|approx\w*|first[- ]order|rough\w*|quick\w*|fast\w*|cheap\w*|attribution)\b",
    re.IGNORECASE,
)
ELSEWHERE = re.compile(
    r"^\W*(?:please |can you |could you |would you )*(?:write|compose|sing|cook|translate|recommend|book|buy|order|play|paint|invent|imagine|chat)\b"
    r"|\b(?:joke|poem|haiku|story|song|essay|e-?mail|letter (?:to|for)|love letter|recipe|weather|restaurant|movie|football|lottery|horoscope)\b"
    r"|^\W*who (?:is|was|are|were|won|wrote|invented)\b|\b(?:do|are) you (?:think|feel|love|like|happy|human|alive|conscious)\b",
    re.IGNORECASE,
)
ACTS = frozenset(
    stems_of(
        "remove delete ablate prune lesion disable knockout zero leave knockdown silence overexpress "
        "shuffle permute scramble reorder swap insert mask hide cover blur corrupt attack misspell typo "
        "paraphrase quantise train finetune certify prove verify detect"
    )
)
"""Verbs of what is done to a target: a request that begins with one asks for exactly that."""
ROUGH = 0.8
"""What an approximation counts for when nobody asked for one."""


@dataclass(frozen=True)
class Choice:
    """The tools considered, best first, with adjusted score, share of the request and values read for each."""

    cards: tuple[ToolCard, ...]
    scores: tuple[float, ...]
    share: float
    values: tuple[Values, ...]
    evidence: float = 0.0
    telling: int = 0
    """How many words of the request the first tool holds."""
    elsewhere: bool = False
    """Whether the request asks for what no experiment gives: a poem, a recipe, the weather."""
    other_act: bool = False
    """Whether the request begins with something to do that the first tool does not, and another tool does."""
    by_name: bool = False
    said: str = ""

    @property
    def accepted(self) -> bool:
        """Whether the first tool may be run without asking."""
        if self.by_name:
            return True
        if self.other_act:
            return False
        named = min(self.values[0].named, 3)
        strangers = (
            self.values[0].strange > 0 and self.telling == 1
        )  # one known word, said of something unknown
        told = self.evidence + PLACED_EVIDENCE * named >= ENOUGH_EVIDENCE and (self.telling > 1 or named > 0)
        told = told and not strangers
        second = self.scores[1] if len(self.scores) > 1 else 0.0
        leads = self.scores[0] - second >= STANDS_OUT * self.scores[0]
        all_about = self.share >= ALL_ABOUT and self.telling > 1
        return (told or all_about) and self.share >= ACCEPT and leads

    @property
    def on_topic(self) -> bool:
        """Whether the request is about anything these tools do."""
        if self.by_name or self.share >= ALL_ABOUT:
            return True
        if self.elsewhere:
            return False
        several = self.telling > 1 or self.values[0].named > 0
        return self.share >= NEAR_TOPIC and self.evidence >= LEAST_EVIDENCE and several


def choose(cards: tuple[ToolCard, ...], text: str, tokens: list[Token]) -> Choice:
    """Rank the tools for a request and read its values for the first few."""
    if (named := _named(cards, text)) is not None:
        return Choice(
            (named,), (1.0,), 1.0, (read_values(named, text, tokens),), by_name=True, said=named.name
        )
    ranker = ranker_of(cards)
    words = search_words(tokens, ranker.words)
    raw = ranker.scores(words)
    weight = ranker.weight(words) or 1.0
    order = sorted(range(len(cards)), key=lambda i: (-raw[i], cards[i].name))[:CONSIDERED]
    rough = bool(ASKS_ROUGH.search(text))
    rows = []
    for i in order:
        values = read_values(cards[i], text, tokens)
        subject = 1 + SUBJECT * ranker.coverage(cards[i].fields["summary"], words)
        rows.append(
            (raw[i] * subject * _fit(cards[i], values, tokens, rough=rough), raw[i], cards[i], values)
        )
    rows.sort(key=lambda r: (-r[0], r[2].name))
    share = rows[0][1] / weight + PLACED * min(rows[0][3].named, 3) if words else 0.0
    said = _telling_words(rows[0][2], tokens)
    return Choice(
        cards=tuple(r[2] for r in rows),
        scores=tuple(r[0] for r in rows),
        share=share,
        values=tuple(r[3] for r in rows),
        elsewhere=bool(ELSEWHERE.search(text)),
        other_act=bool(words) and _is_other_act(words[0], tokens, ranker, cards.index(rows[0][2])),
        evidence=rows[0][1],
        telling=ranker.matches(words, cards.index(rows[0][2])),
        said=said,
    )


def _fit(card: ToolCard, values: Values, tokens: Sequence[Token], *, rough: bool) -> float:
    """How well the tool can hold what was said: values that fit, none left over, nothing missing."""
    written = {t.text.casefold() for t in tokens}
    metrics = any(m.name in written for m in card.metrics)
    fit = 1 + 0.05 * min(values.named, 5) + (0.1 if metrics else 0.0)
    fit -= (
        0.15 * (len(values.unplaced) + len(values.homeless))
        + 0.15 * values.strange
        + 0.18 * len(values.missing)
    )
    short = [stem(p) for p in pieces(card.name.rpartition(".")[2])]
    stems = {t.stem for t in tokens if t.kind in ("word", "symbol")}
    fit += 0.1 if all(w in stems for w in short) else 0.0
    verb = stem(card.summary.split()[0]) if card.summary else ""
    meant = {s for word in stems for s in synonyms().get(word, ())}
    fit += LEADING if verb in stems else 0.75 * LEADING if verb in meant else 0.0
    hedged = ASKS_ROUGH.search(card.summary) or HEDGES & {w for m in card.metrics for w in m.words}
    return max(fit, 0.2) * (ROUGH if hedged and not rough else 1.0)


def _is_other_act(word: str, tokens: Sequence[Token], ranker: Ranker, best: int) -> bool:
    """`zero out the output of block 2` is not answered by a tool that ranks blocks by their output."""
    begins = tokens[0].kind == "word" and tokens[0].stem == word and word in ACTS
    known = any(m in ranker.words for m in ranker.meanings(word))
    return begins and known and not ranker.matches([word], best)


def _named(cards: tuple[ToolCard, ...], text: str) -> ToolCard | None:
    """The tool whose own name stands in the text: `noise.text`, or `rank_sweep` where that is unique."""
    for card in sorted(cards, key=lambda c: -len(c.name)):
        if re.search(rf"(?<![\w.]){re.escape(card.name)}(?![\w.]*\w)", text, re.IGNORECASE):
            return card
    for card in cards:
        short = card.name.rpartition(".")[2]
        if "_" in short and re.search(rf"(?<![\w.]){re.escape(short)}(?!\w)", text, re.IGNORECASE):
            return card
    return None


def _telling_words(card: ToolCard, tokens: Sequence[Token]) -> str:
    """The words of the request that the tool's name or first line holds, for the plan line."""
    known = {*card.fields["name"], *card.fields["summary"]}
    said = [t.text for t in tokens if t.kind == "word" and {stem(p) for p in pieces(t.text)} & known]
    return " ".join(list(dict.fromkeys(said))[:4])
