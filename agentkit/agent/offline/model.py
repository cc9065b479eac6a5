"""The offline planner behind the chat-model interface, so that chat, records and replay treat it like any model."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.utils.function_calling import convert_to_openai_tool

from agentkit.agent.names import from_wire, to_wire
from agentkit.agent.offline.policy import Action, Event, next_action
from agentkit.canon import sha256_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_core.callbacks import CallbackManagerForLLMRun
    from langchain_core.runnables import Runnable

STEPS_MARK = "explore steps (JSON): "
"""The line of the user's message that carries the study's own explore steps."""


class OfflinePlanner(BaseChatModel):
    """Rules and statistics, not a language model. Deterministic; needs no key, network, clock or randomness."""

    model: str = "offline"

    @property
    def _llm_type(self) -> str:
        return "agentkit-offline"

    def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> Runnable[Any, AIMessage]:
        """Remember the tool schemas as any chat model does."""
        return self.bind(tools=[convert_to_openai_tool(t) for t in tools], **kwargs)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        step = next_action(_steps(messages), _events(messages))
        usage = {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0}
        if isinstance(step, Action):
            call_id = "off_" + sha256_of([_plain(m) for m in messages])[:12]
            call = {"name": to_wire(step.name), "args": step.args, "id": call_id, "type": "tool_call"}
            message = AIMessage(content="", tool_calls=[call], usage_metadata=usage)
        else:
            message = AIMessage(content=step.text, usage_metadata=usage)
        message.response_metadata = {"model_name": "offline"}
        return ChatResult(generations=[ChatGeneration(message=message)])


def goal_message(goal: str, steps: Sequence[dict[str, Any]]) -> str:
    """The user's message: the goal in words and, for planners that want it exactly, the study's explore steps."""
    return f"{goal}\n\n{STEPS_MARK}{json.dumps(list(steps), sort_keys=True)}" if steps else goal


def _steps(messages: Sequence[BaseMessage]) -> list[dict[str, Any]]:
    for message in messages:
        if isinstance(message, HumanMessage) and STEPS_MARK in (text := str(message.content)):
            return list(json.loads(text.split(STEPS_MARK, 1)[1]))
    return []


def _events(messages: Sequence[BaseMessage]) -> list[Event]:
    calls = {c["id"]: c for m in messages if isinstance(m, AIMessage) for c in m.tool_calls}
    events = []
    for message in messages:
        if isinstance(message, ToolMessage) and (call := calls.get(message.tool_call_id)):
            name, text = from_wire(call["name"]), str(message.content)
            failed = message.status == "error"
            events.append(
                Event(name, call["args"], None if failed else json.loads(text), text if failed else "")
            )
    return events


def _plain(message: BaseMessage) -> list[Any]:
    calls = [[c["name"], c["args"]] for c in message.tool_calls] if isinstance(message, AIMessage) else []
    return [message.type, str(message.content), calls]
