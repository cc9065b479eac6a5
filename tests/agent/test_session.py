"""A Claude-style session through the real client and SDK: everything that goes wrong is bounded, paid for and recorded."""

from __future__ import annotations

import json
import threading

import pytest
from langchain_core.messages import AIMessage, ToolMessage

from agentkit.agent.approvals import Approval
from agentkit.errors import ApprovalError, BudgetError, ConfigError, LoopError, PlannerError
from agentkit.study import ApprovalSection, parse_study
from agentkit.testing.replay import ReplayError, replay
from agentkit.testing.replies import Call, Fault, Reply, Usage
from tests.agent.claude import PRICES, talk

CLAIM = {
    "tool": "tiny.shift", "condition": "up", "metric": "level", "direction": "greater", "sesoi": 0.1, "max_units": 300,
}  # fmt: skip
ASK = ApprovalSection(register="ask")


def shift(by, units=4, id=""):
    return Call("tiny__shift", {"by": by, "units": units}, id)


def tool_messages(session):
    return [m for m in session.messages() if isinstance(m, ToolMessage)]


def study(text):
    return parse_study(f"goal: x\n{text}", "s").study


def test_a_whole_session_streams_runs_in_parallel_is_edited_repaired_retried_and_falls_back(lab, campaign):
    usage = [
        Usage(50, 20, 0, 400),
        Usage(60, 15, 400, 30),
        Usage(70, 10, 430),
        Usage(80, 9),
        Usage(90, 8),
        Usage(5, 4),
    ]
    script = [
        Fault(429, retry_after_s=0.01),
        Reply("Two looks.", [shift(0.1), shift(0.2)], usage[0]),
        Reply("", [Call("tiny__shift", {"bye": 0.1})], usage[1]),  # a bad argument
        Fault(529, retry_after_s=0.01),
        Reply("", [Call("register", CLAIM)], usage[2]),  # edited by the user
        Reply(
            "words " * 40, usage=Usage(1, 1), cut=True
        ),  # the stream breaks, and the question is sent again
        Reply("", [Call("run_batch", {"hypothesis": "H1", "units": 20})], usage[3]),
        Reply("", [Call("stop", {"hypothesis": "H1"}), Call("report")], usage[4]),
        Fault(500, retry_after_s=0.01),
        Fault(500, retry_after_s=0.01),  # the first model is gone: the second one ends it
        Reply("V1: inconclusive.", usage=usage[5], model="claude-b"),
    ]
    asked, heard = [], []

    def approve(request):
        asked.append(request)
        return Approval("edit", {**CLAIM, "max_units": 200}, by="ada")

    options = {"policy": ASK, "approve": approve, "on_text": heard.append, "fallback": "claude-b"}
    with talk(lab, campaign, script, **options) as (session, server):
        assert session.send("does up raise the level?") == "V1: inconclusive."
        assert len(server.requests) == len(script)
        sent = [m["usage"] for m in server.messages]

    assert "".join(heard).startswith("Two looks.")
    assert len(heard) > 3, "words arrive as they come"
    assert [r.tool for r in asked] == ["register"]
    (call,) = [c for c in session.record.calls().values() if c.tool == "register"]
    assert (call.decision, call.decided_by, call.args["max_units"], call.edited["max_units"]) == (
        "edited",
        "ada",
        300,
        200,
    )
    assert campaign.hypotheses()[0].spec.max_units == 200
    first, second, bad, registered, *_ = tool_messages(session)
    assert [m.status for m in (first, second, bad)] == ["success", "success", "error"]
    assert "Did you mean 'by'" in bad.content
    assert json.loads(registered.content)["edited_by_user"]["max_units"] == 200

    turns = session.record.turns()
    answered = [t for t in turns if t.tip]
    assert [t.error.split(":")[0] for t in turns if not t.tip] == [
        "RemoteProtocolError",
        "AnthropicAPIError",
    ]
    assert [t.resolved_model for t in answered] == ["claude-a"] * 5 + ["claude-b"]
    for turn, counted in zip(answered, sent, strict=True):
        whole = (
            counted["input_tokens"]
            + counted["cache_read_input_tokens"]
            + counted["cache_creation_input_tokens"]
        )
        assert (turn.input, turn.output) == (whole, counted["output_tokens"])
        price = PRICES.of(turn.model)
        assert turn.usd == pytest.approx(
            (
                counted["input_tokens"] * price.input
                + counted["cache_read_input_tokens"] * price.cache_read
                + counted["cache_creation_input_tokens"] * price.cache_write
                + counted["output_tokens"] * price.output
            )
            / 1e6,
            rel=1e-12,
        )
    assert session.record.spent()["usd"] == pytest.approx(sum(t.usd for t in answered))
    assert session.record.spent()["tokens"] == sum(t.input + t.output for t in answered)
    assert session.record.spent()["runs"] == len(campaign.runs())
    body = server.requests[-1]
    assert body["system"][-1]["cache_control"], "the static text is cached"
    assert body["tools"][-1]["cache_control"]

    replayed = replay(session.record)
    assert (replayed.turns, replayed.calls, replayed.text) == (6, 7, "V1: inconclusive.")


