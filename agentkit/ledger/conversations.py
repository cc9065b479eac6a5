"""What `verify` asks of recorded conversations: each answer follows its question, each call stands in an answer.

Messages are named by their content and their past, so a changed word shows as another name. Sessions are not part of a
campaign's chain: who rewrites a whole conversation, names included, is found by replaying it, not here.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from agentkit.canon import sha256_of
from agentkit.ledger import models

if TYPE_CHECKING:
    from collections.abc import Iterator

MESSAGE = models.table(models.MessageTable)
TURN, TURN_END = models.table(models.TurnTable), models.table(models.TurnEndTable)
TOOL_CALL = models.table(models.ToolCallTable)


def conversation_faults(connection: sa.Connection) -> Iterator[str]:
    """What is wrong with messages, turns and calls, in plain words."""
    for row in connection.execute(sa.select(MESSAGE)).mappings():
        if sha256_of([row["parent"], row["role"], json.loads(row["parts_json"])]) != row["hash"]:
            yield f"message {row['hash'][:16]}… is not what was recorded"
    yield from _turn_faults(connection)
    yield from _call_faults(connection)


def _turn_faults(connection: sa.Connection) -> Iterator[str]:
    """Turns are numbered without a gap, and an answer's parent is what was asked."""
    answer = MESSAGE.alias("answer")
    query = (
        sa.select(
            TURN.c.session, TURN.c.ordinal, TURN.c.request_tip, TURN_END.c.tip, answer.c.parent, answer.c.role
        )
        .outerjoin(TURN_END, TURN_END.c.turn == TURN.c.id)
        .outerjoin(answer, answer.c.hash == TURN_END.c.tip)
        .order_by(TURN.c.session, TURN.c.ordinal)
    )
    newest: dict[str, int] = {}
    for row in connection.execute(query).mappings():
        place = f"session {row['session']}, turn {row['ordinal']}"
        if row["ordinal"] != newest.get(row["session"], 0) + 1:
            yield f"{place}: turn {newest.get(row['session'], 0) + 1} is missing"
        newest[row["session"]] = row["ordinal"]
        if row["tip"] is not None and (row["parent"] != row["request_tip"] or row["role"] != "ai"):
            yield f"{place}: its answer does not follow what was asked"


def _call_faults(connection: sa.Connection) -> Iterator[str]:
    """A call that a turn made stands in that turn's answer, with the same arguments."""
    query = (
        sa.select(TOOL_CALL, MESSAGE.c.parts_json)
        .join(TURN_END, TURN_END.c.turn == TOOL_CALL.c.turn)
        .join(MESSAGE, MESSAGE.c.hash == TURN_END.c.tip)
        .order_by(TOOL_CALL.c.id)
    )
    for row in connection.execute(query).mappings():
        asked: list[dict[str, Any]] = json.loads(row["parts_json"]).get("tool_calls", [])
        found = [c for c in asked if c["id"] == row["call_id"]]
        if not any(c["args"] == json.loads(row["args_json"]) for c in found):
            yield f"session {row['session']}, call {row['call_id']}: it is not what the planner asked for"
