"""Slot scores: spans are maximal runs of one tag (no BIO), and the outside tag is no span."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

Span = tuple[int, int, str]
"""First word, word after the last, tag."""


class SlotScore(NamedTuple):
    """Scores over many sentences, each in [0, 1].

    Attributes:
        span_f1: 2TP / (2TP + FP + FN) over spans of all sentences; 1 when there is nothing to find nor found.
        token_accuracy: share of words with the right tag; 1 for no words.
        exact: share of sentences with every tag right.
    """

    span_f1: float
    token_accuracy: float
    exact: float


def spans(tags: Sequence[str], outside: str) -> set[Span]:
    """The spans of one sentence."""
    found: set[Span] = set()
    start = 0
    for end in range(1, len(tags) + 1):
        if end == len(tags) or tags[end] != tags[start]:
            if tags[start] != outside:
                found.add((start, end, tags[start]))
            start = end
    return found


def score(gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]], outside: str) -> SlotScore:
    """Scores of predicted tags; both have as many tags as words, sentence by sentence."""
    hits = wanted = found = words = right = whole = 0
    for truth, guess in zip(gold, predicted, strict=True):
        true_spans, guessed = spans(truth, outside), spans(guess, outside)
        hits += len(true_spans & guessed)
        wanted, found = wanted + len(true_spans), found + len(guessed)
        same = sum(a == b for a, b in zip(truth, guess, strict=True))
        words, right, whole = words + len(truth), right + same, whole + (same == len(truth))
    return SlotScore(
        span_f1=2 * hits / (wanted + found) if wanted + found else 1.0,
        token_accuracy=right / words if words else 1.0,
        exact=whole / len(gold) if gold else 1.0,
    )
