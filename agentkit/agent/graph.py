"""The LangChain agent: any chat model, the same tools, every call through the toolbox."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from langchain.tools import ToolRuntime  # noqa: TC002 - LangChain reads the annotation at run time
from langchain_core.messages import ToolMessage
from langchain_core.tools import StructuredTool

from agentkit.agent import calls
from agentkit.agent.names import check_wire_names, to_wire
from agentkit.errors import AgentkitError

if TYPE_CHECKING:
    from langchain_core.tools import BaseTool

    from agentkit.agent.toolbox import Toolbox
    from agentkit.tools import Tool

MOST_BOUND_TOOLS = 64


def langchain_tools(toolbox: Toolbox) -> list[BaseTool]:
    """One LangChain tool per call and per perturbation tool (explore phase only)."""
    plugin_tools = [toolbox.plugins.tool(n) for n in toolbox.tool_names][:MOST_BOUND_TOOLS]
    check_wire_names([*calls.CALLS, *(t.name for t in plugin_tools)])
    own = [
        _langchain_tool(toolbox, name, model.__doc__ or "", model.model_json_schema())
        for name, model in calls.CALLS.items()
    ]
    return [*own, *(_langchain_tool(toolbox, t.name, describe(t), _with_units(t)) for t in plugin_tools)]


def describe(tool: Tool) -> str:
    """Docstring and one generated line: everything a planner knows about a tool is here and in its schema."""
    metrics = "; ".join(str(m) for m in tool.metrics)
    cost = f" About {tool.seconds_per_unit:g} s/unit." if tool.seconds_per_unit else ""
    return f"{tool.description}\n\nMetrics: {metrics}.{cost} Explores only; register a claim for evidence."


def _with_units(tool: Tool) -> dict[str, Any]:
    schema = tool.schema()
    units = {"type": "integer", "minimum": 1, "maximum": 256, "default": 8}
    return {**schema, "properties": {**schema.get("properties", {}), "units": units}}


def _langchain_tool(toolbox: Toolbox, name: str, description: str, schema: dict[str, Any]) -> BaseTool:
    def answer(runtime: ToolRuntime, **args: Any) -> ToolMessage:
        call_id = str(runtime.tool_call_id)
        try:
            content, status = json.dumps(toolbox.call(call_id, name, args), sort_keys=True), "success"
        except AgentkitError as error:
            if error.exit_code == 3:  # a spent budget ends the session; the planner cannot mend it
                raise
            toolbox.refusals.append(str(error))
            content, status = str(error)[:300], "error"
        return ToolMessage(content, tool_call_id=call_id, name=to_wire(name), status=status)

    return StructuredTool.from_function(
        answer, name=to_wire(name), description=description, args_schema=schema, infer_schema=False
    )
