"""Goals, questions and answers over several turns; the record; stopping."""

from __future__ import annotations

import json
from typing import Any

from langchain_core.messages import AIMessage, HumanMessage

from agentkit.agent.offline.conversation import STEPS_MARK, answer_in_words, current_goal, goal_message
from agentkit.agent.offline.replies import QUESTION
from tests.agent.offline.worlds import World


def dimmed(params: dict[str, Any]) -> dict[str, float]:
    """Focus falls by half of the level."""
    level = params.get("level", 0.5)
    return {f"level={level:g}": -0.5 * level}


def test_an_answer_to_the_question_completes_the_goal(talk: Any, cameras: Any) -> None:
    t = talk(tools=cameras)
    assert "`target`" in t.says("dim the light of the camera by a level of 0.3").content
    call = t.says("cam:roof").tool_calls[0]
    assert call["args"]["params"] == {"target": "cam:roof", "level": 0.3}


def test_a_tool_is_chosen_by_its_name_or_its_place_in_the_list(talk: Any) -> None:
    for answer in ("noise.text", "the first one"):
        t = talk()
        question = t.says("measure robustness").content
        offered = [line[2:].split(":")[0] for line in question.split("\n")[1:]]
        reply = t.says(answer)
        ran = reply.tool_calls[0]["args"]["tool"] if reply.tool_calls else reply.content
        expected = answer if answer == "noise.text" else offered[0]
        assert expected in ran


def test_no_goal_is_asked_about_more_than_three_times(talk: Any, cameras: Any) -> None:
    t = talk(tools=cameras)
    replies = [t.says("dim the camera")] + [t.says("hm") for _ in range(4)]
    asked = [r for r in replies if r.content.startswith(QUESTION)]
    assert len(asked) <= 3
    assert not any(r.tool_calls for r in replies if r.content.startswith(QUESTION))


def test_a_new_question_about_the_record_may_interrupt_an_open_question(talk: Any, cameras: Any) -> None:
    t = talk(tools=cameras)
    t.says("dim the camera by 0.3")
    assert t.says("status?").tool_calls[0]["name"] == "status"


def test_answers_read_as_they_would_have_stood_in_the_goal() -> None:
    assert answer_in_words(f"{QUESTION}a.b needs `target` (x). What", "grn:toggle") == "target = grn:toggle"
    assert answer_in_words(f"{QUESTION}a.b needs `target` (x). What", "target grn:x") == "target grn:x"
    assert answer_in_words(f"{QUESTION}what is 0.3? a.b takes", "label_noise") == "label_noise 0.3"
    assert answer_in_words(f"{QUESTION}which?\n- a.b: x\n- c.d: y", "the second") == "c.d"


def test_explore_then_register_it_goes_on_with_what_was_explored(talk: Any, cameras: Any) -> None:
    world = World(dimmed, sd=0.1)
    t = talk(world, cameras)
    t.says("dim cam:a with level 0.4")
    assert "register and test it" in t.goes_on().content
    assert (
        t.says("register it and test whether focus falls by more than 0.05").tool_calls[0]["name"]
        == "register"
    )
    t.goes_on()
    assert [n for n, _ in t.calls].count("explore") == 1
    assert world.supported == ["level=0.4"]


def test_the_record_is_read_through_status_and_never_paraphrased(talk: Any, cameras: Any) -> None:
    world = World(dimmed, sd=0.05)
    t = talk(world, cameras)
    t.says("does level 0.4 of dimming cam:a lower focus_score by more than 0.1?")
    t.goes_on()
    before = len(t.calls)
    t.says("which claims are supported?")
    answer = t.goes_on().content
    assert {n for n, _ in t.calls[before:]} == {"status"}
    assert "H1" in answer
    assert "supported" in answer
    assert "n=" in answer
    t.says("why H7?")
    assert "no hypothesis H7" in t.goes_on().content


def test_stop_closes_the_open_claims_of_the_conversation(talk: Any, cameras: Any) -> None:
    world = World(dimmed, sd=3.0)
    t = talk(world, cameras)
    t.says("does level 0.4 of dimming cam:a lower focus_score by more than 0.1?")
    for _ in range(4):
        t._put(t.messages[-1].tool_calls[0])
        t._reply()
    assert "run_batch" in [n for n, _ in t.calls]
    t.messages.pop()  # the user breaks in before the next batch
    assert t.says("stop").tool_calls[0]["name"] == "stop"
    assert t.goes_on().content == "Stopped. Closed claims: H1."


def test_continue_goes_on_where_the_goal_stood(talk: Any, cameras: Any) -> None:
    t = talk(World(dimmed, sd=0.05), cameras)
    t.says("does level 0.4 of dimming cam:a lower focus_score by more than 0.1?")
    t._put(t.messages[-1].tool_calls[0])
    assert t.says("continue").tool_calls[0]["name"] == "register"


def test_the_studys_own_steps_win_over_the_words(talk: Any) -> None:
    steps = [{"tool": "noise.text", "params": {"kinds": ["typos"]}, "units": 8}]
    reply = talk().says(goal_message("tell me a joke", steps))
    assert reply.content == ""
    assert reply.tool_calls[0]["args"] == {"tool": "noise.text", "params": {"kinds": ["typos"]}, "units": 8}


def test_a_goal_message_holds_its_steps_exactly() -> None:
    steps = [{"tool": "a", "params": {"x": 1}}]
    message = goal_message("why?", steps)
    assert json.loads(message.split(STEPS_MARK)[1]) == steps
    assert current_goal([HumanMessage(message)]).steps == tuple(steps)
    assert goal_message("why?", []) == "why?"


def test_content_in_blocks_is_read_like_plain_text() -> None:
    blocks = [HumanMessage([{"type": "text", "text": "dim the camera"}]), AIMessage("ok")]
    assert current_goal(blocks).parts == ("dim the camera",)
