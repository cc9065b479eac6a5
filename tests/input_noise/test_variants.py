"""Texts rewritten by a language model: asked for, checked, kept, and used instead of rules."""

import json

import pytest
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from typer.testing import CliRunner

from agentkit.errors import AgentkitError, ParamError, TargetError, ToolError
from agentkit_input_noise import variants
from agentkit_input_noise.commands import app
from agentkit_input_noise.errors import VariantsNeededError
from agentkit_input_noise.slots_tool import noise_slots
from agentkit_input_noise.variants_target import variants as loader
from agentkit_input_noise.words import WordNoise


def shouting(request):
    """A chat model that says every word twice as loud and wraps its answer in prose."""
    words = json.loads(request[request.rindex("\n") :])
    return f"Here you are:\n{json.dumps([[w.upper(), t] for w, t in words])}\nAnything else?"


@pytest.fixture
def file(tmp_path, addresses):
    path = tmp_path / "loud.jsonl"
    lines = variants.write_lines(shouting, addresses, addresses.test[:30], ["paraphrase"], 1)
    path.write_text("\n".join(lines) + "\n")
    return path


def test_a_request_holds_the_text_its_labels_and_the_outside_label(addresses):
    item = addresses.test[0]
    words = list(zip(addresses.tokens[item], addresses.tags[item], strict=True))
    request = variants.request_for(words, "verbose", 3, addresses.outside)
    assert addresses.outside in request
    assert "wordily" in request
    assert "as much as possible" in request
    assert json.loads(request[request.rindex("\n") :]) == [list(pair) for pair in words]


@pytest.mark.parametrize(
    "answer",
    [
        "no list",
        "[]",
        '[["a b", "PlaceName"]]',
        '[["a", "Nonsense"]]',
        '[["a"]]',
        "[1, 2]",
        '[["", "PlaceName"]]',
    ],
)
def test_an_answer_that_labels_cannot_follow_is_not_used(answer):
    assert variants.parsed(answer, ["PlaceName"]) is None


def test_a_bad_answer_is_asked_for_once_more_and_then_left_out(addresses):
    asked = []

    def stubborn(request):
        asked.append(request)
        return "I would rather not."

    assert list(variants.write_lines(stubborn, addresses, addresses.test[:2], ["simplify"], 1)) == [
        None,
        None,
    ]
    assert len(asked) == 4


def test_rewritten_texts_replace_the_rules_and_are_counted(file, addresses):
    items = list(addresses.test[:30])
    clean = [list(zip(addresses.tokens[i], addresses.tags[i], strict=True)) for i in items]
    noised = WordNoise(clean, items, "paraphrase", 1, addresses, variants=loader.load(str(file), "cpu")).at(1)
    assert noised.sentences == [[(w.upper(), t) for w, t in words] for words in clean]
    changed = sum(w != w.upper() for words in clean for w, _ in words)
    assert (noised.edited, noised.editable) == (changed, sum(map(len, clean)))


def test_a_text_that_was_not_rewritten_is_named_with_the_next_step(file, addresses):
    item = addresses.test[31]
    words = [list(zip(addresses.tokens[item], addresses.tags[item], strict=True))]
    noise = WordNoise(words, [item], "paraphrase", 1, addresses, variants=loader.load(str(file), "cpu"))
    with pytest.raises(
        VariantsNeededError, match=f"no paraphrase of level 1 for text {item}; .*noise variants"
    ):
        noise.at(1)


def test_kinds_that_the_file_does_not_hold_keep_their_rules(file, addresses):
    item = addresses.test[0]
    words = [list(zip(addresses.tokens[item], addresses.tags[item], strict=True))]
    with_file, without = (
        WordNoise(words, [item], "verbose", 1, addresses, variants=v).at(1)
        for v in (loader.load(str(file), "cpu"), None)
    )
    assert with_file == without


def test_slot_filling_reads_them_through_the_target(tmp_path, make_context, ngram, addresses, units):
    path = tmp_path / "all.jsonl"
    path.write_text("\n".join(variants.write_lines(shouting, addresses, addresses.test, ["paraphrase"], 1)))
    uri = f"variants:{path}"
    targets = {"tagger:ngram": ngram, "addresses:": addresses, uri: loader.load(str(path), "cpu")}
    params = {"kinds": ["paraphrase"], "items": 20}
    by_file = noise_slots(noise_slots.parse({**params, "variants": uri}), units[:1], make_context(targets))
    by_rule = noise_slots(noise_slots.parse(params), units[:1], make_context(targets))
    assert by_file.column("edit_rate", "paraphrase=1") > by_rule.column("edit_rate", "paraphrase=1")


def test_another_file_is_another_target(file):
    before = loader.fingerprint(str(file))
    file.write_text(file.read_text().replace("paraphrase", "simplify", 1))
    assert loader.fingerprint(str(file)) != before


@pytest.mark.parametrize(
    "line", ["{}", "not json", '{"id": 1, "kind": "simplify", "level": 1, "tokens": ["a"], "tags": []}']
)
def test_a_broken_line_is_named(tmp_path, line):
    path = tmp_path / "broken.jsonl"
    path.write_text(f"\n{line}\n")
    with pytest.raises(TargetError, match="line 2 is no object"):
        loader.load(str(path), "cpu")


def test_files_that_are_absent_or_empty_are_refused(tmp_path):
    with pytest.raises(TargetError, match="is no file"):
        loader.fingerprint(str(tmp_path / "none"))
    (tmp_path / "empty").write_text("\n")
    with pytest.raises(TargetError, match="holds no text"):
        loader.load(str(tmp_path / "empty"), "cpu")


def call(*words):
    result = CliRunner().invoke(app, ["variants", *map(str, words)])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.output


def test_the_command_adds_what_is_missing_and_asks_for_nothing_twice(tmp_path, monkeypatch, addresses):
    asked = []

    def installed(name, planners):
        model = GenericFakeChatModel(messages=iter(lambda: AIMessage(shouting(asked[-1])), None))

        def ask(request):
            asked.append(request)
            return model.invoke(request).text

        return ask

    monkeypatch.setattr(variants, "chat", installed)
    out = tmp_path / "v.jsonl"
    assert "3 texts written" in call("--planner", "house:model", "--out", out, "--items", 3)
    assert "2 texts written" in call("--planner", "house:model", "--out", out, "--items", 5)
    assert len(asked) == 5
    found = loader.load(str(out), "cpu")
    assert {i for _, _, i in found.words} == set(addresses.test[:5])


def test_the_offline_planner_and_unknown_kinds_and_planners_are_refused(tmp_path):
    out = tmp_path / "v.jsonl"
    with pytest.raises(ToolError, match="writes no texts"):
        call("--planner", "offline", "--out", out)
    with pytest.raises(ParamError, match="no kind to rewrite 'typos'"):
        call("--planner", "x:y", "--out", out, "--kinds", "typos")
    with pytest.raises(AgentkitError, match="'nobody:knows' cannot be used"):
        call("--planner", "nobody:knows", "--out", out)
    assert not out.exists()
