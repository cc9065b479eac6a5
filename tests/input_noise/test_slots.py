import numpy as np
import pytest

from agentkit.errors import ParamError, TargetError
from agentkit_input_noise import trained
from agentkit_input_noise.errors import (
    LabelMismatchError,
    NothingPerturbedError,
    TargetNotDeterministicError,
)
from agentkit_input_noise.slots_tool import NOISE_LLM, noise_slots
from agentkit_input_noise.spans import score, spans
from agentkit_input_noise.tagger_target import tagger as tagger_loader

PARAMS = {
    "kinds": ["typos", "speech", "paraphrase", "simplify", "verbose"],
    "strengths": [0.1, 0.4],
    "mixes": "noise_llm",
    "items": 60,
}


@pytest.fixture
def run(make_context, ngram, addresses, units):
    def run(params=PARAMS, conditions=None, on=units, data=addresses, model=ngram):
        context = make_context({"tagger:ngram": model, "addresses:": data}, conditions)
        return noise_slots(noise_slots.parse(params), on, context)

    return run


def test_the_tagger_learns_the_addresses(run):
    """One seed of the design's table: .914 token accuracy, .889 span F1, .621 whole strings."""
    table = run({**PARAMS, "items": 298}, conditions={"baseline"})
    assert table.column("token_accuracy", "baseline")[0] > 0.89
    assert table.column("span_f1", "baseline")[0] > 0.86
    assert table.column("exact", "baseline")[0] > 0.58


def test_a_sentence_is_tagged_the_same_alone_and_among_others(ngram, addresses):
    sentences = [addresses.tokens[i] for i in addresses.test[:80]]
    together = ngram.predict(sentences)
    assert [ngram.predict([s])[0] for s in sentences] == together
    assert ngram.predict([]) == []
    assert ngram.predict([[]]) == [[]]


def test_noise_costs_slots_and_the_measured_rate_stands_beside_the_requested_one(run):
    table = run()
    f1 = {c: table.column("span_f1", c).mean() for c in table.conditions}
    assert f1["baseline"] > f1["typos=0.1"] > f1["typos=0.4"] > f1["chance"]
    assert f1["spelling+entity_typos=0.4"] > f1["spelling+entity_typos+append=0.4"]
    assert table.column("edit_rate", "typos=0.4").mean() == pytest.approx(0.4, abs=0.02)
    assert (table.column("edit_rate", "baseline") == 0).all()


def test_five_single_kinds_and_four_mixes_are_conditions(run):
    table = run()
    assert {"verbose=1", "paraphrase=1", "simplify=1", "speech=0.4"} <= set(table.conditions)
    assert {f"{'+'.join(mix)}=0.4" for mix in NOISE_LLM} <= set(table.conditions)


def test_no_split_of_units_or_conditions_shows_in_the_numbers(run, units):
    whole = run()
    assert type(whole).concat([run(on=[unit]) for unit in units[::-1]]) == whole
    part = run(conditions={"typos=0.4", "spelling+append=0.1"})
    assert part == whole.select(conditions=part.conditions)


def test_an_exploration_leaves_curves_and_examples_with_labels(make_context, ngram, addresses, units):
    context = make_context({"tagger:ngram": ngram, "addresses:": addresses})
    noise_slots(noise_slots.parse(PARAMS), units, context)
    assert set(context.artifacts["curve.json"]["span_f1"]) == {"typos", "speech", "spelling+entity_typos"}
    assert "spelling+append" in context.artifacts["heat.svg"]
    example = context.artifacts["examples.json"]["verbose=1"][0]
    assert len(example["labels"]) == len(example["predicted"]) == len(example["after"].split(" "))


class Mixed:
    """A data set of labelled texts in several scripts, one of them empty."""

    outside = "O"
    tokens = (("東京都", "15"), (), ("شارع", "الملك"), ("🇫🇷", "Lyon", "69001"))
    tags = (("city", "no"), (), ("street", "street"), ("O", "city", "zip"))

    def draw(self, rng, n):
        return tuple(rng.permutation(4)[:n].tolist())


class Always:
    """Says one tag for every word."""

    def __init__(self, tag="city"):
        self.tag = tag

    def predict(self, sentences):
        return [[self.tag] * len(words) for words in sentences]


def test_empty_texts_emoji_and_right_to_left_scripts_pass(run):
    kinds = [
        "typos",
        "delete",
        "insert",
        "ocr",
        "word_drop",
        "word_dup",
        "word_shuffle",
        "speech",
        "verbose",
        "append",
    ]
    table = run({"kinds": kinds, "strengths": [0.3, 1.0], "items": 4}, data=Mixed(), model=Always())
    assert np.isfinite(table.array("span_f1")).all()


