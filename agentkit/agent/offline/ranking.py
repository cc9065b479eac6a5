"""Which tool a request is about: BM25F over the words of the tools' own schemas and docstrings.

Robertson & Zaragoza (2009), The Probabilistic Relevance Framework: BM25 and Beyond. A word outside the
vocabulary counts as its best neighbour by letter trigrams; near-synonyms count less than the word itself.
"""

from __future__ import annotations

import math
from collections import Counter
from functools import lru_cache
from typing import TYPE_CHECKING

from agentkit.agent.offline.text import read_tokens, search_words
from agentkit.agent.offline.words import synonyms, trigram_dice

if TYPE_CHECKING:
    from collections.abc import Container, Mapping, Sequence

    from agentkit.agent.offline.cards import ToolCard

WEIGHTS = {"name": 3.0, "summary": 2.0, "schema": 1.5, "rest": 1.0}
B, K1 = 0.75, 1.2
LEAST_COLLECTION = 20
"""How many tools a word is weighed against at least, so that a study with one tool is understood like one with twenty."""
NEIGHBOUR = 0.6
"""Least trigram Dice at which an unknown word counts as a known one."""
UNKNOWN = 0.5
"""What a word that no tool has counts for in the whole of a request: people tell more than they must."""
SYNONYM = 0.6
"""What a near-synonym counts for."""


class Ranker:
    """Scores requests against documents given as fields of search words.

    Args:
        documents: per document the words of each field of `WEIGHTS`.
    """

    def __init__(self, documents: Sequence[Mapping[str, Sequence[str]]]) -> None:
        self.size = len(documents)
        lengths = {f: [len(d.get(f, ())) for d in documents] for f in WEIGHTS}
        means = {f: (sum(n) / len(n) if n else 0.0) or 1.0 for f, n in lengths.items()}
        self._postings: dict[str, dict[int, float]] = {}
        self._meanings: dict[str, dict[str, float]] = {}
        for i, document in enumerate(documents):
            for name, weight in WEIGHTS.items():
                words = document.get(name, ())
                norm = 1 - B + B * len(words) / means[name]
                for word, count in Counter(words).items():
                    row = self._postings.setdefault(word, {})
                    row[i] = row.get(i, 0.0) + weight * count / norm

    @property
    def words(self) -> Container[str]:
        """Every word of the documents."""
        return self._postings.keys()

    def knows(self, word: str) -> bool:
        """Whether any document has the word."""
        return word in self._postings

    def idf(self, word: str) -> float:
        """How telling a word is; largest for one that no document has."""
        n = len(self._postings.get(word, ()))
        return math.log(1 + (max(self.size, LEAST_COLLECTION) - n + 0.5) / (n + 0.5))

    def meanings(self, word: str) -> dict[str, float]:
        """Vocabulary words that a request word may mean, with what each counts for."""
        if word not in self._meanings:
            self._meanings[word] = self._find_meanings(word)
        return self._meanings[word]

    def _find_meanings(self, word: str) -> dict[str, float]:
        found = {word: 1.0} if self.knows(word) else {}
        found |= {s: SYNONYM for s in synonyms().get(word, ()) if self.knows(s) and s not in found}
        if word not in found and len(word) >= 5:
            near = max(sorted(self._postings), key=lambda w: trigram_dice(word, w), default="")
            if near and (dice := trigram_dice(word, near)) >= NEIGHBOUR:
                found.setdefault(near, dice)
                found |= {
                    s: dice * SYNONYM for s in synonyms().get(near, ()) if self.knows(s) and s not in found
                }
        return found

    def term(self, word: str, document: int) -> float:
        """Idf times the saturated, length-normalised frequency of one word in one document."""
        frequency = self._postings.get(word, {}).get(document, 0.0)
        return self.idf(word) * frequency / (K1 + frequency)

    def scores(self, words: Sequence[str]) -> list[float]:
        """Score of every document; of a word's meanings the best one counts."""
        totals = [0.0] * self.size
        for word in dict.fromkeys(words):
            meanings = self.meanings(word)
            for i in range(self.size):
                totals[i] += max((w * self.term(m, i) for m, w in meanings.items()), default=0.0)
        return totals

    def matches(self, words: Sequence[str], document: int) -> int:
        """How many different words of the request a document holds, in any meaning."""
        return sum(
            1 for w in dict.fromkeys(words) if any(self.term(m, document) > 0 for m in self.meanings(w))
        )

    def coverage(self, subject: Sequence[str], words: Sequence[str]) -> float:
        """Share of a subject line, by idf, that the request's words mean."""
        meant: dict[str, float] = {}
        for word in words:
            for meaning, counts in self.meanings(word).items():
                meant[meaning] = max(counts, meant.get(meaning, 0.0))
        lines = dict.fromkeys(subject)
        total = sum(self.idf(w) for w in lines)
        return sum(self.idf(w) * meant.get(w, 0.0) for w in lines) / total if total else 0.0

    def weight(self, words: Sequence[str]) -> float:
        """Sum of idf over the request's words: what a perfect match could reach; words that no tool has count less."""
        return sum(
            max((self.idf(m) for m in self.meanings(w)), default=UNKNOWN * self.idf(w))
            for w in dict.fromkeys(words)
        )


def best_of(cards: tuple[ToolCard, ...], text: str) -> list[str]:
    """The tools' names that hold any word of a text, those first that it is most about; equal ones by name."""
    ranker = ranker_of(cards)
    scores = ranker.scores(search_words(read_tokens(text), ranker.words))
    order = sorted((i for i in range(len(cards)) if scores[i] > 0), key=lambda i: (-scores[i], cards[i].name))
    return [cards[i].name for i in order]


@lru_cache(maxsize=8)
def ranker_of(cards: tuple[ToolCard, ...]) -> Ranker:
    """The ranker over the cards, built once per set of tools."""
    return Ranker([c.fields for c in cards])
