"""The chat in a pipe: each line a turn, events as JSON lines, approvals by policy, slash commands, going on."""

from __future__ import annotations

import json

import pytest

from agentkit.cli.chat.events import TYPES
from agentkit.testing.replies import Call, Reply
from tests.cli.chat_kit import LOOK, of, register, words

BATCH = Call("run_batch", {"hypothesis": "H1", "units": 100})
STUDY = [
    Reply("I look first.", [LOOK]),
    Reply("", [register(dry_run=True)]),
    Reply("", [register()]),
    Reply("", [BATCH]),
    Reply("", [Call("stop", {"hypothesis": "H1"}), Call("report")]),
    Reply("H1 is supported: **V1**."),
]


def test_a_question_ends_in_a_verdict_and_every_step_is_one_event(chat, tmp_path):
    events, code, err = chat(["does up raise the level?"], "--approve", "auto", script=STUDY)
    assert (code, err) == (0, "")
    assert [e["seq"] for e in events] == list(range(1, len(events) + 1))
    assert {e["type"] for e in events} <= set(TYPES)
    assert events[0]["type"] == "session"
    assert (events[0]["planner"], events[0]["campaign"]) == ("anthropic:claude-a", "default")
    assert of(events, "turn")[0]["text"] == "does up raise the level?"
    assert words(events) == "I look first.H1 is supported: **V1**."
    explored, confirmed = of(events, "run")
    assert (explored["phase"], explored["note"]) == ("explore", "exploratory, never evidence")
    assert explored["metrics"]["level"]["conditions"] == ["up", "down", "same"]
    assert (confirmed["phase"], confirmed["hypothesis"], confirmed["units"]) == ("confirm", "H1", 100)
    assert [h["state"] for h in of(events, "hypothesis")] == ["planned", "frozen"]
    verdict = of(events, "verdict")[-1]
    assert (verdict["hypothesis"], verdict["label"], verdict["units"]) == ("H1", "supported", 100)
    assert verdict["lo"] < verdict["estimate"] < verdict["hi"]
    assert verdict["estimate"] == pytest.approx(0.3)
    (report,) = of(events, "report")
    for path in (report["html"], report["markdown"], *report["figures"]):
        assert (tmp_path / path).exists()
    assert report["figures"]
    assert of(events, "budget")[-1]["spent"]["runs"] == 3, "a look, a probe of what is to be claimed, a batch"
    assert events[-1]["type"] == "end"
    assert events[-1]["code"] == 0


def test_text_for_people_has_no_colours_in_a_pipe_and_names_label_interval_and_n(chat):
    out, code, err = chat(["does up raise the level?"], "--approve", "auto", script=STUDY, json_lines=False)
    assert (code, err) == (0, "")
    assert "\x1b" not in out
    assert "\r" not in out
    assert "exploratory, never evidence" in out
    assert "H1 frozen: tiny.shift  level: up - baseline > 0" in out
    assert "verdict H1: supported, 0.30 [" in out
    assert ", n=100\n" in out
    assert "figures in lab.report/default/figures" in out


def test_freezing_waits_for_a_word_that_a_pipe_cannot_give_and_resume_freezes_it_once(chat):
    events, code, _ = chat(["go", "never read"], script=STUDY[:3])
    assert code == 4
    (waiting,) = of(events, "approval")
    assert (waiting["call"], waiting["decision"], waiting["args"]["sesoi"]) == ("register", None, 0.1)
    (error,) = of(events, "error")
    assert "waits for approval" in error["text"]
    assert f"agentkit resume {events[-1]['session']}" in error["text"]
    assert len(of(events, "turn")) == 1
    events, code, _ = chat(
        [], events[-1]["session"][:20], "--approve", "auto", script=[Reply("frozen now")], command="resume"
    )
    assert code == 0
    assert [h["hypothesis"] for h in of(events, "hypothesis")] == ["H1"]
    assert words(events) == "frozen now"


def test_a_policy_file_says_what_may_run_and_never_refuses_freezing(chat, tmp_path):
    (tmp_path / "policy.yaml").write_text("register: auto\nexplore: deny\n")
    script = [Reply("", [LOOK]), Reply("I see")]
    events, code, _ = chat(["go"], "--approve", "policy.yaml", script=script)
    assert code == 0
    assert "not allowed by the approval policy" in json.dumps(chat.server.requests[-1])
    script = [Reply("", [register()]), Reply("I see")]
    events, code, _ = chat(["go"], "--approve", "never", script=script)
    assert not of(events, "hypothesis")
    (tmp_path / "policy.yaml").write_text("registr: auto\n")
    _, code, err = chat([], "--approve", "policy.yaml")
    assert (code, "known keys" in err) == (2, True)
    _, code, err = chat([], "--approve", "aks")
    assert (code, "'ask'" in err) == (2, True)


def test_an_exploration_that_is_declared_to_take_minutes_is_asked_about(chat, tmp_path):
    path = tmp_path / "tiny_plugin.py"
    path.write_text(path.read_text().replace('version="1"', 'version="1", seconds_per_unit=30'))
    events, code, _ = chat(["go"], script=[Reply("", [LOOK])])
    assert code == 4
    assert of(events, "approval")[0]["call"] == "tiny.shift"


