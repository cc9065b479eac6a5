"""A model that pays by the token is shown the tools that the user's words are about, the same ones for a whole goal."""

from __future__ import annotations

import json

from langchain_core.messages import ToolMessage

from agentkit.agent.calls import CALLS
from agentkit.agent.offline.model import OfflinePlanner
from agentkit.agent.shortlist import MOST_TOOLS
from agentkit.testing.replay import replay
from agentkit.testing.replies import Call, Reply, Usage
from tests.agent.claude import talk

LOOK = Call("tiny__shift", {"by": 0.1, "units": 2})


def shown(request):
    return [t["name"] for t in request["tools"] if t["name"] not in CALLS]


def test_at_most_so_many_tools_are_shown_always_the_same_for_one_goal_and_every_call(lab, campaign):
    script = [
        Reply("", [LOOK], Usage(9, 9)),
        Reply("", [Call("status")], Usage(9, 9)),
        Reply("done", usage=Usage(9, 9)),
    ]
    with talk(lab, campaign, script) as (session, server):
        session.send("misspell the queries of a text encoder, then shift the level")
    assert len(lab.plugins.tools) > MOST_TOOLS
    first, *rest = [shown(r) for r in server.requests]
    assert len(first) == MOST_TOOLS and {"noise__text", "tiny__shift"} <= set(first)
    assert first == sorted(first) and rest == [first, first]
    assert set(CALLS) <= {t["name"] for t in server.requests[0]["tools"]}
    assert replay(session.record).turns == 3


def test_what_was_used_stays_when_the_user_turns_to_something_else(lab, campaign):
    topics = [
        "shift the level",
        *["knock out genes of a network", "quantise weights to fewer bits per layer"] * 6,
    ]
    script = [Reply("", [LOOK], Usage(9, 9)), *[Reply("yes", usage=Usage(9, 9))] * len(topics)]
    with talk(lab, campaign, script) as (session, server):
        for topic in topics:
            session.send(topic)
    seen = [shown(r) for r in server.requests]
    assert all("tiny__shift" in s and len(s) == MOST_TOOLS for s in seen)
    assert "gene__screen" in seen[2] and "weight__bits" in seen[-1]


def test_a_session_that_is_taken_up_elsewhere_shows_the_same_tools(lab, campaign):
    with talk(lab, campaign, [Reply("yes", usage=Usage(9, 9))]) as (session, server):
        session.send("knock out genes of a network")
        before = shown(server.requests[0])
    with talk(lab, campaign, [Reply("yes", usage=Usage(9, 9))]) as (session, server):
        session.send("go on")
        assert shown(server.requests[0]) == before


def test_a_tool_that_is_not_shown_is_found_in_the_status_and_runs(lab, campaign):
    script = [
        Reply("", [Call("status", {"what": "tools", "id": "shift a level"})], Usage(9, 9)),
        Reply("", [Call("status", {"what": "tools", "id": "tiny.shift"})], Usage(9, 9)),
        Reply("", [Call("explore", {"tool": "tiny.shift", "params": {"by": 0.1}, "units": 2})], Usage(9, 9)),
        Reply("done", usage=Usage(9, 9)),
    ]
    with talk(lab, campaign, script) as (session, server):
        session.send("knock out genes of a network")
        assert "tiny__shift" not in shown(server.requests[0])
    found, one, run = (json.loads(m.content) for m in session.messages() if isinstance(m, ToolMessage))
    assert "tiny.shift" in found["tools"] and len(found["tools"]) <= 8
    assert (
        one["tool"] == "tiny.shift" and "by" in one["params"]["properties"] and "level" in one["description"]
    )
    assert run["run"] == "R1"


def test_a_planner_that_costs_nothing_by_the_token_is_shown_all(lab, campaign, monkeypatch):
    bound = []
    own = OfflinePlanner.bind_tools

    def bind_tools(self, tools, **kwargs):
        bound.append(len(tools))
        return own(self, tools, **kwargs)

    monkeypatch.setattr(OfflinePlanner, "bind_tools", bind_tools)
    lab.session(campaign).send("which tools do you have?")
    assert bound and set(bound) == {len(lab.plugins.tools) + len(CALLS)}