def test_one_changed_byte_in_a_recorded_answer_stops_the_replay_and_names_turn_and_place(lab, campaign):
    script = [Reply("", [shift(0.1)]), Reply("", [shift(0.2)]), Reply("done")]
    with talk(lab, campaign, script) as (session, _):
        session.send("look")
    assert replay(session.record).turns == 3
    real = campaign.decisions

    def edited(kind):
        found = real(kind)
        found[-1]["answer"]["units"] = 5
        return found

    campaign.decisions = edited
    with pytest.raises(
        ReplayError, match=r"turn 3: messages\[4\]\.content differs at character \d+: recorded .*now"
    ) as error:
        replay(session.record)
    assert error.value.exit_code == 5


def test_an_offline_session_replays_through_the_same_server(lab, campaign):
    steps = [{"tool": "tiny.shift", "params": {"by": 0.3}, "units": 12, "metric": "level", "sesoi": 0.1}]
    text = lab.ask("look", campaign=campaign, steps=steps).text
    assert "supported" in text
    from agentkit.ledger.sessions import find_session, list_sessions

    (row,) = list_sessions(lab.ledger.store)
    replayed = replay(find_session(campaign, row["id"]))
    assert replayed.text == text
    assert replayed.turns == row["turns"] > 5


# ---- approvals


def test_a_question_asked_again_is_answered_by_the_claim_that_is_there(lab, campaign):
    first = lab.ask("does tiny.shift by 0.3 lower the level?", campaign=campaign)
    runs = len(campaign.runs())
    again = lab.ask("tell me: does tiny.shift by 0.3 lower the level?", campaign=campaign)
    assert first.text.splitlines()[0] == again.text.splitlines()[0]
    assert first.verdicts == again.verdicts != ()
    assert (len(campaign.runs()), len(campaign.hypotheses())) == (runs, 1)
    assert any(
        line.startswith("known    this claim is registered already: H1 is closed") for line in lab.lines
    )


def test_without_anybody_to_ask_the_session_waits_and_another_process_approves_it_once(lab, campaign):
    with talk(lab, campaign, [Reply("", [Call("register", CLAIM), shift(0.1)])], policy=ASK) as (session, _):
        with pytest.raises(ApprovalError, match="waits for approval") as error:
            session.send("go")
        assert error.value.exit_code == 4
    assert campaign.hypotheses() == []
    assert campaign.runs() == [], "no call of a turn runs before all of them are decided"
    asked = []

    def approve(request):
        asked.append(request)
        return Approval("approve")

    with talk(lab, campaign, [Reply("done")], policy=ASK, approve=approve) as (again, server):
        assert again.resume() == "done"
        assert again.resume() == "done", "a finished session repeats its last words and asks nobody"
    assert len(server.requests) == 1
    assert len(asked) == 1
    assert len(campaign.hypotheses()) == 1
    assert [c.decision for c in again.record.calls().values()] == ["approved", "auto"]


def test_a_rejected_call_does_not_run_and_the_planner_is_told_why(lab, campaign):
    script = [Reply("", [Call("register", CLAIM)]), Reply("understood")]
    reject = {"policy": ASK, "approve": lambda request: Approval("reject", reason="too early", by="ada")}
    with talk(lab, campaign, script, **reject) as (session, _):
        assert session.send("go") == "understood"
    assert campaign.hypotheses() == []
    assert "too early" in tool_messages(session)[0].content
    (call,) = session.record.calls().values()
    assert (call.decision, call.decided_by, call.reason, call.status) == (
        "rejected",
        "ada",
        "too early",
        "cancelled",
    )


def test_changing_one_digit_of_an_argument_asks_again(lab, campaign):
    calls = [Call("register", CLAIM), Call("register", {**CLAIM, "max_units": 301})]
    script = [Reply("", calls[:1]), Reply("", calls[1:]), Reply("done")]
    seen = []

    def approve(request):
        seen.append(request.sha256)
        return Approval("approve")

    with talk(lab, campaign, script, policy=ASK, approve=approve) as (session, _):
        session.send("go")
    assert len(set(seen)) == 2


