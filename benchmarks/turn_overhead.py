"""What our turn costs above a bare `create_agent` on the same loopback server, and what one tool call costs us.

Bars: CPU and wall of a recorded turn <= 1.15 of a bare one; a tool call without its execution <= 5 ms (median).
`--sqlite-saver` adds a bare agent with LangGraph's own file checkpointer, where that package is installed.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent_common import model, show, tiny_lab

if TYPE_CHECKING:
    from collections.abc import Callable

TURNS = tuple(int(a) for a in sys.argv[1:] if a.isdigit()) or (50, 200)
REPEATS = 2
BAR_TURN, BAR_CALL_MS = 1.15, 5.0


def bare(lab: Any, turns: int, saver: Any = None) -> tuple[float, float]:
    """CPU and wall ms a turn of a bare agent: the same model, tools and prompt, no record, no gates."""
    from langchain.agents import create_agent

    from agentkit.agent.graph import langchain_tools

    class Unrecorded:  # the same schemas; answers at once
        plugins, tool_names, refusals, outside = lab.plugins, sorted(lab.plugins.tools), [], {}

        def call(self, call_id: str, name: str, args: dict[str, Any]) -> dict[str, Any]:
            return {"hypothesis": args.get("id"), "state": "open", "units": 0}

    with model(turns) as chat:
        agent = create_agent(
            chat, langchain_tools(Unrecorded()), system_prompt="You plan.", checkpointer=saver
        )
        config = {"recursion_limit": 9999, "configurable": {"thread_id": "t"}}
        return timed(turns, lambda: agent.invoke({"messages": [("user", "go")]}, config))


def ours(lab: Any, turns: int, name: str) -> tuple[float, float]:
    """The same with our middlewares; the tool answers at once too, but every call is on the record."""
    from agentkit.agent.session import PlannerSession

    toolbox = lab.toolbox(lab.campaign("bench"), session=name)
    toolbox._status = lambda request, key: {"hypothesis": request.id, "state": "open", "units": 0}
    with model(turns) as chat:
        session = PlannerSession(chat, toolbox, "You plan.")
        return timed(turns, lambda: session.send("go"))


def timed(turns: int, work: Callable[[], object]) -> tuple[float, float]:
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    return (time.process_time() - cpu) * 1000 / turns, (time.perf_counter() - wall) * 1000 / turns


def call_ms(lab: Any, calls: int = 200) -> float:
    """Median wall ms of one recorded call without its execution: record before and after, gates, loop check."""
    import types

    from langchain_core.messages import HumanMessage, ToolMessage

    from agentkit.agent.session import PlannerSession

    toolbox = lab.toolbox(lab.campaign("bench"), session="calls")
    with model(1) as chat:
        session = PlannerSession(chat, toolbox, "You plan.")
        session.send("go")
    from agentkit.agent.recorder import Recorder

    recorder = Recorder(session.record, toolbox, session.account, session.options.policy, session._turns)
    times = []
    for i in range(calls):
        call = {"name": "status", "args": {"what": "campaign"}, "id": f"bench{i}"}
        request = types.SimpleNamespace(tool_call=call, state={"messages": [HumanMessage("go")]})
        began = time.perf_counter()
        recorder.wrap_tool_call(request, lambda r: ToolMessage("{}", tool_call_id=r.tool_call["id"]))
        times.append((time.perf_counter() - began) * 1000)
    return statistics.median(times)


def main() -> int:
    with tiny_lab() as lab:
        bare(lab, 5), ours(lab, 5, "warm")
        rows, bars = {}, {}
        for turns in TURNS:
            pairs = [(bare(lab, turns), ours(lab, turns, f"s{turns}.{i}")) for i in range(REPEATS)]
            b, o = ([min(p[k][j] for p in pairs) for j in (0, 1)] for k in (0, 1))
            ratios = {"cpu": round(o[0] / b[0], 3), "wall": round(o[1] / b[1], 3)}
            rows[turns] = {
                "bare_ms": [round(x, 2) for x in b],
                "ours_ms": [round(x, 2) for x in o],
                "ratio": ratios,
            }
            bars[f"turn cpu at {turns} <= {BAR_TURN}"] = ratios["cpu"] <= BAR_TURN
            if "--sqlite-saver" in sys.argv:
                rows[turns]["bare_with_sqlite_saver_ms"] = with_saver(lab, turns)
        median = call_ms(lab)
    bars[f"tool call <= {BAR_CALL_MS} ms"] = median <= BAR_CALL_MS
    return show(
        {"ms a turn, [cpu, wall], best of 2 interleaved": rows, "tool_call_ms": round(median, 3)}, bars
    )


def with_saver(lab: Any, turns: int) -> list[float]:
    from langgraph.checkpoint.sqlite import SqliteSaver

    with (
        tempfile.TemporaryDirectory() as folder,
        SqliteSaver.from_conn_string(str(Path(folder) / "x.db")) as saver,
    ):
        return [round(x, 2) for x in bare(lab, turns, saver)]


if __name__ == "__main__":
    sys.exit(main())
