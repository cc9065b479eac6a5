"""What a scripted model says, and the bytes in which an Anthropic-shaped server says it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from agentkit.canon import sha256_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

CHARACTERS_A_TOKEN = 4
"""Only for counts that nobody scripted; a real tokenizer differs."""


@dataclass(frozen=True)
class Usage:
    """Tokens of one reply. `input` counts what was neither read from the cache nor written to it."""

    input: int
    output: int
    cache_read: int = 0
    cache_write: int = 0

    def wire(self) -> dict[str, int]:
        """As the provider names them."""
        return {
            "input_tokens": self.input,
            "output_tokens": self.output,
            "cache_read_input_tokens": self.cache_read,
            "cache_creation_input_tokens": self.cache_write,
        }


@dataclass(frozen=True)
class Call:
    """A tool call inside a reply; without an id it gets one from its place in the conversation."""

    name: str
    args: Mapping[str, Any] = field(default_factory=dict)
    id: str = ""


@dataclass(frozen=True)
class Reply:
    """One answer of the model.

    Args:
        text: its words; may be empty.
        calls: tool calls, made in parallel.
        usage: tokens; counted from characters when None.
        model: name in the answer; that of the request when empty.
        stop_reason: `end_turn`, `tool_use`, `max_tokens` or `refusal`; follows from `calls` when empty.
        delay_s: seconds before the first byte.
        cut: send only half of the bytes, then drop the connection.
        broken: send bytes that are not JSON.
    """

    text: str = ""
    calls: tuple[Call, ...] | list[Call] = ()
    usage: Usage | None = None
    model: str = ""
    stop_reason: str = ""
    delay_s: float = 0.0
    cut: bool = False
    broken: bool = False


@dataclass(frozen=True)
class Fault:
    """An HTTP error instead of an answer, such as 401, 429, 500 or 529."""

    status: int
    retry_after_s: float | None = None
    message: str = "scripted fault"

    def wire(self) -> dict[str, Any]:
        """The error body as the provider shapes it."""
        kinds = {400: "invalid_request_error", 401: "authentication_error", 404: "not_found_error"}
        kinds |= {429: "rate_limit_error", 529: "overloaded_error"}
        return {
            "type": "error",
            "error": {"type": kinds.get(self.status, "api_error"), "message": self.message},
        }


def count_tokens(request: Mapping[str, Any]) -> int:
    """A deterministic stand-in for a tokenizer: characters of system, messages and tools over four."""
    counted = {k: request.get(k) for k in ("system", "messages", "tools")}
    return len(json.dumps(counted, sort_keys=True)) // CHARACTERS_A_TOKEN


def message_of(reply: Reply, request: Mapping[str, Any]) -> dict[str, Any]:
    """The whole answer as a JSON message."""
    key = sha256_of(
        [request.get("messages"), reply.text, [[c.name, dict(c.args), c.id] for c in reply.calls]]
    )
    content: list[dict[str, Any]] = [{"type": "text", "text": reply.text}] if reply.text else []
    content += [
        {"type": "tool_use", "id": c.id or f"toolu_{key[:16]}{i}", "name": c.name, "input": dict(c.args)}
        for i, c in enumerate(reply.calls)
    ]
    usage = reply.usage or Usage(count_tokens(request), len(json.dumps(content)) // CHARACTERS_A_TOKEN)
    return {
        "id": f"msg_{key[:24]}",
        "type": "message",
        "role": "assistant",
        "model": reply.model or request.get("model", "scripted"),
        "content": content,
        "stop_reason": reply.stop_reason or ("tool_use" if reply.calls else "end_turn"),
        "stop_sequence": None,
        "usage": usage.wire(),
    }


def events_of(message: Mapping[str, Any]) -> Iterator[bytes]:
    """The same answer as server-sent events; all usage stands in `message_delta`, where clients read it."""
    opening = {
        **message,
        "content": [],
        "stop_reason": None,
        "usage": {**message["usage"], "output_tokens": 1},
    }
    yield _event("message_start", {"message": opening})
    for index, block in enumerate(message["content"]):
        yield from _block_events(index, block)
    delta = {"stop_reason": message["stop_reason"], "stop_sequence": None}
    yield _event("message_delta", {"delta": delta, "usage": message["usage"]})
    yield _event("message_stop", {})


def _block_events(index: int, block: Mapping[str, Any]) -> Iterator[bytes]:
    if block["type"] == "text":
        yield _event("content_block_start", {"index": index, "content_block": {"type": "text", "text": ""}})
        for piece in _pieces(block["text"]):
            yield _event(
                "content_block_delta", {"index": index, "delta": {"type": "text_delta", "text": piece}}
            )
    else:
        yield _event("content_block_start", {"index": index, "content_block": {**block, "input": {}}})
        for piece in _pieces(json.dumps(block["input"])):
            part = {"type": "input_json_delta", "partial_json": piece}
            yield _event("content_block_delta", {"index": index, "delta": part})
    yield _event("content_block_stop", {"index": index})


def _pieces(text: str, length: int = 24) -> Iterator[str]:
    for start in range(0, max(len(text), 1), length):
        yield text[start : start + length]


def _event(kind: str, data: Mapping[str, Any]) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **data})}\n\n".encode()
