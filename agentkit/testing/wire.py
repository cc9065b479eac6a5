"""An Anthropic-shaped request as chat messages, so that any chat model can stand behind the loopback server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage

from agentkit.testing.replies import Call, Reply, Usage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from langchain_core.language_models import BaseChatModel


def behind_wire(model: BaseChatModel) -> Callable[[dict[str, Any]], Reply]:
    """A script for `AnthropicServer` that lets a chat model answer; it sees what it would see without the wire."""

    def answer(request: dict[str, Any]) -> Reply:
        tools = [_tool(t) for t in request.get("tools", [])]
        bound = model.bind_tools(tools) if tools else model
        return _reply(bound.invoke(messages_of(request)))

    return answer


def messages_of(request: Mapping[str, Any]) -> list[BaseMessage]:
    """The conversation of a request: system text, then each turn; a tool's result is a message of its own."""
    system = plain_text(request.get("system") or "")
    found: list[BaseMessage] = [SystemMessage(system)] if system else []
    for message in request["messages"]:
        if message["role"] == "assistant":
            found.append(_assistant(message["content"]))
        else:
            found += _user(message["content"])
    return found


def plain_text(content: str | Sequence[Mapping[str, Any]]) -> str:
    """The words of a content, without cache marks and other blocks."""
    if isinstance(content, str):
        return content
    return "".join(block["text"] for block in content if block.get("type") == "text")


def _assistant(content: str | Sequence[Mapping[str, Any]]) -> AIMessage:
    blocks = [] if isinstance(content, str) else content
    calls = [
        {"name": b["name"], "args": b["input"], "id": b["id"], "type": "tool_call"}
        for b in blocks
        if b.get("type") == "tool_use"
    ]
    return AIMessage(content=plain_text(content), tool_calls=calls)


def _user(content: str | Sequence[Mapping[str, Any]]) -> Iterator[BaseMessage]:
    if isinstance(content, str):
        yield HumanMessage(content)
        return
    words: list[str] = []
    for block in content:
        if block["type"] == "tool_result":
            status = "error" if block.get("is_error") else "success"
            text = plain_text(block.get("content") or "")
            yield ToolMessage(text, tool_call_id=block["tool_use_id"], status=status)
        elif block["type"] == "text":
            words.append(block["text"])
    if words:
        yield HumanMessage("".join(words))


def _tool(tool: Mapping[str, Any]) -> dict[str, Any]:
    function = {"name": tool["name"], "description": tool.get("description", "")}
    return {"type": "function", "function": {**function, "parameters": tool["input_schema"]}}


def _reply(message: BaseMessage) -> Reply:
    calls = [Call(c["name"], c["args"], c["id"] or "") for c in getattr(message, "tool_calls", [])]
    usage = getattr(message, "usage_metadata", None) or {"input_tokens": 0, "output_tokens": 0}
    model = message.response_metadata.get("model_name", "")
    counted = Usage(usage["input_tokens"], usage["output_tokens"])
    return Reply(str(message.text), calls, counted, model=model)
