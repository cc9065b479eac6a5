"""What a recorded conversation is made of: messages, turns and their ends, tool calls."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agentkit.canon import sha256_of

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class Message:
    """One message: `role` system, human, ai or tool; `parts` is its content; `meta` is beside the content."""

    role: str
    parts: Mapping[str, Any]
    meta: Mapping[str, Any]

    def hash_after(self, parent: str | None) -> str:
        """Its name when it follows `parent`."""
        return sha256_of([parent, self.role, dict(self.parts)])


@dataclass(frozen=True)
class Turn:
    """One question to a model and its answer. `ended` is false for one that was cut off; `usd` None is unknown."""

    id: int
    ordinal: int
    request_tip: str
    model: str
    ended: bool
    tip: str | None
    resolved_model: str
    input: int
    output: int
    cache_read: int
    cache_write: int
    usd: float | None
    latency_ms: float
    stop_reason: str
    error: str


@dataclass(frozen=True)
class TurnEnd:
    """What is known when a turn has ended; `answer` is None when it failed."""

    answer: Message | None = None
    resolved_model: str = ""
    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write: int = 0
    usd: float | None = None
    latency_ms: float = 0.0
    stop_reason: str = ""
    error: str = ""


@dataclass(frozen=True)
class ToolCall:
    """One call: what was asked, who decided what, and how it ended (`status` None: it has not)."""

    id: int
    call_id: str
    tool: str
    args: dict[str, Any]
    args_sha256: str
    decision: str
    edited: dict[str, Any] | None
    decided_by: str
    reason: str
    status: str | None
    run: str | None
    content_sha256: str | None
