"""LangChain messages as the ledger keeps them, and back: content decides a message's name, the rest is beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage

from agentkit.canon import clean
from agentkit.ledger.session_values import Message

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PLACES = ("index", "partial_json")
"""What a stream adds to its blocks: where a piece stood, which is no part of what was said."""


class Chain:
    """Names of the messages of one conversation; a message that was named once is not hashed again."""

    def __init__(self) -> None:
        self._named: dict[tuple[str | None, str], tuple[str, Message]] = {}

    def of(self, system: str, messages: Sequence[BaseMessage]) -> list[tuple[str, Message]]:
        """Every message with its hash, the system text first."""
        chain: list[tuple[str, Message]] = []
        parent: str | None = None
        for message in (SystemMessage(system, id="system"), *messages):
            key = (parent, message.id or "")
            if message.id is None or key not in self._named:
                kept = stored(message)
                self._named[key] = (kept.hash_after(parent), kept)
            chain.append(self._named[key])
            parent = chain[-1][0]
        return chain


def stored(message: BaseMessage) -> Message:
    """A message as the ledger keeps it."""
    args = {c["id"]: c["args"] for c in getattr(message, "tool_calls", [])}
    parts: dict[str, Any] = {"content": _content(message.content, args)}
    meta: dict[str, Any] = {"id": message.id}
    if isinstance(message, AIMessage):
        parts["tool_calls"] = [
            {"name": c["name"], "args": clean(c["args"]), "id": c["id"]} for c in message.tool_calls
        ]
        if message.invalid_tool_calls:
            parts["invalid"] = clean([dict(c) for c in message.invalid_tool_calls])
        meta |= {"usage": clean(message.usage_metadata), "response": clean(message.response_metadata)}
    elif isinstance(message, ToolMessage):
        parts |= {"call_id": message.tool_call_id, "name": message.name, "status": message.status}
    role = "ai" if message.type == "AIMessageChunk" else message.type
    return Message(role, parts, meta)


def restored(message: Message) -> BaseMessage:
    """The message as the graph works with it."""
    parts, meta = message.parts, message.meta
    content, id = parts["content"], meta.get("id")
    match message.role:
        case "system":
            return SystemMessage(content, id=id)
        case "human":
            return HumanMessage(content, id=id)
        case "tool":
            return ToolMessage(
                content, tool_call_id=parts["call_id"], name=parts["name"], status=parts["status"], id=id
            )
        case _:
            return AIMessage(
                content=content,
                tool_calls=[{**c, "type": "tool_call"} for c in parts["tool_calls"]],
                invalid_tool_calls=parts.get("invalid", []),
                usage_metadata=meta.get("usage"),
                response_metadata=meta.get("response") or {},
                id=id,
            )


def _content(content: Any, args: Mapping[str | None, Any]) -> Any:
    """Content blocks with their calls' arguments; a stream leaves those beside the block."""
    if isinstance(content, str):
        return content
    return [_block(block, args) if isinstance(block, dict) else block for block in content]


def _block(block: Mapping[str, Any], args: Mapping[str | None, Any]) -> dict[str, Any]:
    kept = {k: clean(v) for k, v in block.items() if k not in PLACES}
    if kept.get("type") == "tool_use" and kept.get("id") in args:
        kept["input"] = clean(args[kept["id"]])
    return kept
