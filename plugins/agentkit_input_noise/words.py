"""Noise on labelled words: every change carries the words' labels along.

Letter kinds (`letters.py`) write inside words; the kinds here move, drop, copy and replace whole words or
add words around the text. A sentence that keeps its words keeps its labels; new words get the label of the
word they come from, or the outside label. All randomness is keyed (`keyed.py`).
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from agentkit.errors import ParamError, unknown
from agentkit_input_noise import fillers, keyed, letters
from agentkit_input_noise.errors import LabelMismatchError, VariantsNeededError
from agentkit_input_noise.homophones import heard

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from agentkit_input_noise.variants import Variants

    Hashes = NDArray[np.uint32]

Words = list[tuple[str, str]]
"""Words with their labels, in order."""

RATE_KINDS = (
    *letters.KINDS, "entity_typos", "spelling", "word_shuffle", "word_drop", "word_dup", "local_shuffle", "speech",
)  # fmt: skip
"""Kinds with a strength in (0, 1]: the share of letters or words that is edited."""

LEVEL_KINDS = ("paraphrase", "simplify", "verbose", "append")
"""Kinds with a level of 1, 2 or 3."""


class Labelled(Protocol):
    """What word noise asks of a data set besides its texts."""

    outside: str


class NoisedWords(NamedTuple):
    """Sentences after noise, and how many of their editable letters or words were edited."""

    sentences: list[Words]
    edited: int
    editable: int


class WordNoise:
    """One kind of noise on fixed labelled sentences with a fixed key.

    Args:
        sentences: words with labels.
        items: one stable id per sentence.
        kind: one of `RATE_KINDS` or `LEVEL_KINDS`.
        key: 64 bits, one per unit and kind.
        data: the data set, for its outside label, its classes of labels and its own rules.
        window: how far `local_shuffle` moves a word, in words.
        variants: rewritten texts, used instead of rules where they hold the kind.

    Raises:
        ParamError: an unknown kind, with near names.
        LabelMismatchError: a word that is empty or holds a blank, naming the item.
    """

    def __init__(
        self,
        sentences: Sequence[Words],
        items: Sequence[int],
        kind: str,
        key: int,
        data: Labelled,
        window: int = 3,
        variants: Variants | None = None,
    ) -> None:
        if kind not in (*RATE_KINDS, *LEVEL_KINDS):
            raise ParamError(unknown("kind of text noise", kind, (*RATE_KINDS, *LEVEL_KINDS)))
        self._sentences, self._data, self._kind, self._window = list(sentences), data, kind, window
        _require_words(self._sentences, items)
        self._items, self._variants = list(items), variants if variants and variants.holds(kind) else None
        lengths = np.array([len(s) for s in sentences], dtype=np.int64)
        ends = np.cumsum(lengths)[:-1]
        flat = keyed.position_hashes(key, items, lengths)
        self._hashes = np.split(flat, ends)
        self._seconds = np.split(keyed.second(flat), ends)
        self._letters = self._letter_noise(items, key)

    def at(self, strength: float) -> NoisedWords:
        """The sentences at a strength in [0, 1], or at a level of 1 to 3; 0 gives them as they were."""
        if strength == 0:
            return NoisedWords([list(s) for s in self._sentences], 0, 1)
        if self._letters is not None:
            return self._relabel(self._letters.at(strength))
        if self._variants is not None:
            return self._rewritten(self._variants, int(strength))
        change = _WORD_KINDS[self._kind]
        done = [
            change(self, words, hashes, seconds, strength)
            for words, hashes, seconds in zip(self._sentences, self._hashes, self._seconds, strict=True)
        ]
        return NoisedWords([d[0] for d in done], sum(d[1] for d in done), sum(d[2] for d in done))

    def _letter_noise(self, items: Sequence[int], key: int) -> letters.LetterNoise | None:
        texts = [" ".join(word for word, _ in s) for s in self._sentences]
        if self._kind in letters.KINDS:
            return letters.LetterNoise(texts, items, self._kind, key)
        if self._kind not in ("entity_typos", "spelling"):
            return None
        labels = _labels_of(self._data, self._kind, self._sentences)
        flags = [c for s in self._sentences for c in _letters_in(s, labels)]
        return letters.LetterNoise(texts, items, "typos", key, where=np.array(flags, dtype=np.bool_))

    def _relabel(self, noised: letters.Noised) -> NoisedWords:
        sentences = [
            list(zip(text.split(" "), (tag for _, tag in words), strict=True)) if words else []
            for text, words in zip(noised.texts, self._sentences, strict=True)
        ]
        return NoisedWords(sentences, int(noised.edited.sum()), int(noised.editable.sum()))

    def _rewritten(self, variants: Variants, level: int) -> NoisedWords:
        """The rewritten texts; an edited word is one that stands on one side only."""
        found = [list(variants.of(self._kind, level, int(item))) for item in self._items]
        _require_words(found, self._items)
        edited = sum(
            max(len(a), len(b)) - (Counter(a) & Counter(b)).total()
            for a, b in zip(self._sentences, found, strict=True)
        )
        places = sum(max(len(a), len(b)) for a, b in zip(self._sentences, found, strict=True))
        return NoisedWords(found, edited, places)

    def shuffle(self, words: Words, hashes: Hashes, seconds: Hashes, share: float) -> Changed:
        """The words of smallest hash trade places in a circle ordered by a second hash, so none stays."""
        n, k = len(words), round(share * len(words))
        if k < 2:
            return list(words), 0, n if n > 1 else 0
        moved = np.argsort(hashes, kind="stable")[:k]
        circle = moved[np.argsort(seconds[moved], kind="stable")]
        result = list(words)
        for source, place in zip(circle, np.roll(circle, -1), strict=True):
            result[place] = words[source]
        return result, k, n

    def local_shuffle(self, words: Words, hashes: Hashes, seconds: Hashes, share: float) -> Changed:
        """A share of the words is put off by up to `window` places."""
        delay = np.where(keyed.below(hashes, share), seconds / 2.0**32 * (self._window + 1), 0.0)
        order = np.argsort(np.arange(len(words)) + delay, kind="stable")
        return (
            [words[i] for i in order],
            int((order != np.arange(len(words))).sum()),
            len(words) if len(words) > 1 else 0,
        )

    def drop(self, words: Words, hashes: Hashes, seconds: Hashes, share: float) -> Changed:
        """A share of the words disappears; one word, drawn by a second hash, always stays."""
        if not words:
            return [], 0, 0
        gone = keyed.below(hashes, share)
        gone[np.argmax(seconds)] = False
        return [w for w, g in zip(words, gone, strict=True) if not g], int(gone.sum()), len(words) - 1

    def duplicate(self, words: Words, hashes: Hashes, seconds: Hashes, share: float) -> Changed:
        """A share of the words is said twice."""
        twice = keyed.below(hashes, share)
        return (
            [w for w, t in zip(words, twice, strict=True) for _ in range(1 + t)],
            int(twice.sum()),
            len(words),
        )

    def speech(self, words: Words, hashes: Hashes, seconds: Hashes, share: float) -> Changed:
        """A share of the words that a listener may mishear is written as heard."""
        result: Words = []
        edited = editable = 0
        for (word, tag), now, pick in zip(words, keyed.below(hashes, share), seconds.tolist(), strict=True):
            said = heard(word, pick)
            editable += said is not None
            edited += said is not None and bool(now)
            result += [(w, tag) for w in (said if said is not None and now else [word])]
        return result, edited, editable

    def paraphrase(self, words: Words, hashes: Hashes, seconds: Hashes, level: float) -> Changed:
        """The data set's own way to say the same otherwise."""
        found = self._rule("paraphrase")(words, int(level))
        return found, sum(a != b for a, b in zip(words, found, strict=True)), len(words)

    def simplify(self, words: Words, hashes: Hashes, seconds: Hashes, level: float) -> Changed:
        """The data set's own way to say less; what is dropped is dropped from the labels too."""
        found = self._rule("simplify")(words, int(level))
        return found, len(words) - len(found), len(words)

    def verbose(self, words: Words, hashes: Hashes, seconds: Hashes, level: float) -> Changed:
        """Carrier phrases around the text."""
        return self._around(words, *fillers.verbose(int(level), _picks(seconds)))

    def append(self, words: Words, hashes: Hashes, seconds: Hashes, level: float) -> Changed:
        """An unrelated sentence after the text and a discourse marker before it."""
        return self._around(words, *fillers.appended(int(level), _picks(seconds)))

    def _around(self, words: Words, before: list[str], after: list[str]) -> Changed:
        outside = self._data.outside
        added = len(before) + len(after)
        return (
            [*((w, outside) for w in before), *words, *((w, outside) for w in after)],
            added,
            len(words) + added,
        )

    def _rule(self, kind: str) -> Callable[[Words, int], Words]:
        rule: Callable[[Words, int], Words] | None = getattr(self._data, kind, None)
        if rule is None:
            raise VariantsNeededError(
                f"this data set has no rules for {kind}; choose another kind, or give rewritten texts: variants:FILE.jsonl"
            )
        return rule


