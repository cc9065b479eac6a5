"""The offline planner behind the chat-model interface, so that chat, records and replay treat it like any model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.utils.function_calling import convert_to_openai_tool

from agentkit.agent.names import to_wire
from agentkit.agent.offline import replies
from agentkit.agent.offline.conversation import STEPS_MARK, goal_message, was_cancelled
from agentkit.agent.offline.events import Action, Finish
from agentkit.agent.offline.planner import plan
from agentkit.canon import sha256_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_core.callbacks import CallbackManagerForLLMRun
    from langchain_core.runnables import Runnable

__all__ = ["STEPS_MARK", "OfflinePlanner", "goal_message"]


class OfflinePlanner(BaseChatModel):
    """Rules and statistics, not a language model. Deterministic; needs no key, network, clock or randomness."""

    model: str = "offline"
    reads_every_tool: ClassVar[bool] = True

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
        step = (
            Finish(replies.cancelled(), "cancelled")
            if was_cancelled(messages)
            else plan(messages, kwargs.get("tools") or ())
        )
        usage = {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0}
        if isinstance(step, Action):
            call_id = "off_" + sha256_of([_plain(m) for m in messages])[:12]
            call = {"name": to_wire(step.name), "args": step.args, "id": call_id, "type": "tool_call"}
            message = AIMessage(content=step.text, tool_calls=[call], usage_metadata=usage)
            message.response_metadata = {"model_name": "offline"}
        else:
            message = AIMessage(content=step.text, usage_metadata=usage)
            message.response_metadata = {"model_name": "offline", "finish": step.kind}
        return ChatResult(generations=[ChatGeneration(message=message)])


def _plain(message: BaseMessage) -> list[Any]:
    calls = [[c["name"], c["args"]] for c in message.tool_calls] if isinstance(message, AIMessage) else []
    return [message.type, str(message.content), calls]
