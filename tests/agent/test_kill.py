"""kill -9 between an approval and its result, then resume elsewhere: the tool ran exactly once."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from agentkit.agent.approvals import Approval
from agentkit.agent.session import Options, PlannerSession
from agentkit.study import ApprovalSection
from agentkit.testing.anthropic_server import AnthropicServer
from agentkit.testing.replies import Call, Reply
from tests.agent.claude import chat

COUNTED = '''
import os, time
from pathlib import Path

import agentkit
from agentkit import Metric, Params

class Nothing(Params):
    pass

@agentkit.tool(name="tiny.counted", metrics=[Metric("level", 0, 1)], version="1")
def counted(params: Nothing, units, ctx):
    """Leave a mark for every unit that was measured to its end."""
    table = agentkit.Measurements.builder(units)
    for unit in units:
        table.add(unit, "baseline", "level", 0.5)
        table.add(unit, "on", "level", 0.6)
        time.sleep(0.002)
    return table.build()

@agentkit.hookimpl
def agentkit_register_tools(register):
    register(counted)
'''
SCRIPT = Path(__file__).with_name("script_killed_session.py")
ROOT = Path(__file__).parents[2]


def killed_then_resumed(folder: Path, name: str, delay_s: float) -> tuple[int, dict]:
    """Start a session, kill it `delay_s` after the approval, resume it here; exit code and what the store holds."""
    from agentkit.laboratory import Lab

    (folder / "tiny_plugin.py").write_text(COUNTED)
    asked = []

    def approve(request):
        asked.append(request)
        return Approval("approve")

    call = Reply("", [Call("tiny__counted", {"units": 20}, "c1")])
    with AnthropicServer([call, *[Reply("done")] * 3]) as server:
        code = subprocess.run(
            [sys.executable, str(SCRIPT), str(folder), server.url, name, str(delay_s)],
            cwd=ROOT,
            timeout=120,
            check=False,
        ).returncode
        with Lab(folder / f"{name}.db", workers="inline", modules=["tiny_plugin"]) as lab:
            campaign = lab.campaign("tiny", max_hypotheses=10, seed=1)
            options = Options(policy=ApprovalSection(explore="ask"), approve=approve)
            session = PlannerSession(
                chat(server, "claude-a"), lab.toolbox(campaign, session=name), "You plan.", options
            )
            decided = "c1" in session.record.calls()
            assert session.resume() == "done"
            assert len(asked) == (0 if decided else 1), (
                "an approval that is on the record is not asked for again"
            )
            lab.ledger.verify()
            runs = campaign.runs()
            count = "SELECT kind, count(*) AS n FROM event WHERE kind IN ('run', 'outcome') GROUP BY kind"
            kinds = {row["kind"]: row["n"] for row in lab.ledger.query(count)}
            calls = session.record.calls()
            answered = len(campaign.decisions("call_answered"))
    return code, {
        "runs": len(runs),
        "events": kinds,
        "calls": {c: r.status for c, r in calls.items()},
        "answered": answered,
    }


ONCE = {"runs": 1, "events": {"run": 1, "outcome": 20}, "calls": {"c1": "ok"}, "answered": 1}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    sys.modules.pop("tiny_plugin", None)


@pytest.mark.parametrize("delay_s", [0.0, 0.02, 0.05])
def test_a_session_killed_after_an_approval_runs_the_tool_once_when_resumed(folder, delay_s):
    code, found = killed_then_resumed(folder, "k", delay_s)
    assert code == -signal.SIGKILL
    assert found == ONCE


@pytest.mark.slow  # 40 processes, about 5 s each on a busy machine
def test_a_kill_at_any_moment_never_runs_the_tool_twice(folder):
    for i in range(40):
        code, found = killed_then_resumed(folder, f"k{i}", i * 0.005)
        assert code in (-signal.SIGKILL, 0)
        assert found == ONCE, i * 0.005