def test_the_last_session_goes_on_with_its_own_memory_and_a_named_one_too(chat):
    first, _, _ = chat(["one"], script=[Reply("first")])
    second, code, _ = chat(["two"], "-c", script=[Reply("second")])
    assert code == 0
    assert second[0]["id"] == first[-1]["session"] == second[-1]["session"]
    assert second[0]["turns"] == 1
    assert len(chat.server.requests[0]["messages"]) == 3
    other, _, _ = chat(["new"], script=[Reply("other")])
    assert other[-1]["session"] != first[-1]["session"]
    named, _, _ = chat(["three"], "--session", first[-1]["session"][:22], script=[Reply("third")])
    assert named[0]["turns"] == 2
    _, code, _ = chat([], "--session", "01NOSUCH")
    assert code == 2


def test_slash_commands_answer_from_the_record_and_unknown_ones_get_near_names(chat, tmp_path):
    lines = [
        "go", "/tools shift", "/tools tiny.shift", "/plan", "/budget runs=9", "/approve", "/status", "/why H1", "/why R1",
        "/sql SELECT id, state FROM hypothesis", "/sql", "/export out", "/planner", "/model offline", "/help",
    ]  # fmt: skip
    script = [Reply("", [LOOK]), Reply("", [register()]), Reply("", [BATCH]), Reply("open")]
    events, code, err = chat(lines, "--approve", "auto", script=script)
    assert (code, err) == (0, "")
    said = [e for e in of(events, "text") if "data" in e]
    tools, page, plan, budget, approve, status, why, run, sql, tables, export, planner, changed, help = said
    assert tools["data"] == ["tiny.shift"]
    assert "by: number (default 0.3)" in page["text"]
    assert plan["data"][0]["units_left"] == 100
    assert budget["data"]["caps"] == {"runs": 9}
    assert approve["data"] == {"approve": "auto"}
    assert status["data"]["verdicts"][0]["hypothesis"] == "H1"
    assert "rests on R" in why["text"]
    assert "tiny.shift v1" in why["text"]
    assert "exploratory, never evidence" in run["text"]
    assert sql["data"] == [{"id": 1, "state": "frozen"}]
    assert {"table": "hypothesis"} in tables["data"]
    assert all((tmp_path / path).exists() for path in export["data"])
    assert "**you** go" in (tmp_path / export["data"][0]).read_text()
    assert planner["data"] == {"planner": "anthropic:claude-a"}
    assert changed["data"] == {"planner": "offline"}
    assert "/undo" in help["text"]
    for line, needle in {
        "/statu": "Did you mean '/status'", "/why X9": "(H3)", "/why H7": "no hypothesis 'H7'",
        "/tools shfit": "no tool about", "/budget rnus=3": "'runs'", "/budget runs=many": "no number",
        "/planner antropic:x": "'anthropic'", "/approve alwys": "no such policy", "/fork x": "number",
        "/sql DELETE FROM run": "only one SELECT", "/sql SELECT nonsense FROM run": "no such column",
    }.items():  # fmt: skip
        events, code, _ = chat([line])
        (error,) = of(events, "error")
        assert code == 2, line
        assert needle in error["text"], error


def test_undo_and_fork_change_the_conversation_and_never_the_record(chat):
    script = [Reply("one"), Reply("two"), Reply("else"), Reply("after")]
    events, code, _ = chat(["first", "second", "/undo", "third", "/fork 1", "fourth"], script=script)
    assert code == 0
    sent = [[m["content"] for m in r["messages"] if m["role"] == "user"] for r in chat.server.requests]
    assert [len(x) for x in sent] == [1, 2, 2, 3]
    assert len({e["id"] for e in of(events, "session")}) == 3
    rows, _, _ = chat(["/sql SELECT count(*) AS n FROM session"])
    assert of(rows, "text")[0]["data"] == [{"n": 3}]
    events, code, _ = chat(["/undo"])
    assert "nothing to undo" in of(events, "error")[0]["text"]


def test_fork_and_replay_are_commands_of_their_own(chat, agentkit):
    events, _, _ = chat(["go"], "--approve", "auto", script=STUDY)
    id = events[-1]["session"]
    code, out, err = agentkit("fork", id, "--at", "1", "--store", "lab.db", "--json")
    assert code == 0, err
    forked = json.loads(out)
    assert (forked["parent"], forked["at"]) == (id, 1)
    code, _, err = agentkit("fork", id, "--at", "77", "--store", "lab.db")
    assert (code, "no answered turn 77" in err) == (2, True)
    code, out, err = agentkit("replay", "lab.db", "--session", id)
    assert code == 0, err
    assert "6 turns and 6 calls replayed, equal to the record" in out
    code, _, err = agentkit("replay", "lab.db")
    assert (code, "--session" in err) == (2, True)


def test_the_offline_planner_goes_on_after_a_cancelled_call_when_told_so():
    from langchain_core.messages import AIMessage, HumanMessage, ToolMessage

    from agentkit.agent.offline.model import OfflinePlanner

    tool = {"name": "tiny__shift", "description": "Shift a level.\n\nMetrics: level [0, 1].", "parameters": {
        "type": "object", "properties": {"by": {"type": "number", "default": 0.3}, "units": {"type": "integer"}}}}  # fmt: skip
    model = OfflinePlanner().bind_tools([{"type": "function", "function": tool}])
    asked = [HumanMessage("look at tiny.shift")]
    call = model.invoke(asked)
    assert isinstance(call, AIMessage)
    assert call.tool_calls
    cancelled = ToolMessage(
        "R1 was cancelled by the user", tool_call_id=call.tool_calls[0]["id"], status="error"
    )
    ended = model.invoke([*asked, call, cancelled])
    assert not ended.tool_calls
    assert "continue" in ended.text
    again = model.invoke([*asked, call, cancelled, ended, HumanMessage("continue")])
    assert again.tool_calls[0]["args"] == call.tool_calls[0]["args"]
