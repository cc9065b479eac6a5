"""The LangChain agent: any chat model, the same tools, every call through the toolbox."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from langchain.tools import ToolRuntime  # noqa: TC002 - LangChain reads the annotation at run time
from langchain_core.messages import ToolMessage
from langchain_core.tools import StructuredTool

from agentkit.agent.names import to_wire
from agentkit.agent.surface import offers
from agentkit.errors import AgentkitError, BudgetError, StoppedError

if TYPE_CHECKING:
    from langchain_core.tools import BaseTool

    from agentkit.agent.surface import Offer
    from agentkit.agent.toolbox import Toolbox


def langchain_tools(toolbox: Toolbox) -> list[BaseTool]:
    """One LangChain tool per call and per perturbation tool (explore phase only)."""
    bound = [*offers(toolbox), *(t.offer for t in toolbox.outside.values())]
    return [_langchain_tool(toolbox, offer) for offer in bound]


def _langchain_tool(toolbox: Toolbox, offer: Offer) -> BaseTool:
    name = offer.name

    def respond(runtime: ToolRuntime, **args: Any) -> ToolMessage:
        call_id = str(runtime.tool_call_id)
        try:
            if name in toolbox.outside:
                answer = toolbox.ask_outside(name, args)
            else:
                answer = toolbox.call(call_id, name, args)
            content, status = json.dumps(answer, sort_keys=True), "success"
        except AgentkitError as error:
            if isinstance(
                error, BudgetError | StoppedError
            ):  # these end the session; the planner cannot mend it
                raise
            toolbox.refusals.append(str(error))
            content, status = str(error)[:300], "error"
        return ToolMessage(content, tool_call_id=call_id, name=to_wire(name), status=status)

    return StructuredTool.from_function(
        respond,
        name=to_wire(name),
        description=offer.description,
        args_schema=offer.schema,
        infer_schema=False,
    )