def test_span_f1_equals_brute_force_on_random_taggings():
    rng = np.random.default_rng(0)
    for _ in range(100):
        gold, guess = (rng.choice(list("ABO"), size=(4, 7)).tolist() for _ in range(2))

        def brute(sentences):
            return {
                (k, a, b, s[a])
                for k, s in enumerate(sentences)
                for a in range(7)
                for b in range(a + 1, 8)
                if s[a] != "O"
                and len(set(s[a:b])) == 1
                and (a == 0 or s[a - 1] != s[a])
                and (b == 7 or s[b] != s[a])
            }

        truth, found = brute(gold), brute(guess)
        hits = len(truth & found)
        expected = 2 * hits / (2 * hits + len(found - truth) + len(truth - found))
        assert score(gold, guess, "O").span_f1 == pytest.approx(expected, abs=1e-15)


def test_a_tag_repeated_apart_makes_two_spans():
    assert spans(["A", "B", "A", "A"], "O") == {(0, 1, "A"), (1, 2, "B"), (2, 4, "A")}


def test_nothing_to_find_and_nothing_found_is_perfect():
    assert score([["O", "O"], []], [["O", "O"], []], "O") == (1.0, 1.0, 1.0)


def test_a_span_found_on_an_added_word_is_a_false_positive():
    gold = ["city", "O", "O"]
    assert score([gold], [["city", "O", "O"]], "O").span_f1 == 1
    assert score([gold], [["city", "O", "zip"]], "O").span_f1 == pytest.approx(2 / 3)


def test_a_tagger_with_a_wrong_number_of_tags_is_refused(run):
    class Short:
        def predict(self, sentences):
            return [["PlaceName"] for _ in sentences]

    with pytest.raises(LabelMismatchError, match="gave 1 tags for the"):
        run(model=Short())


def test_a_tagger_that_forgets_a_sentence_is_refused(run):
    class Forgetful:
        def predict(self, sentences):
            return [["StreetName"] * len(words) for words in sentences][1:]

    with pytest.raises(LabelMismatchError, match="tags of"):
        run(model=Forgetful())


def test_a_tagger_that_changes_its_mind_is_refused(run):
    class Moody(Always):
        def predict(self, sentences):
            self.tag += "x"
            return super().predict(sentences)

    with pytest.raises(TargetNotDeterministicError, match="evaluation mode"):
        run(model=Moody())


def test_noise_that_finds_nothing_to_edit_is_refused(run):
    class Numbers(Mixed):
        tokens = (("1",), ("2",), ("3",), ("4",))
        tags = (("no",),) * 4

    with pytest.raises(NothingPerturbedError, match="word_shuffle finds nothing to edit in any of 4 items"):
        run({"kinds": ["word_shuffle"], "items": 4}, data=Numbers(), model=Always())


def test_a_shuffle_of_a_tenth_of_short_texts_does_nothing_and_says_so(run):
    with pytest.raises(NothingPerturbedError, match=r"word_shuffle=0\.02 edits nothing in 298 items"):
        run({"kinds": ["word_shuffle"], "strengths": [0.02], "items": 298})


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"mixes": [["typos"]]}, "two or more different kinds"),
        ({"mixes": [["typos", "typos"]]}, "two or more different kinds"),
        ({"level": 4}, "less than or equal to 3"),
        ({"window": 1}, "greater than or equal to 2"),
        ({"kinds": ["gaussian"]}, "'typos'"),
    ],
)
def test_bad_params_are_refused_in_one_clear_line(params, message):
    with pytest.raises(ParamError, match=message):
        noise_slots.parse(params)


def test_an_unknown_tagger_is_refused_with_near_names():
    with pytest.raises(TargetError, match="Did you mean 'tagger:ngram'"):
        tagger_loader.fingerprint("ngrams")


def test_a_trained_model_is_kept_whole_and_trained_once(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    calls = []

    def train():
        calls.append(1)
        return {"weights": np.arange(6, dtype=np.float32).reshape(2, 3)}

    first = trained.model_file("toy", {"seed": "1"}, train)
    assert trained.model_file("toy", {"seed": "1"}, train) == first
    assert trained.model_file("toy", {"seed": "2"}, train) != first
    assert len(calls) == 2
    assert (trained.read(first)["weights"] == np.arange(6).reshape(2, 3)).all()
    assert len(list(trained.folder().iterdir())) == 2
