"""`agentkit ask`: one question, its verdicts, an exit code."""

from __future__ import annotations

from agentkit.testing.replies import Call, Reply
from tests.cli.chat_kit import LOOK, of, register, words

GOAL = "does tiny.shift raise the level of up? register and test it"


def test_a_question_is_answered_with_verdicts_by_the_offline_planner(chat):
    events, code, err = chat([], GOAL, "--campaign", "tiny", command="ask")
    assert (code, err) == (0, "")
    assert events[0]["campaign"] == "tiny"
    labels = {v["hypothesis"]: v["label"] for v in of(events, "verdict")}
    assert labels
    assert set(labels.values()) <= {"supported", "contradicted"}, "the claim is decided"
    assert "not a language model" in words(events)


def test_a_question_asked_again_gets_the_same_verdict_and_draws_no_further_unit(chat):
    first, code, _ = chat([], GOAL, "--campaign", "tiny", command="ask")
    again, second_code, err = chat([], GOAL, "--campaign", "tiny", command="ask")
    assert (code, second_code, err) == (0, 0, "")
    told = ("hypothesis", "label", "units", "failed", "estimate", "lo", "hi", "null", "sesoi")
    said, said_again = (
        {v["hypothesis"]: [v[k] for k in told] for v in of(events, "verdict")} for events in (first, again)
    )
    assert said == said_again != {}
    assert len(of(again, "run")) == 1, "it looked once more, and drew nothing"
    assert sum(e["phase"] == "confirm" for e in of(first, "run")) > 0


def test_stopping_a_closed_claim_and_asking_a_run_for_a_verdict_are_refused_with_the_reason(chat):
    stop = Call("stop", {"hypothesis": "H1"})
    script = [
        Reply("", [LOOK]), Reply("", [register()]), Reply("", [Call("run_batch", {"hypothesis": "H1", "units": 60})]),
        Reply("", [stop]), Reply("", [Call("stop", {"hypothesis": "H1", "reason": "again"})]),
        Reply("", [Call("status", {"what": "hypothesis", "id": "R1"})]), Reply("done"),
    ]  # fmt: skip
    events, code, _ = chat([], "go", "--campaign", "tiny", command="ask", script=script)
    said = str(events)
    assert code == 0
    assert "AK002: hypothesis H1 is closed after 60 units (stopped); it cannot be closed again" in said
    assert (
        "R1 is a run, and no run has a verdict: register a hypothesis and confirm it on fresh units" in said
    )


def test_a_planner_that_asks_back_ends_with_4_and_says_how_to_answer(chat):
    events, code, _ = chat([], "how much?", command="ask", script=None)
    question = words(events).startswith("One question")
    assert code == (4 if question else 0)
    events, code, _ = chat([], "does tiny.shift change the level by 0.3 and 0.7 and 0.9?", command="ask")
    if words(events).startswith("One question"):
        assert code == 4
        assert f"agentkit chat --session {events[-1]['session']}" in of(events, "error")[-1]["text"]


def test_caps_end_it_with_3_and_a_missing_word_with_4(chat):
    events, code, _ = chat([], GOAL, "--max-runs", "0", command="ask")
    assert code == 3
    assert "0 of 0 runs" in of(events, "error")[-1]["text"]
    script = [Reply("", [LOOK]), Reply("", [register()])]
    events, code, _ = chat([], GOAL, "--approve", "ask", command="ask", script=script)
    assert code == 4
    script = [Reply("", [LOOK]), Reply("never sent")]
    events, code, _ = chat([], "go", "--max-tokens", "10", command="ask", script=script)
    assert code == 3
    _, code, err = chat([], "go", "--budget-usd", "-1", command="ask", json_lines=False)
    assert (code, "budget-usd" in err) == (2, True)
