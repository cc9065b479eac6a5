from collections import Counter

import numpy as np
import pytest
from scipy.stats import binom

from agentkit.errors import ParamError
from agentkit_input_noise import address_rules, fillers, homophones
from agentkit_input_noise.errors import LabelMismatchError, VariantsNeededError
from agentkit_input_noise.words import LEVEL_KINDS, RATE_KINDS, WordNoise

KEY = 0x1234_5678_9ABC_DEF0
EVERY = [(k, s) for k in RATE_KINDS for s in (0.1, 0.4, 1.0)] + [
    (k, s) for k in LEVEL_KINDS for s in (1, 2, 3)
]
HARD = [
    [],
    [("x", "A")],
    [("Ünïcødé", "A"), ("naïve", "B")],
    [("東京都", "A"), ("شارع", "B"), ("🇫🇷👨‍👩‍👧", "NotAddress")],
    [("15", "AddressNumber"), ("Main,", "StreetName")],
]


@pytest.fixture(scope="module")
def labelled(addresses):
    return [list(zip(addresses.tokens[i], addresses.tags[i], strict=True)) for i in range(150)]


def noise(kind, data, sentences, items=None, key=KEY):
    return WordNoise(sentences, range(len(sentences)) if items is None else items, kind, key, data)


@pytest.mark.parametrize("kind", [*RATE_KINDS, *LEVEL_KINDS])
def test_strength_zero_gives_the_same_sentences(kind, addresses, labelled):
    assert noise(kind, addresses, labelled).at(0).sentences == labelled


@pytest.mark.parametrize(("kind", "strength"), EVERY)
def test_every_word_has_a_label_and_no_word_is_empty(kind, strength, addresses, labelled):
    for words in noise(kind, addresses, [*labelled, *HARD]).at(strength).sentences:
        for word, tag in words:
            assert word.split() == [word]
            assert tag


@pytest.mark.parametrize(("kind", "strength"), [e for e in EVERY if e[1] in (0.4, 2)])
def test_a_sentence_does_not_depend_on_batch_or_order(kind, strength, addresses, labelled):
    sentences = [*labelled[:60], *HARD]
    together = noise(kind, addresses, sentences).at(strength).sentences
    for size in (1, 7):
        order = list(range(len(sentences)))[::-1]
        for start in range(0, len(order), size):
            part = order[start : start + size]
            alone = noise(kind, addresses, [sentences[i] for i in part], part).at(strength).sentences
            assert alone == [together[i] for i in part]


@pytest.mark.parametrize("kind", [k for k in RATE_KINDS if k not in ("word_shuffle", "local_shuffle")])
def test_the_edit_rate_lies_in_the_binomial_band(kind, addresses, labelled):
    noised = noise(kind, addresses, labelled).at(0.2)
    low, high = binom.interval(0.999, noised.editable, 0.2)
    assert low <= noised.edited <= high


@pytest.mark.parametrize("kind", [k for k in RATE_KINDS if k != "local_shuffle"])
def test_a_larger_strength_keeps_the_edits_of_a_smaller_one(kind, addresses, labelled):
    some = noise(kind, addresses, labelled)
    edited = [some.at(p).edited for p in (0.3, 0.6, 1.0)]
    assert edited == sorted(edited)
    assert edited[-1] > edited[0] > 0


def is_subsequence(short, long):
    rest = iter(long)
    return all(word in rest for word in short)


def test_dropped_words_stay_dropped_and_doubled_words_doubled(addresses, labelled):
    for less, more in ((0.1, 0.4), (0.4, 1.0)):
        drop, twice = noise("word_drop", addresses, labelled), noise("word_dup", addresses, labelled)
        for a, b in zip(drop.at(less).sentences, drop.at(more).sentences, strict=True):
            assert is_subsequence(b, a)
            assert b
        for a, b in zip(twice.at(less).sentences, twice.at(more).sentences, strict=True):
            assert is_subsequence(a, b)


def test_shuffles_move_labels_with_their_words(addresses, labelled):
    for kind in ("word_shuffle", "local_shuffle"):
        for before, after in zip(labelled, noise(kind, addresses, labelled).at(0.7).sentences, strict=True):
            assert Counter(before) == Counter(after)


def test_a_full_shuffle_leaves_no_word_in_its_place(addresses):
    sentence = [(f"w{i}", f"T{i}") for i in range(9)]
    after = noise("word_shuffle", addresses, [sentence]).at(1.0).sentences[0]
    assert all(a != b for a, b in zip(sentence, after, strict=True))


def test_a_one_word_text_has_nothing_to_shuffle(addresses):
    assert noise("word_shuffle", addresses, [[("x", "A")]]).at(1.0).editable == 0


