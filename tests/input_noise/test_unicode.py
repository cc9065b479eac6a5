"""Any code point, in any company: every text operator on random Unicode, surrogates and joiners among it."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentkit_input_noise.letters import KINDS, LetterNoise
from agentkit_input_noise.words import LEVEL_KINDS, RATE_KINDS, WordNoise

PIECES = (
    "👩\u200d👩\u200d👧", "👍🏽", "🇩🇪", "\ud83d", "\ude00", "ᄒ", "ᅡ", "ᆫ", "한", "क्षि", "น้ำ", "العربية", "שלום", "\u202e", "\u200f",
    "\u200b", "\u200d", "\ufeff", "\u00ad", "e\u0301", "\u0489", "\x00", "\x1b", "\U0010ffff", "𐐷", "ﬁ", "ß", "İ", "ǅ", "Main", "15",
)  # fmt: skip
BLANKS = (" ", "\t", "\n", "\r\n", "\u00a0", "\u2028", "\u3000", "\x1c", "\x85")
STRENGTHS = (1e-9, 0.1, 0.4, 0.8, 1.0)

piece = st.sampled_from(PIECES) | st.characters()
texts = st.lists(piece | st.sampled_from(BLANKS), max_size=12).map("".join)
word = st.lists(piece, min_size=1, max_size=3).map(lambda p: "".join("".join(p).split())).filter(bool)
sentences = st.lists(st.tuples(word, st.sampled_from(("O", "Name"))), max_size=5)
keys = st.integers(0, 2**64 - 1)


class Rules:
    """A data set of no language with rules of its own."""

    outside = "O"

    def paraphrase(self, words, level):
        return words[::-1]

    def simplify(self, words, level):
        return words[:1]


@pytest.mark.parametrize("kind", sorted(KINDS))
@settings(max_examples=40, deadline=None)
@given(given_texts=st.lists(texts, min_size=1, max_size=4), key=keys)
def test_letters_do_not_depend_on_company_and_words_stay_words(kind, given_texts, key):
    items = list(range(7, 7 + len(given_texts)))
    noise = LetterNoise(given_texts, items, kind, key)
    assert noise.at(0).texts == given_texts
    backwards = LetterNoise(given_texts[::-1], items[::-1], kind, key)
    for strength in STRENGTHS:
        found = noise.at(strength)
        assert found.texts == backwards.at(strength).texts[::-1]
        for text, item, noisy in zip(given_texts, items, found.texts, strict=True):
            assert LetterNoise([text], [item], kind, key).at(strength).texts == [noisy]
            assert len(noisy.split()) == len(text.split())
        assert (found.edited <= found.editable).all()


@pytest.mark.parametrize("kind", [*RATE_KINDS, *LEVEL_KINDS])
@settings(max_examples=25, deadline=None)
@given(given_sentences=st.lists(sentences, min_size=1, max_size=4), key=keys)
def test_words_do_not_depend_on_company_and_keep_their_labels(kind, given_sentences, key):
    items = list(range(7, 7 + len(given_sentences)))
    noise = WordNoise(given_sentences, items, kind, key, Rules())
    assert noise.at(0).sentences == given_sentences
    backwards = WordNoise(given_sentences[::-1], items[::-1], kind, key, Rules())
    for strength in (1, 2, 3) if kind in LEVEL_KINDS else STRENGTHS:
        found = noise.at(strength)
        assert found.sentences == backwards.at(strength).sentences[::-1]
        for sentence, item, noisy in zip(given_sentences, items, found.sentences, strict=True):
            assert WordNoise([sentence], [item], kind, key, Rules()).at(strength).sentences == [noisy]
            assert all(w.split() == [w] and tag in ("O", "Name") for w, tag in noisy)
        assert found.edited <= found.editable
