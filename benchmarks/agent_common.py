"""A tiny tool and a scripted model on loopback, for benchmarks of the agent's own time."""

from __future__ import annotations

import json
import sys
import tempfile
import textwrap
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agentkit.testing.anthropic_server import AnthropicServer
from agentkit.testing.replies import Call, Reply, Usage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PLUGIN = '''
import agentkit
from agentkit import Metric, Params

class Shift(Params):
    by: float = 0.3

@agentkit.tool(name="tiny.shift", metrics=[Metric("level", 0, 1)], version="1")
def shift(params: Shift, units, ctx):
    """Draw a level and shift it."""
    table = agentkit.Measurements.builder(units)
    for unit in units:
        level = 0.3 + 0.3 * unit.rng("level").random()
        table.add(unit, "baseline", "level", level)
        table.add(unit, "up", "level", level + params.by)
    return table.build()

@agentkit.hookimpl
def agentkit_register_tools(register):
    register(shift)
'''


@contextmanager
def tiny_lab() -> Iterator[Any]:
    """A lab on a scratch store with one tool, worked inline."""
    from agentkit.laboratory import Lab

    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "tiny_bench_plugin.py").write_text(textwrap.dedent(PLUGIN))
        sys.path.insert(0, folder)
        try:
            with Lab(Path(folder) / "lab.db", workers="inline", modules=["tiny_bench_plugin"]) as lab:
                yield lab
        finally:
            sys.path.remove(folder)
            sys.modules.pop("tiny_bench_plugin", None)


def script(turns: int) -> Callable[[dict[str, Any]], Reply]:
    """A model that makes one call a turn, always another one, and then says that it is done."""

    def answer(request: dict[str, Any]) -> Reply:
        turn = sum(m["role"] == "assistant" for m in request["messages"])
        if turn >= turns:
            return Reply("done", usage=Usage(500, 20))
        return Reply(
            f"look {turn}", [Call("status", {"what": "hypothesis", "id": f"H{turn + 1}"})], Usage(500, 40)
        )

    return answer


@contextmanager
def model(turns: int) -> Iterator[Any]:
    """The real client against a loopback server that follows the script."""
    from langchain_anthropic import ChatAnthropic

    with AnthropicServer(script(turns)) as server:
        yield ChatAnthropic(model="bench", base_url=server.url, api_key="none", max_tokens=1000)


def show(result: dict[str, Any], bars: dict[str, bool]) -> int:
    """Print figures and bars as JSON; 0 when every bar holds."""
    print(json.dumps({**result, "bars": bars}, indent=1))
    return 0 if all(bars.values()) else 1
