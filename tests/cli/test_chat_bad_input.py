"""Whatever goes wrong in a chat is one clear line with the next step, and the next line is answered as if nothing were."""

from __future__ import annotations

import pytest

from agentkit.testing.replies import Call, Fault, Reply
from tests.cli.chat_kit import LOOK, of, words

LOOP = [Reply("", [Call("status", {})]) for _ in range(4)]
BAD = {
    "a refused key": ([Fault(401, message="invalid x-api-key")], ["HTTP 401", "ANTHROPIC_API_KEY"], 2),
    "an unknown model": ([Fault(404, message="model: claude-a")], ["HTTP 404", "model's name"], 2),
    "an empty answer": ([Reply(""), Reply("")], ["empty twice"], 1),
    "an endless loop of one call": (LOOP, ["again and again"], 1),
}


@pytest.mark.parametrize("case", BAD)
def test_a_turn_that_fails_says_why_and_the_next_one_works(chat, case):
    script, needles, code_of = BAD[case]
    events, code, err = chat(["go", "and now?"], script=[*script, Reply("all is well")])
    assert (code, err) == (code_of, "")
    (error,) = [e for e in of(events, "error") if e.get("fatal")]
    assert "\n" not in error["text"]
    for needle in needles:
        assert needle in error["text"]
    assert words(events) == "all is well"


def test_a_refusal_is_said_to_be_one(chat):
    script = [Reply("", stop_reason="refusal"), Reply("I will not.", stop_reason="refusal"), Reply("fine")]
    events, code, _ = chat(["one", "two", "three"], script=script)
    assert code == 0
    silent, spoken = of(events, "error")
    assert "declined without a word" in silent["text"]
    assert "declined;" in spoken["text"]
    assert words(events).endswith("fine")


def test_invalid_arguments_are_told_to_the_planner_which_mends_them(chat):
    script = [Reply("", [Call("tiny__shift", {"bye": 0.2})]), Reply("", [LOOK]), Reply("mended")]
    events, code, _ = chat(["go"], script=script)
    assert code == 0
    (error,) = of(events, "error")
    assert "Did you mean 'by'" in error["text"]
    assert words(events) == "mended"
    assert len(of(events, "run")) == 1


def test_a_planner_without_a_key_is_refused_before_anything_is_opened(chat, tmp_path):
    events, code, _ = chat(["go"], "--planner", "anthropic:claude-a")
    assert code == 2
    assert "needs ANTHROPIC_API_KEY" in of(events, "error")[0]["text"]
    assert not (tmp_path / "lab.db").exists()
    events, code, _ = chat(["go"], "--planner", "ofline")
    assert (code, "'offline'" in of(events, "error")[0]["text"]) == (2, True)


def test_no_network_names_the_address(chat, monkeypatch):
    monkeypatch.setattr("agentkit.agent.planners.MAX_RETRIES", 0)
    monkeypatch.setenv("AGENTKIT_BASE_URL", "http://127.0.0.1:9")
    events, code, _ = chat(["go", "/status"], "--planner", "anthropic:claude-a")
    assert code == 2
    (error,) = of(events, "error")
    assert "http://127.0.0.1:9 cannot be reached" in error["text"]
    assert len([e for e in of(events, "text") if "data" in e]) == 1, "the command after it was answered"


def test_a_budget_of_zero_stops_before_anything_runs_and_can_be_raised(chat):
    script = [Reply("", [LOOK]), Reply("", [LOOK]), Reply("done")]
    events, code, _ = chat(["go"], "--max-runs", "0", script=script)
    assert code == 3
    (error,) = [e for e in of(events, "error") if e.get("fatal")]
    assert "0 of 0 runs are spent" in error["text"]
    assert not of(events, "run")
    events, code, _ = chat(["/budget runs=5", "go on"], "-c", "--max-runs", "0", script=script[1:])
    assert code == 0
    assert len(of(events, "run")) == 1
    assert words([e for e in events if "data" not in e]) == "done"


def test_a_damaged_store_and_a_locked_campaign_are_one_line(chat, tmp_path):
    from agentkit.ledger import Ledger

    (tmp_path / "lab.db").write_text("not a database at all")
    events, code, _ = chat(["go"])
    assert (code, "not a SQLite database" in of(events, "error")[0]["text"]) == (2, True)
    (tmp_path / "lab.db").unlink()
    with Ledger(tmp_path / "lab.db") as ledger:
        ledger.campaign("default")
        events, code, _ = chat(["go"])
    assert (code, "being driven by process" in of(events, "error")[0]["text"]) == (2, True)