def test_an_approval_is_void_when_the_tool_has_changed_before_it_ran(lab, campaign, monkeypatch):
    policy = ApprovalSection(explore="ask")
    with talk(lab, campaign, [Reply("", [shift(0.1, id="c1")])], policy=policy) as (session, _):
        with pytest.raises(ApprovalError):
            session.send("go")
        session.record.begin_call(
            "c1", "tiny.shift", {"by": 0.1, "units": 4}, "of another version", decision="approved"
        )
    with talk(lab, campaign, [Reply("I see")], policy=policy) as (again, _):
        assert again.resume() == "I see"
    assert "has changed" in tool_messages(again)[0].content
    assert campaign.runs() == []


def test_calls_over_a_size_are_asked_about_and_denied_ones_are_refused(lab, campaign):
    script = [Reply("", [shift(0.1, units=4), shift(0.1, units=40), Call("register", CLAIM)]), Reply("done")]
    asked = []

    def approve(request):
        asked.append(request.args["units"])
        return Approval("approve")

    policy = ApprovalSection(units_over=10, register="deny")
    with talk(lab, campaign, script, policy=policy, approve=approve) as (session, _):
        session.send("go")
    assert asked == [40]
    assert campaign.hypotheses() == []
    assert "not allowed by the approval policy" in tool_messages(session)[2].content


# ---- loops, silence, failures


def test_a_call_repeated_with_the_same_answer_is_reminded_of_once_and_then_ends_the_session(lab, campaign):
    status = [Reply("", [Call("status", {})]) for _ in range(9)]
    with talk(lab, campaign, status) as (session, server), pytest.raises(LoopError, match="reminded once"):
        session.send("go")
    assert len(server.requests) == 4
    assert tool_messages(session)[-1].content.startswith("not run: this very call")
    assert LoopError("").exit_code == 1


def test_the_same_call_with_new_answers_is_no_loop(lab, campaign):
    batches = [Reply("", [Call("run_batch", {"hypothesis": "H1", "units": 5})]) for _ in range(6)]
    script = [Reply("", [Call("register", {**CLAIM, "max_units": 200})]), *batches, Reply("done")]
    with talk(lab, campaign, script) as (session, _):
        assert session.send("go") == "done"


@pytest.mark.parametrize(("stop", "word"), [("end_turn", "empty"), ("max_tokens", "cut")])
def test_an_empty_or_cut_answer_is_reminded_of_once(lab, campaign, stop, word):
    bad = Reply("" if word == "empty" else "half of", stop_reason=stop)
    with talk(lab, campaign, [bad, Reply("fine")]) as (session, server):
        assert session.send("go") == "fine"
        assert "last answer was" in json.dumps(server.requests[1]["messages"][-1])
    assert replay(session.record).turns == 2
    with (
        talk(lab, campaign, [bad, bad], id="01OTHER") as (session, _),
        pytest.raises(LoopError, match=f"{word} twice"),
    ):
        session.send("go")
    assert len(session.record.turns()) == 2


def test_a_provider_that_fails_for_good_is_one_line_and_the_session_stays_usable(lab, campaign):
    script = [Fault(401, message="invalid x-api-key"), Reply("back again")]
    with talk(lab, campaign, script) as (session, _):
        with pytest.raises(PlannerError, match="HTTP 401") as error:
            session.send("go")
        assert "\n" not in str(error.value)
        assert session.send("again") == "back again"
    assert [t.error.split(":")[0] for t in session.record.turns()] == ["AnthropicAuthenticationError", ""]


def test_a_refusal_is_an_answer(lab, campaign):
    with talk(lab, campaign, [Reply("I will not.", stop_reason="refusal")]) as (session, _):
        assert session.send("go") == "I will not."
    assert session.record.turns()[0].stop_reason == "refusal"


def test_an_exception_inside_a_tool_is_told_to_the_planner_and_the_loop_goes_on(lab, campaign, monkeypatch):
    monkeypatch.setattr("agentkit.agent.toolbox.explore_answer", lambda *_, **__: {}["gone"])
    with talk(lab, campaign, [Reply("", [shift(0.1)]), Reply("I see")]) as (session, _):
        assert session.send("go") == "I see"
    (message,) = tool_messages(session)
    assert (message.status, message.content) == ("error", "KeyError: 'gone'")


def test_an_unknown_tool_name_comes_back_as_a_message(lab, campaign):
    with talk(lab, campaign, [Reply("", [Call("rm_rf", {"path": "/"})]), Reply("I see")]) as (session, _):
        assert session.send("go") == "I see"
    assert "rm_rf" in tool_messages(session)[0].content


# ---- money