Changed = tuple[Words, int, int]
"""A sentence after noise, with its edited and its editable words."""

_WORD_KINDS: dict[str, Callable[..., Changed]] = {
    "word_shuffle": WordNoise.shuffle,
    "local_shuffle": WordNoise.local_shuffle,
    "word_drop": WordNoise.drop,
    "word_dup": WordNoise.duplicate,
    "speech": WordNoise.speech,
    "paraphrase": WordNoise.paraphrase,
    "simplify": WordNoise.simplify,
    "verbose": WordNoise.verbose,
    "append": WordNoise.append,
}


def _picks(seconds: NDArray[np.uint32]) -> list[int]:
    """Three numbers of a sentence to choose phrases by; an empty sentence takes the first phrases."""
    return [int(seconds[i % len(seconds)]) >> (8 * i) if len(seconds) else 0 for i in range(3)]


def _labels_of(data: Labelled, kind: str, sentences: Sequence[Words]) -> frozenset[str]:
    """Labels inside which `entity_typos` or `spelling` writes: the data set's classes, else inside and outside."""
    named: frozenset[str] | None = getattr(
        data, "open_class" if kind == "entity_typos" else "closed_class", None
    )
    if named is not None:
        return named
    every = frozenset(tag for s in sentences for _, tag in s)
    return every - {data.outside} if kind == "entity_typos" else frozenset({data.outside})


