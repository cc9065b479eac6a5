"""Requests to a voice assistant: six intents, their slots labelled, made from our own templates and fillers.

Templates and fillers of the test split never stand in a train text, so what is learnt is not the sentence itself.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING

from agentkit_input_noise.addresses import candidates, draw

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

OUTSIDE = "O"
TRAIN_TEMPLATES, TRAIN_FILLERS = 6, 8
"""How many of each intent's templates and fillers, the first ones, make train texts; the others make test texts."""

TEMPLATES: dict[str, tuple[str, ...]] = {
    "alarm": (
        "wake me up at {}", "set an alarm for {}", "I need to get up at {}", "please ring at {}",
        "make sure I am awake by {}", "alarm at {} please",
        "do not let me sleep past {}", "get me out of bed at {}", "can you buzz me at {}",
    ),
    "music": (
        "play some songs by {}", "put on the new album of {}", "I want to listen to {}", "start a playlist with {}",
        "music by {} please", "turn up {}",
        "let me hear something from {}", "can we have a track of {}", "queue the best of {}",
    ),
    "weather": (
        "what is the weather like in {}", "will it rain in {}", "is it sunny in {}", "how cold is it in {}",
        "forecast for {} please", "do I need an umbrella in {}",
        "how warm will it get in {}", "any chance of snow in {}", "tell me whether it is windy in {}",
    ),
    "restaurant": (
        "book a table at {}", "reserve dinner for two at {}", "find us a seat at {}", "we would like to eat at {}",
        "get me a lunch reservation at {}", "is there a free table at {}",
        "four of us want supper at {}", "hold a place for me at {}", "can you arrange a meal at {}",
    ),
    "message": (
        "send a text to {}", "tell {} that I am late", "write to {} that all is well", "message {} for me",
        "let {} know I have arrived", "drop {} a line",
        "ask {} to call me back", "answer {} that I agree", "say happy birthday to {}",
    ),
    "travel": (
        "how do I get to {}", "show me the way to {}", "navigate to {}", "which bus goes to {}",
        "take me to {}", "find the fastest route to {}",
        "give me directions to {}", "how far is the drive to {}", "when does the next train leave for {}",
    ),
}  # fmt: skip

FILLERS: dict[str, tuple[str, tuple[str, ...]]] = {
    "alarm": ("time", (
        "six", "half past seven", "noon", "five in the morning", "quarter to nine", "eight thirty", "ten", "dawn",
        "midnight", "twenty past four", "eleven", "three in the afternoon", "a quarter past two",
    )),
    "music": ("artist", (
        "Nina Simone", "the Beatles", "Bach", "Miles Davis", "Edith Piaf", "Bob Marley", "Abba", "Chopin",
        "Johnny Cash", "Ella Fitzgerald", "Vivaldi", "the Rolling Stones", "Aretha Franklin",
    )),
    "weather": ("city", (
        "Berlin", "New York", "Nairobi", "Oslo", "Buenos Aires", "Tokyo", "Cape Town", "Madrid",
        "Lisbon", "Chicago", "Mumbai", "Reykjavik", "Hong Kong",
    )),
    "restaurant": ("place", (
        "the Golden Lion", "Luigi's", "the noodle bar", "Chez Marie", "the harbour grill", "the old mill",
        "a good steakhouse", "the corner bistro",
        "the Blue Door", "Taverna Nikos", "the sushi counter", "the garden cafe", "an Indian kitchen",
    )),
    "message": ("person", (
        "Anna", "my brother", "Mister Wong", "the landlord", "Sofia", "grandma", "David", "our teacher",
        "Peter", "my boss", "Fatima", "the neighbours", "uncle Joe",
    )),
    "travel": ("destination", (
        "the main station", "the city museum", "the nearest hospital", "Baker Street", "the airport", "the town hall",
        "the stadium", "the university",
        "the botanical garden", "Fifth Avenue", "the ferry port", "the public library", "the old castle",
    )),
}  # fmt: skip
"""For each intent the tag of its slot, and what may fill it."""


@dataclass(frozen=True, eq=False)
class Intents:
    """378 requests with their words, one tag a word, and an intent each.

    Attributes:
        texts: the requests.
        tokens: words of each.
        tags: the slot's tag, or `O`, for each word.
        labels: index of each request's intent in `names`.
        names: the intents.
        train: indices of 288 texts to learn from.
        test: indices of 90 texts, of other templates and other fillers, which questions are drawn from.
        outside: the tag of words outside slots.
        open_class: tags of slots.
        closed_class: tags whose words are not in slots.
    """

    texts: tuple[str, ...]
    tokens: tuple[tuple[str, ...], ...] = field(repr=False)
    tags: tuple[tuple[str, ...], ...] = field(repr=False)
    labels: tuple[int, ...] = field(repr=False)
    names: tuple[str, ...]
    train: tuple[int, ...] = field(repr=False)
    test: tuple[int, ...] = field(repr=False)
    outside: str = OUTSIDE
    open_class: frozenset[str] = field(default=frozenset(tag for tag, _ in FILLERS.values()), repr=False)
    closed_class: frozenset[str] = field(default=frozenset({OUTSIDE}), repr=False)

    def draw(self, rng: np.random.Generator, n: int) -> tuple[int, ...]:
        """Draw n test requests without replacement."""
        return draw(rng, self.test, n, what="test requests")

    def candidates(
        self, rng: np.random.Generator, items: Sequence[int], count: int | None
    ) -> tuple[int, ...]:
        """Indices, ascending, of the requests to choose among: the items, and others drawn up to `count`."""
        return candidates(rng, items, count, (range(len(self.texts)),), what="intents")


@cache
def load_intents() -> Intents:
    """The data set; train texts first."""
    rows = [
        (intent, words_of(template, FILLERS[intent][0], filler), held_out)
        for held_out in (False, True)
        for intent, templates in TEMPLATES.items()
        for template in _part(templates, TRAIN_TEMPLATES, held_out=held_out)
        for filler in _part(FILLERS[intent][1], TRAIN_FILLERS, held_out=held_out)
    ]
    names = tuple(TEMPLATES)
    return Intents(
        texts=tuple(" ".join(word for word, _ in words) for _, words, _ in rows),
        tokens=tuple(tuple(word for word, _ in words) for _, words, _ in rows),
        tags=tuple(tuple(tag for _, tag in words) for _, words, _ in rows),
        labels=tuple(names.index(intent) for intent, _, _ in rows),
        names=names,
        train=tuple(i for i, (_, _, held_out) in enumerate(rows) if not held_out),
        test=tuple(i for i, (_, _, held_out) in enumerate(rows) if held_out),
    )


def content_hash() -> str:
    """Hash of every text with its labels."""
    data = load_intents()
    lines = zip(data.texts, map(" ".join, data.tags), map(str, data.labels), strict=True)
    return hashlib.sha256("\n".join("\t".join(line) for line in lines).encode()).hexdigest()


def words_of(template: str, tag: str, filler: str) -> list[tuple[str, str]]:
    """Words with their tags of a template whose braces are filled."""
    before, after = template.split("{}")
    parts = ((before, OUTSIDE), (filler, tag), (after, OUTSIDE))
    return [(word, label) for part, label in parts for word in part.split()]


def _part(all_of: tuple[str, ...], cut: int, *, held_out: bool) -> tuple[str, ...]:
    return all_of[cut:] if held_out else all_of[:cut]
