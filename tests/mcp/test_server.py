"""The MCP door through the official client: every tool, bad arguments, the ledger to read, and nothing beyond a planner."""

from __future__ import annotations

import json
import sys
from contextlib import asynccontextmanager

import anyio
import pytest
from mcp import Client, MCPError, StdioServerParameters

from agentkit.agent.calls import CALLS
from agentkit.agent.names import to_wire
from agentkit.mcp.server import build
from agentkit.plugins import installed_plugins
from agentkit.study import parse_study
from tests.agent.conftest import PLUGIN
from tests.agent.hostile import OBEYED
from tests.mcp.quick import SLOW, quick_params

CLAIM = {"tool": "tiny.shift", "condition": "up", "metric": "level", "direction": "greater", "sesoi": 0.1}
QUICK = quick_params()
TOOLS = sorted(installed_plugins().tools)


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    (tmp_path / "tiny_plugin.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    sys.modules.pop("tiny_plugin", None)


@asynccontextmanager
async def client_of(folder, *, allow_register=True, study=None, modules=("tiny_plugin",)):
    """`client, campaign` of a server in this process."""
    from agentkit.laboratory import Lab

    with Lab(folder / "lab.db", workers="inline", modules=modules) as lab:
        campaign = lab.campaign("tiny", max_hypotheses=10, seed=1)
        toolbox = lab.toolbox(campaign, session="mcp", study=study)
        async with Client(build(toolbox, allow_register=allow_register)) as client:
            yield client, campaign


def stdio(folder, *arguments):
    return StdioServerParameters(
        command=sys.executable,
        args=[
            "-m",
            "agentkit.cli.main",
            "mcp",
            "serve",
            "--workers",
            "inline",
            "--module",
            "tiny_plugin",
            *arguments,
        ],
        env={"PYTHONPATH": str(folder)},
        cwd=folder,
    )


async def ask(client, name, args=None):
    """The structured answer of a call that must succeed."""
    result = await client.call_tool(name, args or {})
    assert not result.is_error, result.content[0].text
    assert json.loads(result.content[0].text) == result.structured_content
    return result.structured_content


async def refusal(client, name, args=None):
    """The words of a call that must be refused."""
    result = await client.call_tool(name, args or {})
    assert result.is_error, result
    return result.content[0].text


def test_a_claim_goes_from_exploration_to_a_verdict_over_stdio_and_stdout_carries_the_protocol_alone(tiny):
    async def story():
        async with Client(
            stdio(tiny, "--store", "lab.db", "--campaign", "tiny", "--allow-register")
        ) as client:
            listed = {t.name for t in (await client.list_tools()).tools}
            assert {*CALLS, *map(to_wire, TOOLS), "tiny__shift"} <= listed
            explored = await ask(client, "tiny__shift", {"by": 0.2, "units": 4})
            assert explored["note"] == "exploratory, never evidence"
            plan = await ask(client, "register", {**CLAIM, "dry_run": True})
            assert plan["expected_units"] > 0
            ref = (await ask(client, "register", CLAIM))["hypothesis"]
            assert (await ask(client, "run_batch", {"hypothesis": ref, "units": 80}))["state"] == "decided"
            await ask(client, "stop", {"hypothesis": ref, "reason": "decided"})
            (verdict,) = (await ask(client, "report"))["verdicts"]
            assert verdict["label"] == "supported"
            (row,) = (await ask(client, "query", {"rows": "verdicts"}))["verdicts"]
            assert (row["hypothesis"], row["label"]) == (ref, "supported")

    anyio.run(story)
    from agentkit.ledger import Ledger

    with Ledger(tiny / "lab.db", readonly=True) as ledger:
        ledger.verify()


def test_without_the_word_of_whoever_started_the_server_nothing_is_frozen(tiny):
    async def story():
        async with client_of(tiny, allow_register=False) as (client, campaign):
            assert (await ask(client, "register", {**CLAIM, "dry_run": True}))["max_units"] == 200
            for args in (
                CLAIM,
                {**CLAIM, "dry_run": False},
                {**CLAIM, "dry_run": "true"},
                {**CLAIM, "dry_run": 1},
            ):
                assert "--allow-register" in await refusal(client, "register", args)
            assert campaign.hypotheses() == []

    anyio.run(story)


def test_a_client_is_refused_what_a_planner_is_refused_and_told_why(tiny):
    bad = [
        ("tiny__shift", {"bye": 1}, "Did you mean 'by'"),
        ("tiny__shift", {"by": "much"}, "param 'by'"),
        ("tiny__shift", {"by": 0.1, "units": 0}, "units"),
        ("tiny__shft", {}, "Did you mean 'tiny.shift'"),
        ("explore", {"tool": "tiny.shift", "seed": 3}, "unknown field 'seed'"),
        ("explore", {}, "tool: Field required"),
        ("register", {**CLAIM, "alpha": 0.5}, "unknown field 'alpha'"),
        ("run_batch", {"hypothesis": "H7"}, "no hypothesis 'H7'"),
        ("query", {"rows": "campaigns"}, "rows"),
        ("query", {"rows": "runs", "sql": "SELECT root_seed FROM campaign"}, "unknown field 'sql'"),
        ("tiny__fails", {"units": 2}, "the moon is full"),
    ]

    async def story():
        async with client_of(tiny) as (client, _):
            for name, args, said in bad:
                text = await refusal(client, name, args)
                assert said in text, (name, args, text)
                assert "Traceback" not in text

    anyio.run(story)


def test_what_an_obedient_model_was_told_to_do_changes_nothing_it_may_not_change(tiny):
    async def story():
        study = parse_study("goal: x\ntools: [tiny.shift]\nbudget: {runs: 50}", "s").study
        async with client_of(tiny, study=study) as (client, campaign):
            for name, args in OBEYED:
                result = await client.call_tool(to_wire(name), args)
                assert campaign.root_seed not in str(result)
            assert campaign.hypotheses() == []
            assert {r.tool for r in campaign.runs()} <= {"tiny.shift"}
            campaign.ledger.verify()

    anyio.run(story)


def test_a_budget_stops_the_server_as_it_stops_a_planner(tiny):
    async def story():
        study = parse_study("goal: x\nbudget: {runs: 1}", "s").study
        async with client_of(tiny, study=study) as (client, campaign):
            await ask(client, "tiny__shift", {"by": 0.1, "units": 2})
            assert "1 of 1 runs are spent" in await refusal(client, "tiny__shift", {"by": 0.2, "units": 2})
            assert "runs 1 of 1" in (await ask(client, "status", {"what": "budget"}))["budget"]
            assert len(campaign.runs()) == 1

    anyio.run(story)


def test_the_same_calls_leave_the_same_rows_as_a_planners_toolbox(tiny, tmp_path):
    calls = [
        ("explore", {"tool": "tiny.shift", "params": {"by": 0.2}, "units": 4}),
        ("register", CLAIM),
        ("run_batch", {"hypothesis": "H1", "units": 20}),
        ("stop", {"hypothesis": "H1"}),
    ]

    def rows_of(campaign):
        return [(r.phase, r.params, list(r.measurements().rows())) for r in campaign.runs()]

    async def over_mcp():
        async with client_of(tiny) as (client, campaign):
            answers = [await ask(client, name, args) for name, args in calls]
            return answers, rows_of(campaign)

    def by_hand():
        from agentkit.laboratory import Lab

        with Lab(tmp_path / "hand.db", workers="inline", modules=["tiny_plugin"]) as lab:
            campaign = lab.campaign("tiny", max_hypotheses=10, seed=1)
            toolbox = lab.toolbox(campaign, session="hand")
            return [toolbox.call(str(i), *call) for i, call in enumerate(calls)], rows_of(campaign)

    assert anyio.run(over_mcp) == by_hand()


def test_the_ledger_can_be_read_as_resources_and_a_wrong_one_is_named(tiny):
    async def story():
        async with client_of(tiny) as (client, campaign):
            await ask(client, "tiny__shift", {"units": 3})
            await ask(client, "register", CLAIM)
            uris = [r.uri for r in (await client.list_resources()).resources]
            assert uris == [f"agentkit://{k}" for k in ("campaigns", "hypotheses", "runs", "verdicts")]
            assert len((await client.list_resource_templates()).resource_templates) == 4
            texts = [(await client.read_resource(uri)).contents[0].text for uri in uris]
            assert [r["run"] for r in json.loads(texts[2])] == ["R1"]
            one = json.loads((await client.read_resource("agentkit://runs/R1")).contents[0].text)
            assert len(one["measurements"]) == 3 * 4
            assert not any(campaign.root_seed in text for text in texts)
            for uri, said in {
                "agentkit://rums": "Did you mean 'agentkit://runs'",
                "agentkit://runs/R9": "the last one is R1",
                "file:///etc/passwd": "no resource",
            }.items():
                with pytest.raises(MCPError, match=said):
                    await client.read_resource(uri)

    anyio.run(story)


def test_the_list_says_of_each_tool_what_a_planner_is_told(tiny):
    async def story():
        async with client_of(tiny) as (client, _):
            listed = {t.name: t for t in (await client.list_tools()).tools}
            shift = listed["tiny__shift"]
            assert shift.description.startswith("Draw a level")
            assert "Metrics: level [0, 1]" in shift.description
            assert set(shift.input_schema["properties"]) == {"by", "units"}
            assert [n for n, t in listed.items() if t.annotations.read_only_hint] == ["status", "query"]

    anyio.run(story)


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in TOOLS]
)  # slow: see the reasons in quick.py
def test_every_installed_tool_answers_a_quick_call_and_refuses_an_unknown_param(tmp_path, name):
    async def story():
        async with client_of(tmp_path, modules=()) as (client, campaign):
            assert "not_a_param" in await refusal(client, to_wire(name), {"not_a_param": 1})
            assert campaign.runs() == []
            if name in QUICK:
                answer = await ask(client, to_wire(name), {**QUICK[name], "units": 1})
                assert set(answer["metrics"]) <= {m.name for m in installed_plugins().tool(name).metrics}
                assert (answer["units"], answer["failed"]) == (1, 0)

    anyio.run(story)


def test_every_tool_but_the_replay_of_a_training_log_is_really_called():
    assert set(TOOLS) - set(QUICK) <= {"weight.zo_replay"}, "declare quick params in quick.py"
