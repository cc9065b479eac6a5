"""Reading English: stems, numbers, ranges, and atoms that stay whole."""

from __future__ import annotations

import pytest

from agentkit.agent.offline.text import normalised, read_tokens
from agentkit.agent.offline.words import stem, stems_of, trigram_dice


@pytest.mark.parametrize(
    "words",
    [
        ("misspelt", "misspell", "misspelling", "misspelled"),
        ("ablate", "ablation", "ablated", "ablating"),
        ("perturb", "perturbation", "perturbed", "perturbations"),
        ("tag", "tagger", "tagging"),
        ("classify", "classifier", "classified"),
        ("randomised", "randomized"),
    ],
)
def test_forms_of_one_word_share_a_stem(words: tuple[str, ...]) -> None:
    assert len({stem(w) for w in words}) == 1


def test_words_that_only_look_alike_keep_their_own_stem() -> None:
    assert stem("universe") != stem("universal")
    assert stem("bias") == "bias"
    assert stem("loss") == "loss"


def test_identifiers_count_whole_and_in_pieces() -> None:
    assert stems_of("recall_at_1") == ["recall_at_1", "recall"]


@pytest.mark.parametrize(
    ("text", "kind", "values"),
    [
        ("0 to 0.5", "range", (0.0, 0.5)),
        ("0.1..0.5", "range", (0.1, 0.5)),
        ("between 10% and 30 %", "range", (10.0, 30.0)),
        ("from 0.05 up to 0.4", "range", (0.05, 0.4)),
        ("8/255", "number", (8 / 255,)),
        ("1e-3", "number", (0.001,)),
        (".25", "number", (0.25,)),
        ("30 percent", "number", (30.0,)),
    ],
)
def test_numbers_and_ranges_are_read_in_every_spelling(
    text: str, kind: str, values: tuple[float, ...]
) -> None:
    token = next(t for t in read_tokens(normalised(text)) if t.numeric)
    assert (token.kind, token.values) == (kind, pytest.approx(values))
    assert token.percent == ("%" in text or "percent" in text)


@pytest.mark.parametrize(
    ("text", "kind", "atom"),
    [
        ("use hf:org/model-v1.5, please", "uri", "hf:org/model-v1.5"),
        ("in grn:scalefree?genes=50&seed=1.", "uri", "grn:scalefree?genes=50&seed=1"),
        ("heads L3.H2 only", "site", "L3.H2"),
        ("simulate KD:A@0.7~0.8 now", "condition", "KD:A@0.7~0.8"),
        ('set it to "a b c" here', "quoted", "a b c"),
        ("the file runs/zo.log today", "path", "runs/zo.log"),
        ("read G9 there", "symbol", "G9"),
    ],
)
def test_atoms_stay_whole(text: str, kind: str, atom: str) -> None:
    assert [t.text for t in read_tokens(normalised(text)) if t.kind == kind] == [atom]


def test_a_bare_scheme_is_a_uri_only_if_some_tool_names_it() -> None:
    kinds = {t.text: t.kind for t in read_tokens("minilm: and note: this", frozenset({"minilm"}))}
    assert kinds["minilm:"] == "uri"
    assert kinds["note"] == "word"


def test_a_model_name_with_digits_gives_no_numbers_and_no_sites() -> None:
    assert [t for t in read_tokens("all-MiniLM-L6-v2") if t.numeric or t.kind == "site"] == []


def test_metric_names_with_numbers_are_found_as_people_write_them() -> None:
    for written in ("recall at 1", "recall@1", "Recall_at_1"):
        assert "recall_at_1" in normalised(f"does {written} fall", ["recall_at_1"])


def test_trigram_similarity_is_one_for_equal_words_and_high_for_typos() -> None:
    assert trigram_dice("query", "query") == 1
    assert trigram_dice("querys", "query") > 0.6 > trigram_dice("weather", "letter")
