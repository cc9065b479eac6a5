"""What the planner makes of requests: values, claims, questions, and refusals, for tools it has never seen too."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

from agentkit.agent.offline.replies import QUESTION

ROOT = Path(__file__).parents[3]


def first(talk: Any, text: str, tools: Any = None) -> dict[str, Any]:
    """Arguments of the planner's first call."""
    reply = talk(tools=tools).says(text)
    assert reply.tool_calls, reply.content
    assert reply.tool_calls[0]["name"] == "explore"
    return dict(reply.tool_calls[0]["args"])


@pytest.mark.parametrize(
    ("text", "params"),
    [
        ("dim the light of cam:roof by a level of 30 %", {"target": "cam:roof", "level": 0.3}),
        ("dim cam:roof, level 0.2, 25 frames and glare 12", {"target": "cam:roof", "level": 0.2, "frames": 25, "glare": 12}),
        ("does the camera cam:a still focus in dim light through tele and fish-eye lenses?", {"target": "cam:a", "lenses": ["tele", "fish_eye"]}),
        ("dim light, camera target cam:b, zones 1, 4 and 9", {"target": "cam:b", "zones": [1, 4, 9]}),
        ("dim the camera cam:c with a tripod", {"target": "cam:c", "tripod": True}),
        ("dim the camera cam:c without a tripod", {"target": "cam:c", "tripod": False}),
        ("camera.dim target=cam:d level=0.75", {"target": "cam:d", "level": 0.75}),
    ],
)  # fmt: skip
def test_values_for_a_tool_never_seen_before_come_from_its_schema(
    talk: Any, cameras: Any, text: str, params: dict[str, Any]
) -> None:
    assert first(talk, text, cameras) == {
        "tool": "camera.dim",
        "params": params,
        "units": first(talk, text, cameras)["units"],
    }


def test_a_range_over_a_single_number_is_swept_level_by_level(talk: Any, cameras: Any) -> None:
    call = first(
        talk, "how much does focus change when cam:a is dimmed by levels between 0.2 and 0.6?", cameras
    )
    assert call["params"] == {"target": "cam:a", "level": 0.2}


def test_units_are_taken_from_the_request(talk: Any, cameras: Any) -> None:
    assert first(talk, "dim cam:a with 24 units", cameras)["units"] == 24


def test_a_missing_required_value_is_one_question_that_names_it(talk: Any, cameras: Any) -> None:
    reply = talk(tools=cameras).says("dim the light of the camera by a level of 0.3")
    assert not reply.tool_calls
    assert reply.content.startswith(QUESTION)
    assert "`target`" in reply.content
    assert "cam:" in reply.content


def test_a_number_that_fits_nothing_is_asked_about_and_never_dropped(talk: Any, cameras: Any) -> None:
    reply = talk(tools=cameras).says("dim the camera cam:a at 77777")
    assert not reply.tool_calls
    assert "77777" in reply.content


def test_a_value_out_of_bounds_is_not_run(talk: Any, cameras: Any) -> None:
    reply = talk(tools=cameras).says("dim cam:a with level 1.5")
    assert not reply.tool_calls
    assert "1.5" in reply.content


def test_an_unclear_request_is_a_question_with_at_most_three_tools(talk: Any) -> None:
    reply = talk().says("measure robustness")
    assert reply.content.startswith(QUESTION)
    assert 1 <= reply.content.count("\n- ") <= 3


def test_off_topic_is_refused_with_three_nearest_things_and_no_pretence(talk: Any) -> None:
    reply = talk().says("Write me a love letter")
    assert not reply.tool_calls
    assert "not a language model" in reply.content
    assert reply.content.count("\n- ") == 3


def test_a_request_with_no_tools_installed_says_so(talk: Any, cameras: Any) -> None:
    calls = [t for t in cameras if "camera" not in t["function"]["name"]]
    reply = talk(tools=calls).says("dim the camera")
    assert "No perturbation tool" in reply.content


@pytest.mark.parametrize(
    "text",
    [
        "",
        "   ",
        "?",
        "….",
        "\x00",
        "🙂" * 50,
        "=" * 500,
        "a" * 5000,
        "1 2 3 4 5 6 7 8 9 10",
        "L3.H2",
        "H1",
        "grn:",
        "\n\n",
    ],
)
def test_odd_messages_are_answered_and_run_nothing(talk: Any, text: str) -> None:
    reply = talk().says(text)
    assert all(c["name"] == "status" for c in reply.tool_calls)
    assert reply.tool_calls or reply.content


def test_the_plan_line_says_where_each_value_came_from(talk: Any, cameras: Any) -> None:
    reply = talk(tools=cameras).says(
        "does level 0.4 of dimming cam:a lower the focus score by more than 0.1?"
    )
    assert 'level 0.4 [you: "0.4"]' in reply.content
    assert 'sesoi 0.1 [you: "by more than 0.1"]' in reply.content
    assert 'less [you: "lower"]' in reply.content


