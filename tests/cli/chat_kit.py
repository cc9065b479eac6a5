"""What the tests of the chat share: a tiny tool, a scripted model behind the real client, and a pipe into the chat."""

from __future__ import annotations

import io
import json
import sys

import pytest

from agentkit.testing.anthropic_server import AnthropicServer
from agentkit.testing.replies import Call

TINY = '''
import time

import agentkit
from agentkit import Metric, Params

class Shift(Params):
    by: float = 0.3
    pause: float = 0.0

@agentkit.tool(name="tiny.shift", metrics=[Metric("level", 0, 1)], version="1")
def shift(params: Shift, units, ctx):
    """Draw a level between 0.3 and 0.6 and shift it up, down or not at all."""
    table = agentkit.Measurements.builder(units)
    for unit in units:
        time.sleep(params.pause)
        level = 0.3 + 0.3 * unit.rng("level").random()
        for name, by in {"baseline": 0, "up": params.by, "down": -params.by, "same": 0}.items():
            table.add(unit, name, "level", level + by)
        ctx.progress(1, 1)
    return table.build()

@agentkit.hookimpl
def agentkit_register_tools(register):
    register(shift)
'''
CLAIM = {
    "tool": "tiny.shift", "condition": "up", "metric": "level", "direction": "greater", "sesoi": 0.1, "max_units": 200,
}  # fmt: skip
LOOK = Call("tiny__shift", {"by": 0.2, "units": 4})


def register(**changes) -> Call:
    return Call("register", {**CLAIM, **changes})


class Chat:
    """`events, code, err = chat(["a line", …])`: the chat in a pipe, in this process, as JSON events."""

    def __init__(self, agentkit, monkeypatch) -> None:
        self._agentkit, self._monkeypatch = agentkit, monkeypatch

    def __call__(self, lines, *arguments, script=None, command="chat", json_lines=True):
        if script is None:
            return self._run(lines, arguments, command, json_lines)
        with AnthropicServer(script) as server:
            self._monkeypatch.setenv("AGENTKIT_BASE_URL", server.url)
            self.server = server
            try:
                return self._run(lines, ("--planner", "anthropic:claude-a", *arguments), command, json_lines)
            finally:
                self._monkeypatch.delenv("AGENTKIT_BASE_URL")

    def _run(self, lines, arguments, command, json_lines):
        self._monkeypatch.setattr(sys, "stdin", io.StringIO("".join(f"{line}\n" for line in lines)))
        options = ["--module", "tiny_plugin", "--workers", "inline", "--store", "lab.db", *arguments]
        code, out, err = self._agentkit(command, *options, *(["--json"] if json_lines else []))
        return ([json.loads(line) for line in out.splitlines()] if json_lines else out), code, err


@pytest.fixture
def chat(agentkit, monkeypatch, tmp_path):
    (tmp_path / "tiny_plugin.py").write_text(TINY)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("ANTHROPIC_API_KEY", "AGENTKIT_BASE_URL", "ANTHROPIC_BASE_URL", "AGENTKIT_PLANNER"):
        monkeypatch.delenv(name, raising=False)
    yield Chat(agentkit, monkeypatch)
    sys.modules.pop("tiny_plugin", None)


def of(events, type):
    return [e for e in events if e["type"] == type]


def words(events):
    return "".join(e["text"] for e in of(events, "text"))
