"""Requests with intents: the split keeps templates and fillers apart, and `noise.text` classifies them."""

import numpy as np
import pytest

from agentkit.errors import ParamError, TargetError
from agentkit_input_noise import slots
from agentkit_input_noise.intents import FILLERS, OUTSIDE, TEMPLATES, load_intents
from agentkit_input_noise.intents_target import intents
from agentkit_input_noise.slots_tool import noise_slots
from agentkit_input_noise.text_classes import NearestClass
from agentkit_input_noise.text_tool import noise_text

PARAMS = {
    "target": "e:", "data": "intents:", "kinds": ["typos"], "strengths": [0.1, 0.6], "items": 40, "candidates": 100,
}  # fmt: skip


@pytest.fixture
def run(make_context, encoder, units):
    def run(on=units, conditions=None, **params):
        context = make_context({"e:": encoder, "intents:": load_intents()}, conditions)
        return noise_text(noise_text.parse({**PARAMS, **params}), on, context), context.artifacts

    return run


def test_no_template_and_no_filler_of_a_test_text_stands_in_a_train_text():
    data = load_intents()
    assert (len(data.train), len(data.test), len(set(data.texts))) == (288, 90, 378)

    def parts(split):
        slots = [
            " ".join(w for w, t in zip(data.tokens[i], data.tags[i], strict=True) if t != OUTSIDE)
            for i in split
        ]
        frames = [
            (data.labels[i], " ".join(w if t == OUTSIDE else "{}" for w, t in zip(data.tokens[i], data.tags[i], strict=True)))
            for i in split
        ]  # fmt: skip
        return set(slots), set(frames)

    for train, test in zip(parts(data.train), parts(data.test), strict=True):
        assert not train & test


def test_texts_words_tags_and_labels_belong_together():
    data = load_intents()
    assert data.names == tuple(TEMPLATES) == tuple(FILLERS)
    for text, tokens, tags, label in zip(data.texts, data.tokens, data.tags, data.labels, strict=True):
        assert text.split() == list(tokens)
        assert len(tokens) == len(tags)
        assert set(tags) == {OUTSIDE, FILLERS[data.names[label]][0]}
    assert [data.labels.count(i) for i in range(6)] == [63] * 6


def test_the_class_is_that_of_the_nearest_mean():
    class Corners:
        def encode(self, texts):
            return np.array(
                [
                    [1.0, 0.0] if t.startswith("a") else [0.0, 1.0] if t.startswith("b") else [0.6, 0.8]
                    for t in texts
                ]
            )

    class Data:
        texts, labels, train = ("a1", "a2", "b1", "c"), (7, 7, 3, 0), (0, 1, 2)

    classes = NearestClass(Corners(), Data, None)
    assert classes.of([np.array([0.9, 0.1]), np.array([0.1, 0.9])]).tolist() == [7, 3]


def test_typos_cost_accuracy_and_chance_is_a_sixth(run):
    table, files = run()
    mean = {c: table.column("accuracy", c).mean() for c in table.conditions}
    assert mean["baseline"] > mean["typos=0.1"] > mean["typos=0.6"]
    assert mean["chance"] == pytest.approx(1 / 6, abs=0.08)
    assert (table.column("flip_rate", "baseline") == 0).all()
    assert table.column("flip_rate", "typos=0.6").mean() > table.column("flip_rate", "typos=0.1").mean()
    assert list(files["curve.json"]) == ["accuracy", "recall_at_1"]


def test_no_split_of_units_or_conditions_shows_in_the_numbers(run, units):
    whole, _ = run()
    assert type(whole).concat([run(on=[unit])[0] for unit in units[::-1]]) == whole
    part, _ = run(conditions={"typos=0.6"})
    assert part == whole.select(conditions=part.conditions)


def test_addresses_have_no_classes(run, addresses, make_context, encoder, units):
    context = make_context({"e:": encoder, "addresses:": addresses})
    params = noise_text.parse({**PARAMS, "data": "addresses:"})
    assert "accuracy" not in noise_text(params, units[:2], context).metrics


def test_names_and_the_words_around_them_are_misspelt_apart(units):
    params = noise_slots.parse(
        {"data": "intents:", "kinds": ["entity_typos", "spelling"], "strengths": [1.0], "items": 30}
    )
    found = slots.perturb(params, units[0], load_intents(), slots.plans(params))
    clean = found["baseline"].sentences
    for kind, in_slots in (("entity_typos=1", True), ("spelling=1", False)):
        for before, after in zip(clean, found[kind].sentences, strict=True):
            for (word, tag), (noisy, label) in zip(before, after, strict=True):
                assert tag == label
                assert (word != noisy) == ((tag != OUTSIDE) == in_slots and any(c.isalpha() for c in word))


def test_what_cannot_be_drawn_or_loaded_is_refused(run):
    with pytest.raises(ParamError, match="91 items were asked for; there are 90 test requests"):
        run(items=91, candidates=None)
    with pytest.raises(ParamError, match="intents: 400 candidates"):
        run(candidates=400)
    with pytest.raises(TargetError, match="nothing may follow the colon"):
        intents.load("x", "cpu")
