"""`Session`: one conversation on the record, its turns with what they cost, its calls with who approved them.

Rows are only added. A session's tip is the newest message that a turn of it answered, or was asked with; what
a killed process leaves is therefore a turn without an end, or a call without an end, and both show.
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from agentkit.errors import LedgerError
from agentkit.ledger import models
from agentkit.ledger.clock import now
from agentkit.ledger.prepared import Prepared, insert
from agentkit.ledger.runs import next_id
from agentkit.ledger.session_values import Message, ToolCall, Turn, TurnEnd

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from agentkit.ledger.campaign import Campaign
    from agentkit.ledger.store import Store

MESSAGE = models.table(models.MessageTable)
SESSION = models.table(models.SessionTable)
TURN = models.table(models.TurnTable)
TURN_END = models.table(models.TurnEndTable)
TOOL_CALL = models.table(models.ToolCallTable)
TOOL_CALL_END = models.table(models.ToolCallEndTable)
SPEND = models.table(models.SpendTable)
ENVIRONMENT = models.table(models.EnvironmentTable)

_INSERT_MESSAGE, _INSERT_TURN, _INSERT_TURN_END = insert(MESSAGE), insert(TURN), insert(TURN_END)
_INSERT_CALL, _INSERT_CALL_END, _INSERT_SPEND = insert(TOOL_CALL), insert(TOOL_CALL_END), insert(SPEND)
_HAS_MESSAGE = Prepared(sa.select(MESSAGE.c.hash).where(MESSAGE.c.hash == sa.bindparam("hash")))
_LAST_ORDINAL = Prepared(
    sa.select(sa.func.max(TURN.c.ordinal)).where(TURN.c.session == sa.bindparam("session"))
)
_CALL_ID = Prepared(
    sa.select(TOOL_CALL.c.id).where(
        TOOL_CALL.c.session == sa.bindparam("session"), TOOL_CALL.c.call_id == sa.bindparam("call_id")
    )
)
_HAS_END = Prepared(
    sa.select(TOOL_CALL_END.c.tool_call).where(TOOL_CALL_END.c.tool_call == sa.bindparam("tool_call"))
)
ERROR_CHARACTERS = 300


class Session:
    """One planner at work on one campaign. Make one with `open_session`, find one with `find_session`."""

    def __init__(self, campaign: Campaign, row: Mapping[str, Any]) -> None:
        self.campaign = campaign
        self.id: str = row["id"]
        self.parent: str | None = row["parent"]
        self.parent_tip: str | None = row["parent_tip"]
        self.planner: str = row["planner"]
        self.prompt: str = row["prompt"]
        self.prompt_sha256: str = row["prompt_sha256"]
        self.tools_sha256: str = row["tools"]
        self.environment_sha256: str = row["environment"]
        self._store: Store = campaign.ledger.store
        self._known: set[str] = set()

    def content(self, sha256: str) -> Any:
        """The tools or the environment behind a hash."""
        query = sa.select(ENVIRONMENT.c.content_json).where(ENVIRONMENT.c.sha256 == sha256)
        with self._store.read() as connection:
            return json.loads(connection.execute(query).scalar_one())

    @contextmanager
    def one_write(self) -> Iterator[None]:
        """What is written inside is kept together, by one commit."""
        with self._store.write():
            yield

    # ---- turns

    def begin_turn(self, chain: Sequence[tuple[str, Message]], model: str) -> int:
        """Write down what is about to be sent; returns the turn's id.

        Args:
            chain: every message of the request with its hash, oldest first.
            model: whom it is sent to.
        """
        with self._store.write() as connection:
            self._add(connection, chain)
            id = next_id(connection, TURN)
            last = _LAST_ORDINAL(connection, {"session": self.id}).scalar_one() or 0
            row = {"id": id, "session": self.id, "ordinal": last + 1}
            row |= {"request_tip": chain[-1][0], "model": model, "begun_at": now()}
            _INSERT_TURN(connection, row)
        self._known |= {hash for hash, _ in chain}
        return id

    def end_turn(
        self, turn: int, request_tip: str, end: TurnEnd, spent: Iterable[tuple[str, float, str]]
    ) -> str:
        """Write down what came back and what it cost; returns the new tip (the old one when it failed)."""
        tip = None if end.answer is None else end.answer.hash_after(request_tip)
        with self._store.write() as connection:
            if end.answer is not None and tip is not None:
                self._add(connection, [(request_tip, None), (tip, end.answer)])
            values = {k: v for k, v in vars(end).items() if k != "answer"} | {
                "error": end.error[:ERROR_CHARACTERS]
            }
            _INSERT_TURN_END(connection, {"turn": turn, "tip": tip, **values, "ended_at": now()})
            self._spend(connection, spent)
        self._known |= {tip} if tip else set()
        return tip or request_tip

    def _add(self, connection: sa.Connection, chain: Sequence[tuple[str, Message | None]]) -> None:
        """Insert the messages of a chain that are not there yet; content that is there already costs nothing."""
        for i, (hash, message) in enumerate(chain):
            if hash in self._known or message is None:
                continue
            if _HAS_MESSAGE(connection, {"hash": hash}).first() is None:
                _INSERT_MESSAGE(connection, _message_row(hash, chain[i - 1][0] if i else None, message))

    def turns(self) -> list[Turn]:
        """All turns, oldest first."""
        ends = [c for c in TURN_END.c if c.name not in ("turn", "ended_at")]
        query = (
            sa.select(
                TURN.c.id,
                TURN.c.ordinal,
                TURN.c.request_tip,
                TURN.c.model,
                TURN_END.c.turn.label("ended"),
                *ends,
            )
            .outerjoin(TURN_END, TURN_END.c.turn == TURN.c.id)
            .where(TURN.c.session == self.id)
            .order_by(TURN.c.ordinal)
        )
        with self._store.read() as connection:
            rows = [dict(row) for row in connection.execute(query).mappings()]
        blank = {"resolved_model": "", "stop_reason": "", "error": "", "latency_ms": 0.0}
        blank |= dict.fromkeys(("input", "output", "cache_read", "cache_write"), 0)
        return [
            Turn(**(row | (blank if row["ended"] is None else {}) | {"ended": row["ended"] is not None}))
            for row in rows
        ]

    def tip(self) -> str | None:
        """The newest message of the session, or where it was forked; None before anything was said."""
        tip = self.parent_tip
        for turn in self.turns():
            tip = turn.tip or turn.request_tip
        return tip

    def chain(self, tip: str | None) -> list[tuple[str, Message]]:
        """Messages up to `tip`, oldest first."""
        newest = (
            sa.select(MESSAGE, sa.literal(0).label("depth")).where(MESSAGE.c.hash == tip).cte(recursive=True)
        )
        older = sa.select(MESSAGE, newest.c.depth + 1).join(newest, MESSAGE.c.hash == newest.c.parent)
        both = newest.union_all(older)
        with self._store.read() as connection:
            rows = connection.execute(sa.select(both).order_by(both.c.depth.desc())).mappings().all()
        if tip is not None and not rows:
            raise LedgerError(f"session {self.id}: message {tip[:16]}… is gone")
        self._known |= {row["hash"] for row in rows}
        return [
            (row["hash"], Message(row["role"], json.loads(row["parts_json"]), json.loads(row["meta_json"])))
            for row in rows
        ]

    # ---- tool calls

    def begin_call(
        self,
        call_id: str,
        tool: str,
        args: Mapping[str, Any],
        args_sha256: str,
        *,
        turn: int | None = None,
        decision: str = "auto",
        edited: Mapping[str, Any] | None = None,
        decided_by: str = "policy",
        reason: str = "",
    ) -> int:
        """Write down a decided call before anything runs; a call that is there keeps its decision. Returns its id."""
        with self._store.write() as connection:
            if (found := _CALL_ID(connection, {"session": self.id, "call_id": call_id}).scalar()) is not None:
                return int(found)
            id = next_id(connection, TOOL_CALL)
            row = {"id": id, "session": self.id, "turn": turn, "call_id": call_id, "tool": tool}
            row |= {"args_json": as_json(args), "args_sha256": args_sha256, "decision": decision}
            row |= {"edited_json": None if edited is None else as_json(edited), "decided_by": decided_by}
            _INSERT_CALL(connection, row | {"reason": reason[:ERROR_CHARACTERS], "decided_at": now()})
        return id

    def end_call(
        self,
        call: int,
        status: str,
        content_sha256: str,
        *,
        run: str | None = None,
        latency_ms: float = 0.0,
        spent: Iterable[tuple[str, float, str]] = (),
    ) -> None:
        """Write down how a call ended; one that ended before keeps its first end."""
        with self._store.write() as connection:
            self._spend(connection, spent)
            if _HAS_END(connection, {"tool_call": call}).first() is None:
                row = {"tool_call": call, "status": status, "run": run, "content_sha256": content_sha256}
                _INSERT_CALL_END(connection, row | {"latency_ms": latency_ms, "ended_at": now()})

    def calls(self) -> dict[str, ToolCall]:
        """Every decided call by its id, oldest first."""
        ends = [TOOL_CALL_END.c.status, TOOL_CALL_END.c.run, TOOL_CALL_END.c.content_sha256]
        query = (
            sa.select(TOOL_CALL, *ends)
            .outerjoin(TOOL_CALL_END, TOOL_CALL_END.c.tool_call == TOOL_CALL.c.id)
            .where(TOOL_CALL.c.session == self.id)
            .order_by(TOOL_CALL.c.id)
        )
        with self._store.read() as connection:
            rows = connection.execute(query).mappings().all()
        return {row["call_id"]: _call(dict(row)) for row in rows}

    # ---- money

    def _spend(self, connection: sa.Connection, spent: Iterable[tuple[str, float, str]]) -> None:
        rows = [{"session": self.id, "kind": k, "amount": float(a), "ref": ref} for k, a, ref in spent]
        if rows:
            first = next_id(connection, SPEND)
            _INSERT_SPEND(connection, [{"id": first + i, **row} for i, row in enumerate(rows)])

    def spent(self) -> dict[str, float]:
        """What all processes of this session have spent, by currency."""
        query = sa.select(SPEND.c.kind, sa.func.sum(SPEND.c.amount)).where(SPEND.c.session == self.id)
        with self._store.read() as connection:
            return {kind: float(amount) for kind, amount in connection.execute(query.group_by(SPEND.c.kind))}


def _message_row(hash: str, parent: str | None, message: Message) -> dict[str, Any]:
    parts, meta = as_json(dict(message.parts)), as_json(dict(message.meta))
    return {"hash": hash, "parent": parent, "role": message.role, "parts_json": parts, "meta_json": meta}


def _call(row: Mapping[str, Any]) -> ToolCall:
    names = (
        "id",
        "call_id",
        "tool",
        "args_sha256",
        "decision",
        "decided_by",
        "reason",
        "status",
        "run",
        "content_sha256",
    )
    edited = row["edited_json"]
    return ToolCall(
        **{name: row[name] for name in names},
        args=json.loads(row["args_json"]),
        edited=None if edited is None else json.loads(edited),
    )


def as_json(value: Any) -> str:
    """One text for one value: keys sorted, NaN refused."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False)