def _letters_in(words: Words, labels: frozenset[str]) -> list[bool]:
    """Per code point of the words joined by blanks: whether its word has one of the labels."""
    flags: list[bool] = []
    for i, (word, tag) in enumerate(words):
        flags += ([False] if i else []) + [tag in labels] * len(word)
    return flags


def labelled(data: Any, items: Sequence[int]) -> list[Words]:
    """Words with labels of a data set's items; raises `LabelMismatchError` where there are none or too few."""
    if not hasattr(data, "tokens") or not hasattr(data, "tags"):
        raise LabelMismatchError(
            "these texts have no labelled words (.tokens and .tags), so only kinds of letters can be asked of them"
        )
    for item in items:
        if len(data.tokens[item]) != len(data.tags[item]):
            raise LabelMismatchError(
                f"item {item} has {len(data.tokens[item])} words and {len(data.tags[item])} labels; give each word one"
            )
    return [list(zip(data.tokens[i], data.tags[i], strict=True)) for i in items]


def _require_words(sentences: Sequence[Words], items: Sequence[int]) -> None:
    for item, words in zip(items, sentences, strict=True):
        for word, _ in words:
            if not word or word.split() != [word]:
                raise LabelMismatchError(f"item {item}: {word!r} is not one word, so labels cannot follow it")
