"""`tagger:ngram`: a linear sequence labeller on hashed word, shape, affix and letter n-gram features.

Position i of a sentence sees the words i-2 .. i+2. Scores are sums over hashed features, so a word seen at
an offset always adds the same vector: prediction adds five cached vectors a word and is the same for a
sentence alone or among others.
"""

from __future__ import annotations

import re
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np

from agentkit_input_noise import keyed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from agentkit_input_noise.addresses import Addresses

BUCKETS = 1 << 16
OFFSETS = (-2, -1, 0, 1, 2)
EPOCHS = 8
RATE = 0.1
BATCH = 64
"""Words per step."""
SEED = 20_231
CACHED_WORDS = 100_000
EDGE = "\x02"
"""Stands for the words before the first and after the last."""


def word_features(word: str) -> NDArray[np.uint32]:
    """Hashes of what is looked at in one word, shape (features,)."""
    low = word.lower()
    shape = re.sub(
        r"(.)\1+", r"\1", re.sub(r"[^\W\d_]", "a", re.sub(r"\d", "0", re.sub(r"[A-Z]", "A", word)))
    )
    padded = f"^{low}$"
    parts = [f"w{low}", f"s{shape}", f"n{min(len(word), 9)}", f"p{low[:3]}", f"x{low[-3:]}", f"e{word[-1:]}"]
    parts += [f"g{padded[i : i + n]}" for n in (2, 3, 4) for i in range(len(padded) - n + 1)]
    return np.array(
        [zlib.crc32(p.encode("utf-8", "surrogatepass")) for p in dict.fromkeys(parts)], dtype=np.uint32
    )


def buckets(features: NDArray[np.uint32], offset: int) -> NDArray[np.int64]:
    """Cells of the weight table that a word's features use when the word stands at `offset`."""
    salt = np.uint32(offset % BUCKETS * 0x9E3779B9 & 0xFFFFFFFF)
    salted = keyed.mix32(features + salt)
    return np.unique(salted % np.uint32(BUCKETS)).astype(np.int64)


class NgramTagger:
    """Labels each word of each sentence.

    Args:
        weights: shape (buckets, tags).
        tags: names of the tags.
    """

    def __init__(self, weights: NDArray[np.float32], tags: Sequence[str]) -> None:
        self._weights, self.tags = weights, tuple(tags)
        self._votes: dict[str, NDArray[np.float64]] = {}

    def predict(self, sentences: Sequence[Sequence[str]]) -> list[list[str]]:
        """One tag a word; a sentence's tags do not depend on the other sentences."""
        return [self._tag(sentence) for sentence in sentences]

    def _tag(self, words: Sequence[str]) -> list[str]:
        if not words:
            return []
        reach = OFFSETS[-1]
        padded = [EDGE] * reach + list(words) + [EDGE] * reach
        votes = np.stack([self._vote(word) for word in padded])  # (words, offsets, tags)
        n = len(words)
        scores = sum(votes[k : k + n, k] for k in range(len(OFFSETS)))
        return [self.tags[k] for k in np.argmax(scores, axis=1)]

    def _vote(self, word: str) -> NDArray[np.float64]:
        """What a word adds to the scores of the position it stands at each offset from, (offsets, tags)."""
        known = self._votes.get(word)
        if known is None:
            features = word_features(word)
            known = np.stack(
                [self._weights[buckets(features, o)].sum(axis=0, dtype=np.float64) for o in OFFSETS]
            )
            if len(self._votes) >= CACHED_WORDS:
                self._votes.clear()
            self._votes[word] = known
        return known


def train(data: Addresses) -> dict[str, NDArray[np.float32]]:
    """Weights of a softmax on the train split: Adagrad, rate 0.1, 8 epochs, fixed seed; about 4 CPU s."""
    from scipy.sparse import csr_matrix

    tags = tag_names(data)
    number = {tag: k for k, tag in enumerate(tags)}
    rows = [row for i in data.train for row in _rows(data.tokens[i])]
    gold = np.array([number[tag] for i in data.train for tag in data.tags[i]])
    weights = np.zeros((BUCKETS, len(tags)), dtype=np.float32)
    squares = np.full_like(weights, 1e-8)
    rng = np.random.default_rng(SEED)
    for _ in range(EPOCHS):
        order = rng.permutation(len(rows))
        for start in range(0, len(order), BATCH):
            part = order[start : start + BATCH]
            columns, inverse = np.unique(np.concatenate([rows[i] for i in part]), return_inverse=True)
            ends = np.cumsum([0, *(len(rows[i]) for i in part)])
            x = csr_matrix(
                (np.ones(len(inverse), dtype=np.float32), inverse, ends), (len(part), len(columns))
            )
            scores = x @ weights[columns]
            p = np.exp(scores - scores.max(axis=1, keepdims=True))
            p /= p.sum(axis=1, keepdims=True)
            p[np.arange(len(part)), gold[part]] -= 1
            gradient = x.T @ p
            squares[columns] += gradient**2
            weights[columns] -= RATE * gradient / np.sqrt(squares[columns])
    return {"weights": weights}


def tag_names(data: Any) -> list[str]:
    """Every tag of the data set, sorted."""
    return sorted({tag for tags in data.tags for tag in tags})


def _rows(words: Sequence[str]) -> list[NDArray[np.int64]]:
    """Cells used at each position: at offset o the word o places on is looked at."""
    reach = OFFSETS[-1]
    padded = [EDGE] * reach + list(words) + [EDGE] * reach
    features = [word_features(word) for word in padded]
    return [np.concatenate([buckets(features[i + reach + o], o) for o in OFFSETS]) for i in range(len(words))]
