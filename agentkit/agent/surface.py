"""What a planner may call here, as names, descriptions and JSON schemas: one list for LangChain, MCP and people."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agentkit.agent import calls
from agentkit.agent.names import check_wire_names, to_wire
from agentkit.agent.offline.ranking import best_of
from agentkit.agent.offline.schemas import read_cards

if TYPE_CHECKING:
    from agentkit.agent.offline.cards import ToolCard
    from agentkit.agent.toolbox import Toolbox
    from agentkit.tools import Tool
    from agentkit.types import Frozen

MOST_FOUND = 8
"""Tools that a question in words is answered with."""


@dataclass(frozen=True)
class Offer:
    """One thing that may be called; `name` is its own name, not the one on the wire."""

    name: str
    description: str
    schema: dict[str, Any]


def offers(toolbox: Toolbox) -> list[Offer]:
    """The calls, then the perturbation tools that are allowed here (explore phase only).

    Raises:
        PlannerError: two names would be one on the wire.
    """
    tools = [toolbox.plugins.tool(n) for n in toolbox.tool_names]
    check_wire_names([*calls.CALLS, *(t.name for t in tools)])
    own = [Offer(n, inspect.cleandoc(m.__doc__ or ""), _call_schema(m)) for n, m in calls.CALLS.items()]
    return [*own, *(Offer(t.name, describe(t), _with_units(t)) for t in tools)]


def describe(tool: Tool) -> str:
    """Docstring and one generated line: everything a planner knows about a tool is here and in its schema."""
    metrics = "; ".join(str(m) for m in tool.metrics)
    cost = f" About {tool.seconds_per_unit:g} s/unit." if tool.seconds_per_unit else ""
    return f"{tool.description}\n\nMetrics: {metrics}.{cost} Explores only; register a claim for evidence."


def cards_of(toolbox: Toolbox) -> tuple[ToolCard, ...]:
    """What the offline planner's ranking reads of the tools that are allowed here."""
    tools = [toolbox.plugins.tool(n) for n in toolbox.tool_names]
    return read_cards(
        [{"name": to_wire(t.name), "description": describe(t), "parameters": _with_units(t)} for t in tools]
    )[0]


def tools_answer(toolbox: Toolbox, asked: str | None) -> dict[str, Any]:
    """All tools by name, one with its params, or the few that some words are about."""
    names = toolbox.tool_names
    if asked in names:
        tool = toolbox.plugins.tool(asked)
        return {"tool": tool.name, "description": describe(tool), "params": _untitled(tool.schema())}
    found = names if asked is None else best_of(cards_of(toolbox), asked)[:MOST_FOUND]
    return {"tools": {n: toolbox.plugins.tool(n).summary for n in found}}


def _call_schema(model: type[Frozen]) -> dict[str, Any]:
    """The arguments of a call; what the call does is said once, in its description."""
    return {k: v for k, v in _untitled(model.model_json_schema()).items() if k != "description"}


def _with_units(tool: Tool) -> dict[str, Any]:
    schema = _untitled(tool.schema())
    units = {"type": "integer", "minimum": 1, "maximum": 256, "default": 8}
    return {**schema, "properties": {**schema.get("properties", {}), "units": units}}


def _untitled(schema: Any) -> Any:
    """A JSON schema without titles: they repeat the keys, and a model pays for each word."""
    if isinstance(schema, dict):
        return {k: _untitled(v) for k, v in schema.items() if not (k == "title" and isinstance(v, str))}
    return [_untitled(item) for item in schema] if isinstance(schema, list) else schema
