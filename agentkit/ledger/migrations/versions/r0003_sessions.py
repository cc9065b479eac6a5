"""Conversations: sessions, their messages, model turns with what they cost, tool calls with who approved them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

REAL: sa.types.TypeEngine[float] = sa.Double().with_variant(sa.REAL(), "sqlite")


def upgrade() -> None:
    """Make the tables of conversations."""
    op.create_table(
        "message",
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("parent", sa.Text(), nullable=True),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("parts_json", sa.Text(), nullable=False),
        sa.Column("meta_json", sa.Text(), nullable=False),
        sa.CheckConstraint("role IN ('system', 'human', 'ai', 'tool')", name=op.f("ck_message_role")),
        sa.ForeignKeyConstraint(["parent"], ["message.hash"], name=op.f("fk_message_parent")),
        sa.PrimaryKeyConstraint("hash", name=op.f("pk_message")),
        sqlite_strict=True,
    )
    op.create_table(
        "session",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("campaign", sa.Integer(), nullable=False),
        sa.Column("parent", sa.Text(), nullable=True),
        sa.Column("parent_tip", sa.Text(), nullable=True),
        sa.Column("planner", sa.Text(), nullable=False),
        sa.Column("prompt", sa.Text(), nullable=False),
        sa.Column("prompt_sha256", sa.Text(), nullable=False),
        sa.Column("tools", sa.Text(), nullable=False),
        sa.Column("environment", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Text(), nullable=False),
        sa.CheckConstraint("(parent IS NULL) = (parent_tip IS NULL)", name=op.f("ck_session_fork")),
        sa.ForeignKeyConstraint(["campaign"], ["campaign.id"], name=op.f("fk_session_campaign")),
        sa.ForeignKeyConstraint(["environment"], ["environment.sha256"], name=op.f("fk_session_environment")),
        sa.ForeignKeyConstraint(["parent"], ["session.id"], name=op.f("fk_session_parent")),
        sa.ForeignKeyConstraint(["parent_tip"], ["message.hash"], name=op.f("fk_session_parent_tip")),
        sa.ForeignKeyConstraint(["tools"], ["environment.sha256"], name=op.f("fk_session_tools")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_session")),
        sqlite_strict=True,
    )
    op.create_index(op.f("ix_session_campaign"), "session", ["campaign"], unique=False)
    op.create_table(
        "spend",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("session", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("amount", REAL, nullable=False),
        sa.Column("ref", sa.Text(), nullable=False),
        sa.CheckConstraint(
            "kind IN ('usd', 'tokens', 'runs', 'seconds', 'gpu_seconds')", name=op.f("ck_spend_kind")
        ),
        sa.CheckConstraint("id > 0", name=op.f("ck_spend_id")),
        sa.ForeignKeyConstraint(["session"], ["session.id"], name=op.f("fk_spend_session")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_spend")),
        sqlite_strict=True,
    )
    op.create_index(op.f("ix_spend_session"), "spend", ["session"], unique=False)
    op.create_table(
        "turn",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("session", sa.Text(), nullable=False),
        sa.Column("ordinal", sa.Integer(), nullable=False),
        sa.Column("request_tip", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("begun_at", sa.Text(), nullable=False),
        sa.CheckConstraint("id > 0", name=op.f("ck_turn_id")),
        sa.ForeignKeyConstraint(["request_tip"], ["message.hash"], name=op.f("fk_turn_request_tip")),
        sa.ForeignKeyConstraint(["session"], ["session.id"], name=op.f("fk_turn_session")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_turn")),
        sa.UniqueConstraint("session", "ordinal", name=op.f("uq_turn_session_ordinal")),
        sqlite_strict=True,
    )
    op.create_table(
        "tool_call",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("session", sa.Text(), nullable=False),
        sa.Column("turn", sa.Integer(), nullable=True),
        sa.Column("call_id", sa.Text(), nullable=False),
        sa.Column("tool", sa.Text(), nullable=False),
        sa.Column("args_json", sa.Text(), nullable=False),
        sa.Column("args_sha256", sa.Text(), nullable=False),
        sa.Column("decision", sa.Text(), nullable=False),
        sa.Column("edited_json", sa.Text(), nullable=True),
        sa.Column("decided_by", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("decided_at", sa.Text(), nullable=False),
        sa.CheckConstraint(
            "(decision = 'edited') = (edited_json IS NOT NULL)", name=op.f("ck_tool_call_edit")
        ),
        sa.CheckConstraint(
            "decision IN ('auto', 'approved', 'edited', 'rejected')", name=op.f("ck_tool_call_decision")
        ),
        sa.CheckConstraint("id > 0", name=op.f("ck_tool_call_id")),
        sa.ForeignKeyConstraint(["session"], ["session.id"], name=op.f("fk_tool_call_session")),
        sa.ForeignKeyConstraint(["turn"], ["turn.id"], name=op.f("fk_tool_call_turn")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tool_call")),
        sa.UniqueConstraint("session", "call_id", name=op.f("uq_tool_call_session_call_id")),
        sqlite_strict=True,
    )
    op.create_table(
        "turn_end",
        sa.Column("turn", sa.Integer(), nullable=False),
        sa.Column("tip", sa.Text(), nullable=True),
        sa.Column("resolved_model", sa.Text(), nullable=False),
        sa.Column("input", sa.Integer(), nullable=False),
        sa.Column("output", sa.Integer(), nullable=False),
        sa.Column("cache_read", sa.Integer(), nullable=False),
        sa.Column("cache_write", sa.Integer(), nullable=False),
        sa.Column("usd", REAL, nullable=True),
        sa.Column("latency_ms", REAL, nullable=False),
        sa.Column("stop_reason", sa.Text(), nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("ended_at", sa.Text(), nullable=False),
        sa.CheckConstraint(
            "input >= 0 AND output >= 0 AND cache_read >= 0 AND cache_write >= 0",
            name=op.f("ck_turn_end_tokens"),
        ),
        sa.ForeignKeyConstraint(["tip"], ["message.hash"], name=op.f("fk_turn_end_tip")),
        sa.ForeignKeyConstraint(["turn"], ["turn.id"], name=op.f("fk_turn_end_turn")),
        sa.PrimaryKeyConstraint("turn", name=op.f("pk_turn_end")),
        sqlite_strict=True,
    )
    op.create_table(
        "tool_call_end",
        sa.Column("tool_call", sa.Integer(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("run", sa.Text(), nullable=True),
        sa.Column("content_sha256", sa.Text(), nullable=False),
        sa.Column("latency_ms", REAL, nullable=False),
        sa.Column("ended_at", sa.Text(), nullable=False),
        sa.CheckConstraint("status IN ('ok', 'error', 'cancelled')", name=op.f("ck_tool_call_end_status")),
        sa.ForeignKeyConstraint(["tool_call"], ["tool_call.id"], name=op.f("fk_tool_call_end_tool_call")),
        sa.PrimaryKeyConstraint("tool_call", name=op.f("pk_tool_call_end")),
        sqlite_strict=True,
    )
