"""kill -9 between an approval and its result, through the command line, then `resume`: the tool ran exactly once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest

from agentkit.testing.anthropic_server import AnthropicServer
from agentkit.testing.replies import Call, Reply
from tests.cli.chat_kit import TINY

LOOK = Reply("", [Call("tiny__shift", {"pause": 0.05, "units": 20}, "c1")])


def start(folder, url, *arguments) -> subprocess.Popen:
    env = {**os.environ, "PYTHONPATH": str(folder), "AGENTKIT_BASE_URL": url, "OMP_NUM_THREADS": "1"}
    options = ["--module", "tiny_plugin", "--workers", "local:1", "--json", "--planner", "anthropic:claude-a"]
    command = [sys.executable, "-m", "agentkit.cli.main", *arguments, *options]
    return subprocess.Popen(
        command,
        cwd=folder,
        env=env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


SLOW = pytest.mark.slow  # two more processes of some seconds each


@pytest.mark.parametrize("killed_at", [pytest.param("tool_call", marks=SLOW), "progress"])
def test_a_chat_that_is_killed_while_a_tool_runs_finishes_that_very_run_when_resumed(tmp_path, killed_at):
    (tmp_path / "tiny_plugin.py").write_text(TINY)
    with AnthropicServer([LOOK, *[Reply("done")] * 3]) as server:
        chat = start(tmp_path, server.url, "chat", "--approve", "auto")
        chat.stdin.write("look\n")
        chat.stdin.flush()
        session = ""
        for line in chat.stdout:
            event = json.loads(line)
            session = event["id"] if event["type"] == "session" else session
            if event["type"] == killed_at:
                chat.send_signal(signal.SIGKILL)
                break
        chat.communicate(timeout=60)
        assert chat.returncode == -signal.SIGKILL
        resumed = start(tmp_path, server.url, "resume", session, "--approve", "auto")
        out, err = resumed.communicate(timeout=120)
    assert resumed.returncode == 0, err
    events = [json.loads(line) for line in out.splitlines()]
    assert "".join(e["text"] for e in events if e["type"] == "text") == "done"
    assert [e["run"] for e in events if e["type"] == "run"] == ["R1"]

    from agentkit.ledger import Ledger

    with Ledger(tmp_path / "agentkit.db", readonly=True) as ledger:
        ledger.verify()
        count = "SELECT kind, count(*) AS n FROM event WHERE kind IN ('run', 'outcome') GROUP BY kind ORDER BY kind"
        assert ledger.query(count) == [{"kind": "outcome", "n": 20}, {"kind": "run", "n": 1}]
        calls = ledger.query("SELECT call_id, decision FROM tool_call")
        assert calls == [{"call_id": "c1", "decision": "auto"}]
