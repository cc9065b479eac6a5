import itertools

import numpy as np
import pytest
from scipy.stats import binom

from agentkit_input_noise import keyed
from agentkit_input_noise.codepoints import CodePoints
from agentkit_input_noise.letters import KINDS, LetterNoise

KEY = 0x9D3F_1177_AB12_55E1
HARD = [
    "123 Main Street, Springfield",
    "",
    "x",
    "Ünïcødé naïve café",
    "Москва, улица Ленина 5",
    "שדרות רוטשילד 16",
    "東京都千代田区",
    "flag 🇫🇷 family 👨‍👩‍👧 ok",
    "line one\nline two\ttabbed\r\n",
    "lone \ud83d surrogate",
    "42",
]
STRENGTHS = (0.02, 0.1, 0.3, 0.6, 1.0)


def noise(kind, texts=HARD, items=None, key=KEY):
    return LetterNoise(texts, range(len(texts)) if items is None else items, kind, key)


@pytest.mark.parametrize("kind", KINDS)
def test_strength_zero_gives_the_same_texts(kind):
    assert noise(kind).at(0.0).texts == HARD


@pytest.mark.parametrize("kind", KINDS)
def test_an_item_does_not_depend_on_batch_or_order(kind, addresses):
    texts = [*HARD, *addresses.texts[:53]]
    together = noise(kind, texts).at(0.3).texts
    for size in (1, 7, 64):
        order = list(range(len(texts)))[::-1]
        parts = [order[i : i + size] for i in range(0, len(order), size)]
        found = {}
        for part in parts:
            found |= dict(zip(part, noise(kind, [texts[i] for i in part], part).at(0.3).texts, strict=True))
        assert [found[i] for i in range(len(texts))] == together


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_edited_at_p_is_edited_at_every_larger_p(kind, addresses):
    some = noise(kind, addresses.texts[:200])
    counts = np.stack([some.at(p).edited for p in STRENGTHS])
    assert (np.diff(counts, axis=0) >= 0).all()
    assert counts[-1].sum() > counts[0].sum() > 0


@pytest.mark.parametrize("kind", ["typos", "ocr"])
def test_a_substituted_letter_stays_the_same_at_every_larger_p(kind, addresses):
    texts = addresses.texts[:200]
    some = noise(kind, texts)
    before = CodePoints.of(some.at(0.1).texts).codes
    after = CodePoints.of(some.at(0.4).texts).codes
    clean = CodePoints.of(texts).codes
    edited = before != clean
    assert edited.any()
    assert (after[edited] == before[edited]).all()


def test_swapped_pairs_stay_swapped_at_every_larger_p(addresses):
    texts = addresses.texts[:200]
    some = noise("swap", texts)
    clean, before, after = (CodePoints.of(t).codes for t in (texts, some.at(0.1).texts, some.at(0.5).texts))
    assert (after[before != clean] == before[before != clean]).all()


def is_subsequence(short, long):
    rest = iter(long)
    return all(char in rest for char in short)


def test_deletions_and_insertions_are_nested(addresses):
    texts = addresses.texts[:100]
    for kind in ("delete", "insert"):
        chain = [texts, *(noise(kind, texts).at(p).texts for p in STRENGTHS)]
        for less, more in itertools.pairwise(chain):
            for a, b in zip(less, more, strict=True):
                assert is_subsequence(*((b, a) if kind == "delete" else (a, b)))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("p", [0.05, 0.1, 0.4])
def test_the_edit_rate_lies_in_the_binomial_band(kind, p, addresses):
    noised = noise(kind, addresses.texts).at(p)
    edited, editable = int(noised.edited.sum()), int(noised.editable.sum())
    low, high = binom.interval(0.999, editable, p)
    assert low <= edited <= high


@pytest.mark.parametrize("kind", KINDS)
def test_texts_keep_their_words_at_every_strength(kind, addresses):
    for p in STRENGTHS:
        for text, noised in zip(addresses.texts, noise(kind, addresses.texts).at(p).texts, strict=True):
            assert len(noised.split(" ")) == len(text.split(" "))
            assert all(noised.split(" "))


@pytest.mark.parametrize("kind", KINDS)
def test_no_script_breaks_and_line_breaks_survive(kind):
    for text, noised in zip(HARD, noise(kind).at(1.0).texts, strict=True):
        assert [c for c in noised if c.isspace()] == [c for c in text if c.isspace()]
        if kind in ("typos", "ocr"):
            assert [c for c in noised if ord(c) > 127] == [c for c in text if ord(c) > 127]


def test_typos_are_keyboard_neighbours_of_the_same_case():
    noised = noise("typos", ["Qa" * 400]).at(1.0).texts[0]
    assert set(noised[::2]) == set("WA")
    assert set(noised[1::2]) == set("qwsz")


def test_letters_of_other_scripts_can_be_deleted_doubled_and_swapped():
    text = ["東京都千代田区"]
    assert len(noise("delete", text).at(1.0).texts[0]) == 1
    assert len(noise("insert", text).at(1.0).texts[0]) == 2 * len(text[0])
    swapped = noise("swap", text).at(1.0).texts[0]
    assert swapped != text[0]
    assert sorted(swapped) == sorted(text[0])


def test_digits_have_no_typos():
    noised = noise("typos", ["12345", "60 601"]).at(1.0)
    assert noised.texts == ["12345", "60 601"]
    assert noised.editable.sum() == 0


def test_another_key_or_item_gives_another_noise(addresses):
    texts = addresses.texts[:50]
    plain = noise("typos", texts).at(0.3).texts
    assert noise("typos", texts, key=KEY + 1).at(0.3).texts != plain
    assert noise("typos", texts, items=range(50, 100)).at(0.3).texts != plain


def test_edits_of_neighbouring_letters_are_uncorrelated():
    hashes = keyed.position_hashes(KEY, np.arange(4000), np.full(4000, 40))
    edited = keyed.below(hashes, 0.1).reshape(4000, 40)
    correlation = np.corrcoef(edited[:, :-1].ravel(), edited[:, 1:].ravel())[0, 1]
    assert abs(correlation) < 0.01
    assert abs(edited.mean() - 0.1) < 0.003


def test_the_kind_of_edit_does_not_depend_on_whether_it_is_made():
    hashes = keyed.position_hashes(KEY, np.arange(20_000), np.full(20_000, 1))
    picks = keyed.choice(hashes, np.full(20_000, 4, dtype=np.uint32))
    share = np.bincount(picks[keyed.below(hashes, 0.2)], minlength=4) / keyed.below(hashes, 0.2).sum()
    assert np.abs(share - 0.25).max() < 0.03


def test_mix64_is_splitmix64():
    """First outputs of SplitMix64 started at 1234567, as published with the generator."""
    step = np.uint64(0x9E3779B97F4A7C15)
    states = np.uint64(1234567) + step * np.arange(3, dtype=np.uint64)
    assert keyed.mix64(states).tolist() == [6457827717110365317, 3203168211198807973, 9817491932198370423]


def test_each_position_has_the_hash_of_its_own_item_and_place():
    lengths = np.array([3, 0, 2])
    start = keyed.item_hash(KEY, [4, 5, 6]).astype(object)
    expected = [(int(start[i]) + j * 0x9E3779B9) % 2**32 for i, n in enumerate(lengths) for j in range(n)]
    assert (
        keyed.position_hashes(KEY, [4, 5, 6], lengths) == keyed.mix32(np.array(expected, dtype=np.uint32))
    ).all()
