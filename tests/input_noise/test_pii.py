"""Personal data hidden: consistent, nested, of the same form; leakage counted against the labels."""

import numpy as np
import pytest

from agentkit.errors import ParamError
from agentkit_input_noise.errors import NothingPerturbedError
from agentkit_input_noise.pii import PERSONAL, Hider, is_personal, leaked, pool_of
from agentkit_input_noise.pii_tool import noise_pii

KEY = 0xFEED_5EED
STRATEGIES = ["mask", "type", "faux"]


@pytest.fixture(scope="module")
def labelled(addresses):
    return [list(zip(addresses.tokens[i], addresses.tags[i], strict=True)) for i in addresses.test[:80]]


@pytest.fixture(scope="module")
def pool(addresses):
    return pool_of(addresses.tokens, addresses.tags)


@pytest.fixture
def run(make_context, encoder, addresses, units):
    def call(of=None, conditions=None, data=None, **params):
        context = make_context(
            {"minilm:": encoder, "addresses:": addresses if data is None else data}, conditions
        )
        parsed = noise_pii.parse({"items": 12, "candidates": 60, **params})
        table = noise_pii(parsed, units[:2] if of is None else of, context)
        table.artifacts = context.artifacts
        return table

    return call


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_what_is_hidden_is_hidden_alike_everywhere_and_at_every_larger_share(strategy, labelled, pool):
    hider = Hider(strategy, "tags", KEY, pool)
    half, whole = hider.at(labelled, 0.5).sentences, hider.at(labelled, 1.0).sentences
    seen = {}
    for clean, some, every in zip(labelled, half, whole, strict=True):
        for (before, tag), (after, _), (fully, _) in zip(clean, some, every, strict=True):
            assert after in (before, fully)
            if tag not in PERSONAL:
                assert fully == before
            elif before.isalnum():
                assert seen.setdefault((before, tag), fully) == fully
    assert hider.at(labelled, 0.0).sentences == labelled


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_no_personal_word_stays_where_it_stood(strategy, labelled, pool):
    hidden = Hider(strategy, "tags", KEY, pool).at(labelled, 1.0).sentences
    for clean, after in zip(labelled, hidden, strict=True):
        for (word, tag), (new, kept) in zip(clean, after, strict=True):
            assert kept == tag
            assert tag not in PERSONAL or new.lower() != word.lower() or not any(c.isalnum() for c in word)


def test_fake_values_keep_the_form_of_the_original(labelled, pool):
    hidden = Hider("faux", "tags", KEY, pool).at(labelled, 1.0).sentences
    for clean, after in zip(labelled, hidden, strict=True):
        for (word, tag), (new, _) in zip(clean, after, strict=True):
            if tag in PERSONAL and any(c.isdigit() for c in word):
                assert [c.isdigit() for c in new] == [c.isdigit() for c in word]
                assert not new.startswith("0") or word.startswith("0")
            if tag in PERSONAL and word.isalpha() and word.isascii():
                assert new[0].isupper() == word[0].isupper()


def test_another_key_gives_other_fake_values(labelled, pool):
    one, two = (Hider("faux", "tags", key, pool).at(labelled, 1.0).sentences for key in (1, 2))
    words = [
        (a, b)
        for x, y in zip(one, two, strict=True)
        for (a, t), (b, _) in zip(x, y, strict=True)
        if t in PERSONAL
    ]
    assert np.mean([a == b for a, b in words]) < 0.2


@pytest.mark.parametrize(
    ("word", "by_rules"),
    [("Peachtree", True), ("30361", True), ("4B", True), ("Street", False), ("N.", False), ("near", False)],
)
def test_rules_guess_by_digits_and_capitals(word, by_rules):
    assert is_personal(word, "anything", "rules") is by_rules


def test_leakage_counts_personal_words_that_still_stand():
    clean = [
        ("12", "AddressNumber"),
        ("Elm", "StreetName"),
        ("St", "StreetNamePostType"),
        ("&", "StreetName"),
    ]
    assert leaked(clean, clean) == (2, 2)
    assert leaked(clean, [("**", "AddressNumber"), *clean[1:]]) == (1, 2)
    assert leaked(clean, [("**", "AddressNumber"), ("ELM,", "StreetName")]) == (1, 2)


def test_hiding_more_leaks_less_and_finds_fewer_texts_again(run):
    table = run(strategies=STRATEGIES, strengths=[0.5, 1.0])
    assert (table.column("leak_rate", "baseline") == 1).all()
    assert (table.column("cosine", "baseline") == 1).all()
    for strategy in STRATEGIES:
        some, whole = (table.column("leak_rate", f"{strategy}={s:g}").mean() for s in (0.5, 1.0))
        assert whole < 0.1 < some < 0.9
        assert (
            table.column("reidentified", f"{strategy}=1").mean()
            < table.column("reidentified", "baseline").mean()
        )


def test_rules_leak_more_than_labels(run):
    by_rules, by_tags = (
        run(detector=d, strengths=[1.0]).column("leak_rate", "mask=1").mean() for d in ("rules", "tags")
    )
    assert by_rules > by_tags


def test_no_split_of_units_or_conditions_shows_in_the_numbers(run, units):
    whole = run(of=units[:3])
    assert type(whole).concat([run(of=[u]) for u in reversed(units[:3])]) == whole
    assert run(of=units[:3], conditions={"faux=1"}) == whole.select(conditions=["faux=1"])


def test_an_exploration_leaves_curves_and_examples(run):
    found = run().artifacts
    assert set(found["curve.json"]["cosine"]) == {"mask", "faux"}
    assert found["examples.json"]["mask=1"][0]["before"] != found["examples.json"]["mask=1"][0]["after"]


def test_texts_without_personal_words_are_refused(run, addresses):
    class Impersonal:
        texts, tokens, tags = (
            ("to the end", "of the road"),
            (("to", "the", "end"), ("of", "the", "road")),
            (("X",) * 3,) * 2,
        )

        def draw(self, rng, n):
            return (0, 1)

        def candidates(self, rng, items, count):
            return (0, 1)

    with pytest.raises(NothingPerturbedError, match="no word of 2 texts has a personal label"):
        run(data=Impersonal())


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"strategies": ["burn"]}, "burn"),
        ({"strengths": [0]}, "baseline is strength zero"),
        ({"detector": "eyes"}, "eyes"),
    ],
)
def test_bad_params_are_refused_in_one_clear_line(params, message):
    with pytest.raises(ParamError, match=message) as error:
        noise_pii.parse(params)
    assert "\n" not in str(error.value)