def test_local_shuffle_moves_no_word_further_than_its_window_back(addresses):
    sentence = [(str(i), "T") for i in range(40)]
    after = [
        int(w) for w, _ in WordNoise([sentence], [0], "local_shuffle", KEY, addresses, 4).at(0.5).sentences[0]
    ]
    assert after != sorted(after)
    assert max(place - i for place, i in zip(range(40), after, strict=True)) <= 4


def test_typos_in_names_and_spelling_in_short_lists_write_in_their_own_words_only(addresses, labelled):
    for kind, own in (("entity_typos", addresses.open_class), ("spelling", addresses.closed_class)):
        for before, after in zip(labelled, noise(kind, addresses, labelled).at(0.6).sentences, strict=True):
            changed = {tag for (a, tag), (b, _) in zip(before, after, strict=True) if a != b}
            assert changed <= own


def test_spelling_writes_outside_slots_where_a_data_set_has_no_classes():
    class Plain:
        outside = "O"

    sentences = [[("fly", "O"), ("to", "O"), ("Boston", "city")]] * 20
    spelled = noise("spelling", Plain(), sentences).at(1.0).sentences
    assert all(s[2][0] == "Boston" and s[0][0] != "fly" for s in spelled)
    entities = noise("entity_typos", Plain(), sentences).at(1.0).sentences
    assert all(s[2][0] != "Boston" and s[0][0] == "fly" for s in entities)


def test_filler_words_are_outside_and_the_text_is_kept(addresses, labelled):
    for kind in ("verbose", "append"):
        for level in (1, 2, 3):
            for before, after in zip(
                labelled, noise(kind, addresses, labelled).at(level).sentences, strict=True
            ):
                assert is_subsequence(before, after)
                added = Counter(after) - Counter(before)
                assert added
                assert {tag for _, tag in added} == {"NotAddress"}


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("15", ["50"]),
        ("50", ["15"]),
        ("812", ["eight", "one", "two"]),
        ("812,", ["eight", "one", "two,"]),
        ("Road", ["Rode"]),
        ("WEST,", ["VEST,"]),
        ("Xyzzy", None),
        ("½", None),
        ("--", None),
        ("٣٤", None),
    ],
)
def test_words_are_written_as_they_are_heard(word, expected):
    assert homophones.heard(word, 0) == expected


def test_no_word_stands_in_two_groups_of_words_that_sound_alike():
    words = [w for group in homophones.SOUND_ALIKE for w in group.split()]
    assert max(Counter(words).values()) == 1


def test_a_paraphrase_says_the_same_in_other_forms():
    words = [("12", "AddressNumber"), ("N", "StreetNamePreDirectional"), ("Elm", "StreetName"),
             ("St,", "StreetNamePostType"), ("Joliet,", "PlaceName"), ("IL", "StateName")]  # fmt: skip
    said = [" ".join(w for w, _ in address_rules.paraphrase(words, level)) for level in (1, 2, 3)]
    assert said == [
        "12 N Elm Street, Joliet, IL",
        "12 NORTH Elm Street, Joliet, ILLINOIS",
        "Joliet, ILLINOIS 12 NORTH Elm Street,",
    ]


def test_a_simpler_text_drops_more_with_each_level_and_never_everything():
    words = [
        ("Suite", "OccupancyType"),
        ("5", "OccupancyIdentifier"),
        ("Joliet", "PlaceName"),
        ("60431", "ZipCode"),
    ]
    assert [len(address_rules.simplify(words, level)) for level in (1, 2, 3)] == [4, 3, 1]
    assert address_rules.simplify([("60431", "ZipCode")], 3) == [("60431", "ZipCode")]


def test_every_filler_is_found_by_some_pick():
    assert {fillers.verbose(1, [i, 0, 0])[0][0] for i in range(8)} == {
        p.split()[0] for p in fillers.CARRIERS_BEFORE
    }


def test_data_without_rules_cannot_be_paraphrased():
    class Plain:
        outside = "O"

    with pytest.raises(VariantsNeededError, match="no rules for paraphrase"):
        noise("paraphrase", Plain(), [[("a", "O")]]).at(1)


@pytest.mark.parametrize("word", ["", "two words", "tab\there"])
def test_a_label_needs_exactly_one_word(word, addresses):
    with pytest.raises(LabelMismatchError, match="item 4"):
        noise("typos", addresses, [[(word, "A")]], items=[4])


def test_an_unknown_kind_is_refused_with_near_names(addresses):
    with pytest.raises(ParamError, match="Did you mean 'word_drop'"):
        noise("word_drops", addresses, [])


def test_hashes_of_two_kinds_with_different_keys_are_unrelated(addresses, labelled):
    a = noise("word_drop", addresses, labelled, key=1).at(0.5)
    b = noise("word_drop", addresses, labelled, key=2).at(0.5)
    assert np.mean([x == y for x, y in zip(a.sentences, b.sentences, strict=True)]) < 0.2
