"""What was written down against what was said: error rates, and whether a wrong transcript is a hallucination."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

MOST_COSINE = 0.2
"""Cosine to what was said below which a transcript is about something else."""

LEAST_WORDS = 2
LEAST_LOG_PROBABILITY = -1.0
"""Mean log-probability of a token above which the recogniser itself found its words fluent."""

WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")


class Transcript(NamedTuple):
    """What a recogniser wrote, and how sure it was.

    Attributes:
        text: the words.
        log_probability: mean log-probability of a token, at most 0; -inf for an empty text.
    """

    text: str
    log_probability: float


class ErrorRates(NamedTuple):
    """Edits over what was said, pooled over recordings; above 1 where more was written than said."""

    wer: float
    cer: float


def words_of(text: str) -> list[str]:
    """Lower-case words without signs; apostrophes inside words stay."""
    return [word.replace("’", "'") for word in WORD.findall(text.lower())]


def edits(said: Sequence[str], written: Sequence[str]) -> int:
    """Fewest insertions, deletions and substitutions from one sequence to the other (Levenshtein, 1966)."""
    row = list(range(len(written) + 1))
    for i, a in enumerate(said, 1):
        diagonal, row[0] = row[0], i
        for j, b in enumerate(written, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (a != b))
    return row[-1]


def error_rates(said: Sequence[str], written: Sequence[str]) -> ErrorRates:
    """Word and character error rate over several recordings, after `words_of` on both sides."""
    truth, found = [words_of(t) for t in said], [words_of(t) for t in written]
    wrong_words = sum(edits(a, b) for a, b in zip(truth, found, strict=True))
    wrong_signs = sum(edits(" ".join(a), " ".join(b)) for a, b in zip(truth, found, strict=True))
    return ErrorRates(
        wrong_words / max(sum(map(len, truth)), 1), wrong_signs / max(sum(len(" ".join(a)) for a in truth), 1)
    )


def is_hallucination(transcript: Transcript, cosine: float) -> bool:
    """Fluent words about something else (arXiv 2401.01572): unrelated, at least two words, and sure of itself.

    An empty transcript is none, whatever its numbers. The thresholds are provisional.
    """
    enough = len(words_of(transcript.text)) >= LEAST_WORDS
    return enough and cosine < MOST_COSINE and transcript.log_probability > LEAST_LOG_PROBABILITY
