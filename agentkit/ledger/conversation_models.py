"""The tables of conversations: messages by content, sessions, turns and tool calls with their ends, what was spent."""

from __future__ import annotations

import sqlalchemy as sa

from agentkit.ledger.columns import Row, check, integer, key, real, strict, text


class MessageTable(Row, table=True):
    """One message of a conversation, named by its content and by all that was said before it.

    hash = sha256([parent, role, parts]); `meta` (usage, provider's ids) is beside the content. A fork shares its past.
    """

    __tablename__ = "message"
    __table_args__ = strict(check("role", "role IN ('system', 'human', 'ai', 'tool')"))
    hash: str = text(primary_key=True)
    parent: str | None = text(foreign_key="message.hash", default=None, nullable=True)
    role: str = text()
    parts_json: str = text()
    meta_json: str = text()


class SessionTable(Row, table=True):
    """One planner at work on one campaign; a fork names where it left its parent."""

    __tablename__ = "session"
    __table_args__ = strict(check("fork", "(parent IS NULL) = (parent_tip IS NULL)"))
    id: str = text(primary_key=True)
    campaign: int = integer(foreign_key="campaign.id", index=True)
    parent: str | None = text(foreign_key="session.id", default=None, nullable=True)
    parent_tip: str | None = text(foreign_key="message.hash", default=None, nullable=True)
    planner: str = text()
    prompt: str = text()
    prompt_sha256: str = text()
    tools: str = text(foreign_key="environment.sha256")
    environment: str = text(foreign_key="environment.sha256")
    created_at: str = text()


class TurnTable(Row, table=True):
    """One question to a model, written before it is sent; what came back is a `turn_end`."""

    __tablename__ = "turn"
    __table_args__ = strict(sa.UniqueConstraint("session", "ordinal"), check("id", "id > 0"))
    id: int | None = key()
    session: str = text(foreign_key="session.id")
    ordinal: int = integer()
    request_tip: str = text(foreign_key="message.hash")
    model: str = text()
    begun_at: str = text()


class TurnEndTable(Row, table=True):
    """What a model answered, what it cost (NULL: unknown), or how it failed. A turn without one was cut off."""

    __tablename__ = "turn_end"
    __table_args__ = strict(
        check("tokens", "input >= 0 AND output >= 0 AND cache_read >= 0 AND cache_write >= 0")
    )
    turn: int = integer(foreign_key="turn.id", primary_key=True)
    tip: str | None = text(foreign_key="message.hash", default=None, nullable=True)
    resolved_model: str = text()
    input: int = integer()
    output: int = integer()
    cache_read: int = integer()
    cache_write: int = integer()
    usd: float | None = real(default=None, nullable=True)
    latency_ms: float = real()
    stop_reason: str = text()
    error: str = text()
    ended_at: str = text()


class ToolCallTable(Row, table=True):
    """One call that was decided on: written after the approval and before anything runs."""

    __tablename__ = "tool_call"
    __table_args__ = strict(
        sa.UniqueConstraint("session", "call_id"),
        check("id", "id > 0"),
        check("decision", "decision IN ('auto', 'approved', 'edited', 'rejected')"),
        check("edit", "(decision = 'edited') = (edited_json IS NOT NULL)"),
    )
    id: int | None = key()
    session: str = text(foreign_key="session.id")
    turn: int | None = integer(foreign_key="turn.id", default=None, nullable=True)
    call_id: str = text()
    tool: str = text()
    args_json: str = text()
    args_sha256: str = text()
    decision: str = text()
    edited_json: str | None = text(default=None, nullable=True)
    decided_by: str = text()
    reason: str = text()
    decided_at: str = text()


class ToolCallEndTable(Row, table=True):
    """How a call ended: its status, the run it made, and the hash of what the planner was told."""

    __tablename__ = "tool_call_end"
    __table_args__ = strict(check("status", "status IN ('ok', 'error', 'cancelled')"))
    tool_call: int = integer(foreign_key="tool_call.id", primary_key=True)
    status: str = text()
    run: str | None = text(default=None, nullable=True)
    content_sha256: str = text()
    latency_ms: float = real()
    ended_at: str = text()


class SpendTable(Row, table=True):
    """An amount that was spent in a session, in one of the five currencies, and what for."""

    __tablename__ = "spend"
    __table_args__ = strict(
        check("id", "id > 0"), check("kind", "kind IN ('usd', 'tokens', 'runs', 'seconds', 'gpu_seconds')")
    )
    id: int | None = key()
    session: str = text(foreign_key="session.id", index=True)
    kind: str = text()
    amount: float = real()
    ref: str = text()
