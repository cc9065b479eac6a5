"""The hash chain of a campaign: every row that must not change is one link, in the order of writing.

    hash = sha256([campaign key, seq, kind, body_sha256, prev_hash]),   prev_hash of seq 1 = sha256 of the campaign row

A body is the canonical JSON of the row and of the rows it owns (a run's units, an outcome's measurements).
Bodies are not stored: they are read again from the tables, so an edit anywhere shows as another hash. Against
somebody who recomputes the whole chain only a head noted elsewhere helps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from agentkit.canon import sha256_of
from agentkit.ledger import models
from agentkit.ledger.prepared import Prepared, insert

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

EVENT = models.table(models.EventTable)
MODEL_OF: dict[str, type[models.Row]] = {
    "freeze": models.HypothesisTable,
    "close": models.HypothesisTable,
    "run": models.RunTable,
    "attempt": models.AttemptTable,
    "attempt_end": models.AttemptEndTable,
    "outcome": models.OutcomeTable,
    "verdict": models.VerdictTable,
    "decision": models.DecisionTable,
    "holdout": models.HoldoutTable,
    "holdout_query": models.HoldoutQueryTable,
}
"""Which table a link of each kind covers."""

CLOSING = ("state", "closed_at", "close_reason")


@dataclass(frozen=True)
class Head:
    """Where a chain stands: `seq` 0 is the genesis."""

    seq: int
    hash: str


@dataclass(frozen=True)
class Link:
    """A row to be sealed: its kind, its id and its body."""

    kind: str
    ref: int
    body: Mapping[str, Any]


def genesis(campaign: Mapping[str, Any]) -> Head:
    """The head before the first event: the hash of the campaign's own row."""
    return Head(0, sha256_of(dict(campaign)))


def link_hash(key: str, seq: int, kind: str, body_sha256: str, prev_hash: str) -> str:
    """The hash that the next link must name."""
    return sha256_of([key, seq, kind, body_sha256, prev_hash])


_OLDER = EVENT.alias("older")
_LAST = Prepared(
    sa.select(EVENT.c.seq, EVENT.c.hash).where(
        EVENT.c.campaign == sa.bindparam("campaign"),
        EVENT.c.seq
        == sa.select(sa.func.max(_OLDER.c.seq))
        .where(_OLDER.c.campaign == EVENT.c.campaign)
        .scalar_subquery(),
    )
)
_INSERT = insert(EVENT)


def head(connection: sa.Connection, campaign: Mapping[str, Any]) -> Head:
    """The head of a campaign's chain as it is stored."""
    last = _LAST(connection, {"campaign": campaign["id"]}).first()
    return genesis(campaign) if last is None else Head(last.seq, last.hash)


def lock(connection: sa.Connection, campaign: int) -> None:
    """Keep other writers from this chain until the transaction ends; SQLite's write lock does so already."""
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(campaign)))


def append(connection: sa.Connection, campaign: Mapping[str, Any], links: Sequence[Link], at: Head) -> Head:
    """Seal rows that were just written, in order, after the head `at`; returns the new head."""
    here = at
    rows = []
    for link in links:
        body_sha256 = sha256_of(link.body)
        seq = here.seq + 1
        rows.append(
            {
                "campaign": campaign["id"],
                "seq": seq,
                "kind": link.kind,
                "ref": link.ref,
                "body_sha256": body_sha256,
                "prev_hash": here.hash,
                "hash": link_hash(campaign["key"], seq, link.kind, body_sha256, here.hash),
            }
        )
        here = Head(seq, rows[-1]["hash"])
    if rows:
        _INSERT(connection, rows)
    return here


def body(kind: str, row: Mapping[str, Any], **parts: Iterable[Sequence[Any]]) -> dict[str, Any]:
    """What a link of this kind covers.

    Args:
        kind: one of `MODEL_OF`.
        row: the row's columns by name.
        parts: the rows it owns, in order: `units` (unit, seed, retry), `measurements` (condition, metric, value),
            `artifacts` (name, sha256, size, media type).
    """
    row = {name: _unsigned_zero(value) for name, value in row.items()}
    if kind == "freeze":
        own = {name: value for name, value in row.items() if name not in CLOSING}
    elif kind == "close":
        own = {name: row[name] for name in ("id", "closed_at", "close_reason")}
    else:
        own = row
    return own | {
        name: [[_unsigned_zero(value) for value in part] for part in rows] for name, rows in parts.items()
    }


def _unsigned_zero(value: Any) -> Any:
    """-0.0 as 0.0, which is what SQLite gives back for it."""
    return value + 0.0 if isinstance(value, float) else value
