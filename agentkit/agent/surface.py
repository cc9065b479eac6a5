"""What a planner may call here, as names, descriptions and JSON schemas: one list for LangChain, MCP and people."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agentkit.agent import calls
from agentkit.agent.names import check_wire_names

if TYPE_CHECKING:
    from agentkit.agent.toolbox import Toolbox
    from agentkit.tools import Tool


@dataclass(frozen=True)
class Offer:
    """One thing that may be called; `name` is its own name, not the one on the wire."""

    name: str
    description: str
    schema: dict[str, Any]


def offers(toolbox: Toolbox, *, most_tools: int | None = None) -> list[Offer]:
    """The calls, then the perturbation tools that are allowed here (explore phase only).

    Raises:
        PlannerError: two names would be one on the wire.
    """
    tools = [toolbox.plugins.tool(n) for n in toolbox.tool_names][:most_tools]
    check_wire_names([*calls.CALLS, *(t.name for t in tools)])
    own = [Offer(n, m.__doc__ or "", m.model_json_schema()) for n, m in calls.CALLS.items()]
    return [*own, *(Offer(t.name, describe(t), _with_units(t)) for t in tools)]


def describe(tool: Tool) -> str:
    """Docstring and one generated line: everything a planner knows about a tool is here and in its schema."""
    metrics = "; ".join(str(m) for m in tool.metrics)
    cost = f" About {tool.seconds_per_unit:g} s/unit." if tool.seconds_per_unit else ""
    return f"{tool.description}\n\nMetrics: {metrics}.{cost} Explores only; register a claim for evidence."


def _with_units(tool: Tool) -> dict[str, Any]:
    schema = tool.schema()
    units = {"type": "integer", "minimum": 1, "maximum": 256, "default": 8}
    return {**schema, "properties": {**schema.get("properties", {}), "units": units}}