def test_a_token_cap_stops_before_the_call_that_could_pass_it(lab, campaign):
    script = [Reply("", [shift(i / 10)], Usage(700, 100)) for i in range(1, 9)]
    with (
        talk(lab, campaign, script, study=study("budget: {tokens: 3000}")) as (session, server),
        pytest.raises(BudgetError, match="tokens are spent") as error,
    ):
        session.send("go")
    assert error.value.exit_code == 3
    assert 2 <= len(server.requests) < 8
    assert session.record.spent()["tokens"] <= 3000
    with (
        talk(lab, campaign, script, study=study("budget: {tokens: 3000}")) as (again, server),
        pytest.raises(BudgetError, match="tokens are spent"),
    ):
        again.resume()
    assert server.requests == [], "what an earlier process spent counts"


def test_a_usd_cap_needs_a_known_price_and_holds(lab, campaign):
    capped = study("budget: {usd: 0.05}")
    with (
        pytest.raises(ConfigError, match="what claude-new costs is not known"),
        talk(lab, campaign, [], study=capped, model="claude-new"),
    ):
        pass
    script = [Reply("", [shift(i / 10)], Usage(1000, 500)) for i in range(1, 9)]
    with (
        talk(lab, campaign, script, study=capped) as (session, server),
        pytest.raises(BudgetError, match="usd"),
    ):
        session.send("go")
    assert len(server.requests) == 3, "0.0105 a turn, and 0.0195 at most for the next"
    assert session.record.spent()["usd"] == pytest.approx(3 * 0.0105)


def test_a_model_that_counts_no_tokens_closes_the_usd_gate(lab, campaign):
    script = [Reply("", [shift(0.1)], Usage(0, 0)), Reply("never sent")]
    with (
        talk(lab, campaign, script, study=study("budget: {usd: 5}")) as (session, server),
        pytest.raises(BudgetError, match="reports no input tokens"),
    ):
        session.send("go")
    assert len(server.requests) == 1


# ---- going on


def test_calls_left_open_by_a_stop_are_answered_before_the_user_speaks_again(lab, campaign):
    script = [Reply("", [shift(0.1, id="c1"), shift(0.2, id="c2")])]
    with (
        talk(lab, campaign, script, study=study("budget: {runs: 1}")) as (session, _),
        pytest.raises(BudgetError),
    ):
        session.send("go")
    with talk(lab, campaign, [Reply("I see")]) as (again, server):
        assert again.send("what now?") == "I see"
        results = [b for b in server.requests[0]["messages"][-1]["content"] if b["type"] == "tool_result"]
    assert [r["tool_use_id"] for r in results] == ["c1", "c2"]
    assert sum(bool(r["is_error"]) for r in results) == 1
    assert "cancelled" in json.dumps(results)


def test_a_fork_keeps_the_past_and_adds_one_row(lab, campaign):
    script = [Reply("one"), Reply("two")]
    with talk(lab, campaign, script) as (session, _):
        session.send("first")
        session.send("second")
        fork = session.fork("01FORK", turn=1)
    assert fork.parent == session.id
    with talk(lab, campaign, [Reply("other")], id="01FORK") as (forked, server):
        assert [m.text for m in forked.messages()] == ["first", "one"]
        assert forked.send("else?") == "other"
        assert len(server.requests[0]["messages"]) == 3
    assert [m.text for m in session.messages()] == ["first", "one", "second", "two"]
    with pytest.raises(ConfigError, match="no answered turn 9"):
        session.fork(turn=9)


def test_going_on_with_another_prompt_lists_the_difference(lab, campaign):
    with talk(lab, campaign, [Reply("one")]) as (session, _):
        session.send("first")
    with (
        pytest.raises(ConfigError, match="prompt none then, plan@v9 now"),
        talk(lab, campaign, [], prompt=("plan@v9", "ff")),
    ):
        pass
    with talk(lab, campaign, [Reply("two")], prompt=("plan@v9", "ff"), accept_changes=True) as (session, _):
        assert session.send("second") == "two"


def test_parallel_calls_of_one_turn_run_off_the_main_thread_and_are_all_recorded(lab, campaign, monkeypatch):
    threads = set()
    from agentkit.agent import toolbox as module

    real = module.explore_answer
    monkeypatch.setattr(
        module,
        "explore_answer",
        lambda *a, **k: (threads.add(threading.current_thread().name), real(*a, **k))[1],
    )
    with talk(lab, campaign, [Reply("", [shift(i / 20) for i in range(1, 9)]), Reply("done")]) as (
        session,
        _,
    ):
        session.send("go")
    assert threading.main_thread().name not in threads
    assert [c.status for c in session.record.calls().values()] == ["ok"] * 8
    assert {c.run for c in session.record.calls().values()} == {f"R{i}" for i in range(1, 9)}
    assert len([m for m in session.messages() if isinstance(m, AIMessage)]) == 2