def test_the_plan_line_marks_defaults(talk: Any, cameras: Any) -> None:
    reply = talk(tools=cameras).says("how much does dimming change cam:a?")
    assert "[default: the first of the tool]" in reply.content
    assert "sesoi [default" in reply.content


@pytest.fixture(scope="module")
def judged() -> dict[str, Any]:
    spec = importlib.util.spec_from_file_location(
        "planner_requests", ROOT / "benchmarks" / "planner_requests.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["planner_requests"] = module
    spec.loader.exec_module(module)
    tools = module.bound_tools()
    cards, _ = module.read_cards(tools)
    named = {c.name: c for c in cards}
    return {
        half: module.evaluate(module.offline(tools), named, path)[0] for half, path in module.FILES.items()
    }


@pytest.mark.parametrize("half", ["development", "held out", "fresh"])
def test_most_requests_get_the_right_tool_params_or_question(judged: dict[str, Any], half: str) -> None:
    rates = judged[half].rates
    assert judged[half].requests >= 60
    assert rates["tool_or_question"] >= 0.90
    assert rates["params"] >= 0.85
    assert rates["wrong_run"] <= 0.02
    assert rates["refused"] >= 0.95


@pytest.mark.parametrize(
    ("text", "intent"),
    [
        ("does level 0.2 of dimming cam:a lower focus by more than 0.1? register it", "claim"),
        ("dim cam:a at level 0.3 and see whether focus falls", "claim"),
        ("how much does dimming cam:a change the focus?", "dose"),
        ("which lens suffers most when cam:a is dimmed? register and confirm the worst", "scan"),
        ("is focus unchanged when cam:a is dimmed by level 0.1?", "equivalence"),
        ("dim cam:a: wide versus tele", "compare"),
        ("dim cam:a, level 0.2", "look"),
    ],
)
def test_the_intent_is_read_from_cue_words(talk: Any, cameras: Any, text: str, intent: str) -> None:
    assert talk(tools=cameras).says(text).content.startswith(f"plan  {intent}: camera.dim")


@pytest.mark.parametrize(
    ("words", "way", "sesoi"),
    [
        ("lower focus_score by more than 0.1", "less", "0.1"),
        ("reduce focus_score by at least 10 %", "less", "0.1"),
        ("raise focus_score by 0.2 or more", "greater", "0.2"),
        ("hurt focus_score by over 5 percentage points", "harm", "0.05"),
        ("leave focus_score within ±0.02", "equivalent", "0.02"),
    ],
)
def test_direction_and_margin_of_a_claim_are_read(
    talk: Any, cameras: Any, words: str, way: str, sesoi: str
) -> None:
    line = talk(tools=cameras).says(f"does level 0.3 of dimming cam:a {words}?").content
    assert f"; {way} [" in line.replace(", ", "; ")
    assert f"sesoi {sesoi} [you" in line


def test_a_level_that_must_not_be_crossed_is_asked_about(talk: Any, cameras: Any) -> None:
    reply = talk(tools=cameras).says("does focus_score stay above 0.9 when cam:a is dimmed by level 0.1?")
    assert reply.content.startswith(QUESTION)
    assert not reply.tool_calls


@pytest.mark.parametrize(
    ("text", "tool", "params"),
    [
        ("perturb all attention heads in layers 1 to 3", "attention.perturb_heads", {"sites": "L1.H*, L2.H*, L3.H*"}),
        ("simulate cells of grn:toggle, overexpress A fourfold and read B", "gene.perturb",
         {"target": "grn:toggle", "perturb": ["OE:A@4"], "readout": "B"}),
        ("misspell: a mix of typos and swaps of letters in labelled texts, how much of the slots does the tagger find?",
         "noise.slots", {"kinds": ["typos", "swap"], "mixes": [["typos", "swap"]]}),
        ("remove 20 % of the edges of the graph: are missing links still predicted?", "noise.graph",
         {"kinds": ["edge_drop"], "strengths": [0.2]}),
        ("finetune the encoder with lora r=4 and sam in bf16", "weight.finetune",
         {"methods": ["lora", "sam"], "r": 4, "dtype": "bfloat16"}),
    ],
)  # fmt: skip
def test_words_of_the_trade_find_their_values(
    talk: Any, text: str, tool: str, params: dict[str, Any]
) -> None:
    call = first(talk, text)
    assert (call["tool"], call["params"]) == (tool, params)


def test_an_act_that_the_nearest_tool_does_not_do_is_asked_about(talk: Any) -> None:
    reply = talk().says("zero out the output of block 2")
    assert not reply.tool_calls and reply.content.startswith(QUESTION)


def test_percent_is_never_a_count(talk: Any) -> None:
    call = first(talk, "does the test loss peak at some adapter rank with 40% noisy labels?")
    assert call["params"] == {"label_noise": 0.4}
