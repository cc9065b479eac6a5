"""The LangChain graph: refusals come back as messages, budgets end it, every call goes through the toolbox."""

from __future__ import annotations

import json

import pytest
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, ToolMessage

from agentkit.agent.graph import langchain_tools
from agentkit.agent.names import check_wire_names, from_wire, to_wire
from agentkit.agent.session import PlannerSession
from agentkit.errors import BudgetError, PlannerError


def run_goal(model, toolbox, goal: str, system_prompt: str) -> str:
    return PlannerSession(model, toolbox, system_prompt).send(goal)


class Scripted(GenericFakeChatModel):
    """Says what it was told to say, and keeps what it was shown."""

    def bind_tools(self, tools, **kwargs):
        return self

    def _generate(self, messages, *rest, **kwargs):
        SHOWN[:] = messages
        return super()._generate(messages, *rest, **kwargs)


SHOWN: list = []


def script(*turns) -> Scripted:
    messages = []
    for i, turn in enumerate(turns):
        calls = [
            {"name": to_wire(name), "args": args, "id": f"call{i}.{j}"} for j, (name, args) in enumerate(turn)
        ] if isinstance(turn, list) else []  # fmt: skip
        messages.append(AIMessage("" if calls else turn, tool_calls=calls))
    return Scripted(messages=iter(messages))


def test_calls_run_and_answers_come_back_as_json(toolbox, campaign):
    model = script([("tiny.shift", {"by": 0.2, "units": 4})], "done")
    assert run_goal(model, toolbox, "go", "system") == "done"
    (answer,) = [m for m in SHOWN if isinstance(m, ToolMessage)]
    assert json.loads(answer.content)["run"] == "R1"
    assert len(campaign.runs()) == 1


def test_a_bad_argument_comes_back_as_an_error_message_and_the_loop_goes_on(toolbox):
    model = script(
        [("tiny.shift", {"bye": 0.2})], [("explore", {"tool": "tiny.shft"})], [("tiny.shift", {})], "mended"
    )
    assert run_goal(model, toolbox, "go", "system") == "mended"
    first, second, third = [m for m in SHOWN if isinstance(m, ToolMessage)]
    assert (first.status, second.status, third.status) == ("error", "error", "success")
    assert "Did you mean 'by'" in first.content
    assert toolbox.refusals[1].startswith("no allowed tool 'tiny.shft'")


def test_parallel_calls_of_one_turn_are_all_answered(toolbox, campaign):
    model = script([("tiny.shift", {"by": b / 10}) for b in range(1, 5)], "done")
    run_goal(model, toolbox, "go", "system")
    assert len([m for m in SHOWN if isinstance(m, ToolMessage)]) == 4
    assert len(campaign.runs()) == 4


def test_a_spent_budget_ends_the_session(lab, campaign):
    from agentkit.study import parse_study

    study = parse_study("goal: x\nbudget: {runs: 1}", "s").study
    toolbox = lab.toolbox(campaign, session="capped", study=study)
    model = script([("tiny.shift", {"by": 0.1})], [("tiny.shift", {"by": 0.2})], "never said")
    with pytest.raises(BudgetError, match="1 of 1 runs"):
        run_goal(model, toolbox, "go", "system")


def test_a_planner_sees_docstring_metrics_and_ranges_of_every_tool(toolbox):
    tools = {t.name: t for t in langchain_tools(toolbox)}
    assert "tiny__shift" in tools
    assert "Metrics: level [0, 1]." in tools["tiny__shift"].description
    assert set(tools["tiny__shift"].args_schema["properties"]) == {"by", "units"}


def test_names_travel_and_come_back_and_collisions_are_refused():
    assert from_wire(to_wire("noise.text")) == "noise.text"
    for bad in (["a.b", "a__b"], ["x" * 70], ["a__b"]):
        with pytest.raises(PlannerError):
            check_wire_names(bad)
