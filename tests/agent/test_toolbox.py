"""The one door: calls are checked, recorded, and done once however often they are asked."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from agentkit.agent.calls import CALLS
from agentkit.errors import BudgetError, ParamError, RuleViolation, SpecError, ToolError

EXPLORE = {"tool": "tiny.shift", "units": 4}
CLAIM = {"tool": "tiny.shift", "condition": "up", "metric": "level", "direction": "greater", "sesoi": 0.1}


def test_an_exploration_answers_with_means_errors_and_a_warning_that_it_is_one(toolbox, campaign):
    answer = toolbox.call("1", "explore", EXPLORE)
    level = answer["metrics"]["level"]
    assert dict(zip(level["conditions"], level["mean"], strict=True)) == pytest.approx(
        {"up": 0.3, "down": -0.3, "same": 0.0}
    )
    assert answer["note"] == "exploratory, never evidence"
    assert [r.phase for r in campaign.runs()] == ["explore"]


def test_a_sweep_asked_as_a_family_gets_p_values_over_all_its_conditions_and_nothing_else_changes(toolbox):
    plain = toolbox.call("1", "explore", {**EXPLORE, "units": 8})
    family = toolbox.call("2", "explore", {**EXPLORE, "units": 8, "family_p": True})
    level = family["metrics"]["level"]
    adjusted = dict(zip(level["conditions"], level.pop("family_p"), strict=True))
    assert adjusted["up"] == adjusted["down"] <= 0.02 and adjusted["same"] == 1.0
    assert level == plain["metrics"]["level"]
    assert family["note"].startswith("exploratory, never evidence; family_p is adjusted over all conditions")


def test_p_values_of_a_family_that_could_never_be_small_are_refused_with_the_number(toolbox, campaign):
    with pytest.raises(
        ParamError, match="family_p over 5 units cannot fall below 0.0625; explore at least 6 units"
    ):
        toolbox.call("1", "explore", {**EXPLORE, "units": 5, "family_p": True})
    assert campaign.runs() == []


def test_a_call_recorded_before_a_field_existed_is_the_same_call(lab, campaign):
    old = {"call_id": "test/1", "name": "explore", "args": {**EXPLORE, "params": {}}, "runs_before": 0}
    campaign.decide("planner", "call_started", old)
    assert lab.toolbox(campaign, session="test").call("1", "explore", EXPLORE)["run"] == "R1"
    with pytest.raises(ParamError, match="other arguments"):
        lab.toolbox(campaign, session="test").call("1", "explore", {**EXPLORE, "units": 8, "family_p": True})


def test_a_tools_own_name_is_short_for_explore(toolbox):
    short = toolbox.call("1", "tiny.shift", {"by": 0.2, "units": 4})
    long = toolbox.call("2", "explore", {"tool": "tiny.shift", "params": {"by": 0.2}, "units": 4})
    assert short["metrics"] == long["metrics"]


def test_the_same_call_is_answered_from_the_record_also_by_another_toolbox(lab, toolbox, campaign):
    registered = toolbox.call("1", "register", CLAIM)
    first = toolbox.call("2", "run_batch", {"hypothesis": registered["hypothesis"], "units": 20})
    runs = len(campaign.runs())
    again = lab.toolbox(campaign, session="test")
    assert again.call("1", "register", CLAIM) == registered
    assert again.call("2", "run_batch", {"hypothesis": registered["hypothesis"], "units": 20}) == first
    assert len(campaign.runs()) == runs


def test_a_call_id_with_other_arguments_is_refused(toolbox):
    toolbox.call("1", "explore", EXPLORE)
    with pytest.raises(ParamError, match="other arguments"):
        toolbox.call("1", "explore", {**EXPLORE, "units": 5})


def test_a_call_that_was_begun_and_not_answered_is_refused_with_other_arguments(
    lab, toolbox, campaign, monkeypatch
):
    with monkeypatch.context() as cut:
        cut.setattr("agentkit.agent.toolbox.explore_answer", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            toolbox.call("1", "explore", EXPLORE)
    again = lab.toolbox(campaign, session="test")
    with pytest.raises(ParamError, match="other arguments"):
        again.call("1", "explore", {**EXPLORE, "units": 5})
    assert again.call("1", "explore", EXPLORE)["run"] == "R1"


def test_a_call_that_was_cut_off_never_takes_over_the_run_of_another_call(
    lab, toolbox, campaign, monkeypatch
):
    toolbox.call("1", "explore", EXPLORE)
    with monkeypatch.context() as cut:  # answered from the ledger, so it begins no run of its own
        cut.setattr("agentkit.agent.toolbox.explore_answer", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            toolbox.call("2", "explore", EXPLORE)
    lab.toolbox(campaign, session="other").call("1", "explore", {**EXPLORE, "params": {"by": 0.1}})
    assert lab.toolbox(campaign, session="test").call("2", "explore", EXPLORE)["run"] == "R1"


def test_a_recorded_call_reads_one_row_of_the_campaign_and_not_all_its_runs(toolbox, campaign, monkeypatch):
    monkeypatch.setattr(type(campaign), "runs", lambda *_: 1 / 0)
    assert toolbox.call("1", "explore", EXPLORE)["run"] == "R1"


def test_a_batch_that_was_cut_off_before_its_answer_is_not_drawn_twice(lab, toolbox, campaign, monkeypatch):
    ref = toolbox.call("1", "register", CLAIM)["hypothesis"]
    with monkeypatch.context() as cut:
        cut.setattr("agentkit.agent.toolbox.status_answer", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            toolbox.call("2", "run_batch", {"hypothesis": ref, "units": 20})
    assert len(campaign.runs("confirm")) == 1
    answer = lab.toolbox(campaign, session="test").call("2", "run_batch", {"hypothesis": ref, "units": 20})
    assert answer["units"] == 20
    assert len(campaign.runs("confirm")) == 1


def test_a_dry_run_freezes_nothing(toolbox, campaign):
    plan = toolbox.call("1", "register", {**CLAIM, "dry_run": True})
    assert plan["expected_units"] > 0
    assert campaign.hypotheses() == []


def test_a_claim_goes_from_registration_to_a_verdict_that_code_computes(toolbox, campaign):
    ref = toolbox.call("1", "register", CLAIM)["hypothesis"]
    status = toolbox.call("2", "run_batch", {"hypothesis": ref, "units": 40})
    assert status["state"] == "decided"
    toolbox.call("3", "stop", {"hypothesis": ref, "reason": "decided"})
    (verdict,) = campaign.verdicts()
    assert (verdict.label, verdict.units) == ("supported", 40)
    assert verdict.estimate == pytest.approx(0.3)
    with pytest.raises(
        RuleViolation, match=r"AK005: hypothesis H1 is closed after 40 units \(decided\); register a new"
    ):
        toolbox.call("4", "run_batch", {"hypothesis": ref, "units": 20})
    with pytest.raises(
        RuleViolation, match=r"AK002: hypothesis H1 is closed after 40 units \(decided\); it cannot be"
    ):
        toolbox.call("5", "stop", {"hypothesis": ref})


def test_a_stop_that_was_cut_off_before_its_answer_is_answered_by_what_it_did(
    lab, toolbox, campaign, monkeypatch
):
    ref = toolbox.call("1", "register", CLAIM)["hypothesis"]
    toolbox.call("2", "run_batch", {"hypothesis": ref, "units": 40})
    with monkeypatch.context() as cut:
        cut.setattr("agentkit.agent.toolbox.status_answer", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            toolbox.call("3", "stop", {"hypothesis": ref, "reason": "decided"})
    again = lab.toolbox(campaign, session="test")
    assert again.call("3", "stop", {"hypothesis": ref, "reason": "decided"})["state"] == "closed"
    with pytest.raises(RuleViolation, match="AK002"):
        again.call("4", "stop", {"hypothesis": ref, "reason": "decided"})


def test_a_claim_registered_again_is_the_one_that_is_there_and_says_how_far_it_is(lab, toolbox, campaign):
    first = toolbox.call("1", "register", CLAIM)
    toolbox.call("2", "run_batch", {"hypothesis": "H1", "units": 40})
    again = toolbox.call("3", "register", CLAIM)
    assert again == {**again, **first, "registered_before": True, "state": "decided", "units": 40}
    assert len(campaign.hypotheses()) == 1
    assert (
        lab.lines[-1]
        == "known    this claim is registered already: H1 is frozen after 40 units; nothing was frozen"
    )


def test_a_registration_that_was_cut_off_before_its_answer_is_no_second_one(
    lab, toolbox, campaign, monkeypatch
):
    with monkeypatch.context() as cut:
        cut.setattr("agentkit.agent.toolbox.formula", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            toolbox.call("1", "register", CLAIM)
    assert "registered_before" not in lab.toolbox(campaign, session="test").call("1", "register", CLAIM)
    assert len(campaign.hypotheses()) == 1


def test_the_verdict_of_an_explored_run_is_refused(toolbox):
    assert toolbox.call("1", "explore", EXPLORE)["run"] == "R1"
    for name, args in (("stop", {}), ("run_batch", {}), ("status", {"what": "hypothesis"})):
        asked = {"id": "R1", **args} if name == "status" else {"hypothesis": "R1", **args}
        with pytest.raises(SpecError, match="R1 is a run, and no run has a verdict: register a hypothesis"):
            toolbox.call(f"2-{name}", name, asked)


@pytest.mark.parametrize(
    ("name", "args", "error", "message"),
    [
        ("explor", {}, ParamError, "no call 'explor'. Did you mean 'explore'"),
        ("explore", {"tool": "tiny.shft"}, ParamError, "no allowed tool 'tiny.shft'"),
        ("explore", {"tool": "tiny.shift", "params": {"bye": 1}}, ParamError, "Did you mean 'by'"),
        ("explore", {"tool": "tiny.shift", "units": 0}, ParamError, "units: Input should be greater than"),
        ("explore", {"tool": "tiny.shift", "seed": 3}, ParamError, "unknown field 'seed'"),
        ("register", {**CLAIM, "alpha": 0.5}, ParamError, "unknown field 'alpha'"),
        ("register", {**CLAIM, "condition": "sideways"}, SpecError, "sideways"),
        ("register", {**CLAIM, "metric": "levl"}, SpecError, "Did you mean 'level'"),
        ("run_batch", {"hypothesis": "H7"}, SpecError, "no hypothesis 'H7'"),
        ("stop", {"hypothesis": "H7"}, SpecError, "no hypothesis 'H7'"),
        ("status", {"what": "hypothesis"}, ParamError, "needs its id"),
        ("explore", {"tool": "tiny.fails", "units": 2}, ToolError, "the moon is full"),
    ],
)
def test_what_cannot_be_done_is_refused_with_the_reason(toolbox, name, args, error, message):
    with pytest.raises(error, match=message):
        toolbox.call("1", name, args)


def test_no_call_lets_a_planner_set_a_seed_a_level_a_weight_a_verdict_or_sql():
    forbidden = {"seed", "alpha", "weight", "verdict", "sql", "level", "label", "root_seed"}
    for name, model in CALLS.items():
        assert not forbidden & set(model.model_fields), name


def test_a_cap_on_runs_is_checked_before_the_run_starts(lab, campaign):
    from agentkit.study import parse_study

    study = parse_study("goal: x\nbudget: {runs: 1}", "s").study
    capped = lab.toolbox(campaign, session="capped", study=study)
    capped.call("1", "explore", EXPLORE)
    with pytest.raises(BudgetError, match="1 of 1 runs"):
        capped.call("2", "explore", {**EXPLORE, "params": {"by": 0.1}})
    assert len(campaign.runs()) == 1


def test_calls_from_parallel_threads_are_taken_one_at_a_time(toolbox, campaign):
    asks = [{"tool": "tiny.shift", "params": {"by": by / 100}, "units": 2} for by in range(10, 22)]
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda i: toolbox.call(str(i), "explore", asks[i]), range(len(asks))))
    assert sorted(a["run"] for a in answers) == sorted(r.ref for r in campaign.runs())
    campaign.ledger.verify()


def test_an_answer_names_the_controls_that_the_tool_declares(lab, campaign):
    answer = lab.toolbox(campaign).call("c1", "explore", {"tool": "tiny.shift", "params": {}, "units": 2})
    assert answer["metrics"]["level"]["controls"] == ["same"]
