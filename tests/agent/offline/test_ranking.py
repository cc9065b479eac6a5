"""BM25F: the scores are the published sum, and choosing by them is stable."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentkit.agent.offline.ranking import K1, LEAST_COLLECTION, SYNONYM, WEIGHTS, B, Ranker

WORDS = ["alpha", "bravo", "carbon", "delta", "ember", "fathom"]
documents_st = st.lists(
    st.fixed_dictionaries({f: st.lists(st.sampled_from(WORDS), max_size=8) for f in WEIGHTS}),
    min_size=1,
    max_size=30,
)


def brute_force(documents: list[dict[str, list[str]]], query: list[str], i: int) -> float:
    """The sum as printed, one document and one word at a time."""
    total = 0.0
    for word in dict.fromkeys(query):
        n = sum(any(word in d[f] for f in WEIGHTS) for d in documents)
        if not n:
            continue
        frequency = 0.0
        for name, weight in WEIGHTS.items():
            mean = sum(len(d[name]) for d in documents) / len(documents) or 1.0
            frequency += (
                weight * documents[i][name].count(word) / (1 - B + B * len(documents[i][name]) / mean)
            )
        idf = math.log(1 + (max(len(documents), LEAST_COLLECTION) - n + 0.5) / (n + 0.5))
        total += idf * frequency / (K1 + frequency)
    return total


@given(documents_st, st.lists(st.sampled_from(WORDS), min_size=1, max_size=5))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_scores_equal_the_brute_force_sum(documents: list[dict[str, list[str]]], query: list[str]) -> None:
    ranker = Ranker(documents)
    known = [w for w in query if ranker.knows(w)]
    scores = ranker.scores(known)
    for i in range(len(documents)):
        assert scores[i] == pytest.approx(brute_force(documents, known, i), abs=1e-12)


def test_a_synonym_counts_less_than_the_word_itself() -> None:
    ranker = Ranker([{"name": ["imag"]}, {"name": ["window"]}])
    direct, by_synonym = ranker.scores(["imag"])[0], ranker.scores(["pictur"])[0]
    assert by_synonym == pytest.approx(SYNONYM * direct)


def test_a_typo_counts_as_its_nearest_word() -> None:
    ranker = Ranker([{"name": ["landscap"]}, {"name": ["window"]}])
    assert next(iter(ranker.meanings("landscpa"))) == "landscap"
    assert ranker.meanings("zzzzzz") == {}
