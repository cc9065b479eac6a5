"""Caps of a session, of one tool and of the whole campaign hold over processes; a spent cap is nobody else's to mend."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from agentkit.agent.budget import CAMPAIGN, Account
from agentkit.errors import ApprovalError, BudgetError, ConfigError, ToolError
from agentkit.study import Budget, parse_study
from agentkit.testing.replies import Call, Fault, Reply, Usage
from tests.agent.claude import talk


def study(text):
    return parse_study(f"goal: x\n{text}", "s").study


def explore(toolbox, id, by, tool="tiny.shift", units=2):
    return toolbox.call(id, "explore", {"tool": tool, "params": {"by": by}, "units": units})


def test_a_cap_of_the_campaign_counts_what_its_other_sessions_spent(lab, campaign):
    capped = study("budget: {campaign: {runs: 2}}")
    explore(lab.toolbox(campaign, session="one", study=capped), "1", 0.1)
    explore(lab.toolbox(campaign, session="two", study=capped), "1", 0.2)
    with pytest.raises(BudgetError, match=r"2 of 2 runs are spent; raise budget\.campaign\.runs"):
        explore(lab.toolbox(campaign, session="three", study=capped), "1", 0.3)
    elsewhere = lab.campaign("another", max_hypotheses=10, seed=2)
    assert explore(lab.toolbox(elsewhere, session="one", study=capped), "1", 0.3)["run"] == "R3"


def test_what_models_cost_in_other_sessions_counts_for_the_campaign(lab, campaign):
    capped = study("budget: {campaign: {usd: 0.02}}")
    for id in ("first", "second"):  # 0.0105 each
        try:
            with talk(lab, campaign, [Reply("done", usage=Usage(1000, 500))], study=capped, id=id) as (
                session,
                server,
            ):
                session.send("go")
        except BudgetError as error:
            said = str(error)
    assert "usd are spent" in said
    assert "budget.campaign.usd" in said
    assert server.requests == []


def test_a_cap_on_one_tool_holds_after_a_restart_and_leaves_other_tools_alone(lab, campaign):
    capped = study("budget: {per_tool: {tiny.shift: {runs: 1}}}")
    explore(lab.toolbox(campaign, session="s", study=capped), "1", 0.1)
    again = lab.toolbox(campaign, session="s", study=capped)
    with pytest.raises(BudgetError, match=r"raise budget\.per_tool\.tiny\.shift\.runs"):
        explore(again, "2", 0.2)
    with pytest.raises(ToolError, match="the moon is full"):
        explore(again, "3", 0.2, tool="tiny.fails")


def test_a_session_that_goes_on_in_another_process_counts_what_it_had_spent_failures_too(lab, campaign):
    capped = study("budget: {runs: 2}")
    first = lab.toolbox(campaign, session="s", study=capped)
    with pytest.raises(ToolError):
        explore(first, "1", 0.2, tool="tiny.fails")
    explore(first, "2", 0.1)
    again = lab.toolbox(campaign, session="s", study=capped)
    assert again.account.spent("runs") == 2
    assert again.account.spent("seconds") == pytest.approx(first.account.spent("seconds"))
    with pytest.raises(BudgetError, match="2 of 2 runs"):
        explore(again, "3", 0.3)


def test_spending_that_two_records_tell_of_counts_once():
    account = Account(Budget(runs=5), campaign=Budget(seconds=9))
    account.carry({"runs": 2})
    account.carry({"runs": 3, "seconds": 1.0})
    account.carry({"seconds": 4.0}, CAMPAIGN)
    assert (account.spent("runs"), account.spent("seconds", CAMPAIGN)) == (3, 4.0)


@pytest.mark.parametrize("currency", ["usd", "tokens", "runs", "seconds", "gpu_seconds"])
@pytest.mark.parametrize("scope", ["session", "tool", "campaign"])
def test_eight_threads_never_pass_a_cap_in_any_currency_and_scope(currency, scope):
    cap = Budget(**{currency: 20})
    account = Account(
        cap if scope == "session" else None,
        per_tool={"t": cap} if scope == "tool" else None,
        campaign=cap if scope == "campaign" else None,
    )

    def step(_):
        try:
            reservation = account.reserve("t", **{currency: 3})
        except BudgetError:
            return 0
        reservation.settle("", **{currency: 3})
        return 1

    with ThreadPoolExecutor(8) as pool:
        done = sum(pool.map(step, range(100)))
    assert done == 6
    assert account.spent(currency) == 18


def test_a_spent_budget_or_a_loop_is_never_taken_to_the_fallback_model(lab, campaign):
    script = [Reply("", [Call("tiny__shift", {"by": i / 10})], Usage(1000, 500)) for i in range(1, 9)]
    with (
        talk(lab, campaign, script, study=study("budget: {usd: 0.03}"), fallback="claude-b") as (
            session,
            server,
        ),
        pytest.raises(BudgetError),
    ):
        session.send("go")
    assert {r["model"] for r in server.requests} == {"claude-a"}


def test_a_provider_that_fails_for_good_is_what_the_fallback_is_for(lab, campaign):
    script = [Fault(401, message="no"), Reply("the other one", usage=Usage(10, 10))]
    with talk(lab, campaign, script, fallback="claude-b") as (session, server):
        assert session.send("go") == "the other one"
    assert [r["model"] for r in server.requests] == ["claude-a", "claude-b"]


def test_calls_are_asked_about_once_the_models_have_cost_more_than_was_said(lab, campaign):
    script = [
        Reply("", [Call("tiny__shift", {"by": 0.1, "units": 2})], Usage(1000, 500)),
        Reply("", [Call("tiny__shift", {"by": 0.2, "units": 2})], Usage(1000, 500)),
    ]
    with (
        talk(lab, campaign, script, study=study("approve: {usd_over: 0.015}"),
             policy=study("approve: {usd_over: 0.015}").approve) as (session, _),
        pytest.raises(ApprovalError, match="waits for approval"),
    ):  # fmt: skip
        session.send("go")
    assert [r.params["by"] for r in campaign.runs()] == [0.1]


def test_a_wrong_cap_is_named_with_its_line():
    with pytest.raises(ConfigError, match=r"s:3: budget\.campaign\.runs"):
        study("budget:\n  campaign: {runs: -1}")
