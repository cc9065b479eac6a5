"""The conversations of a store: opened, forked, found by a beginning of their id, listed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from agentkit.canon import sha256_of
from agentkit.errors import LedgerError, unknown
from agentkit.ledger import models
from agentkit.ledger.clock import now
from agentkit.ledger.session import ENVIRONMENT, SESSION, TURN, Session, as_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agentkit.ledger.campaign import Campaign
    from agentkit.ledger.ledger import Ledger
    from agentkit.ledger.store import Store

CAMPAIGN = models.table(models.CampaignTable)


def open_session(
    campaign: Campaign,
    id: str,
    *,
    planner: str,
    prompt: str,
    prompt_sha256: str,
    tools: Any,
    environment: Any,
    parent: Session | None = None,
    parent_tip: str | None = None,
) -> Session:
    """The session `id` of a campaign, made when it is not there. Its tools and environment are kept once by content."""
    if (found := _session_row(campaign.ledger.store, SESSION.c.id == id)) is not None:
        return _of(campaign, found)
    with campaign.ledger.store.write() as connection:
        row = {
            "id": id,
            "campaign": campaign.id,
            "parent": None if parent is None else parent.id,
            "parent_tip": parent_tip,
            "planner": planner,
            "prompt": prompt,
            "prompt_sha256": prompt_sha256,
            "tools": _content(connection, tools),
            "environment": _content(connection, environment),
            "created_at": now(),
        }
        connection.execute(SESSION.insert(), row)
    return Session(campaign, row)


def fork_session(parent: Session, id: str, tip: str | None) -> Session:
    """A new session that shares the past of another up to `tip`, with the same planner, prompt and tools."""
    kept = ("planner", "prompt", "prompt_sha256", "tools", "environment")
    store = parent.campaign.ledger.store
    with store.write() as connection:
        row = dict(connection.execute(sa.select(SESSION).where(SESSION.c.id == parent.id)).mappings().one())
        new = {k: row[k] for k in kept} | {"id": id, "campaign": parent.campaign.id, "created_at": now()}
        new |= {"parent": parent.id if tip else None, "parent_tip": tip}
        connection.execute(SESSION.insert(), new)
    return Session(parent.campaign, new)


def find_session(campaign: Campaign, id: str) -> Session:
    """A recorded session of this campaign, by its id or a beginning of it that fits one alone.

    Raises:
        LedgerError: none or several fit; near names are offered.
    """
    ids = [row["id"] for row in list_sessions(campaign.ledger.store) if row["campaign"] == campaign.key]
    fitting = [known for known in ids if known == id] or [known for known in ids if known.startswith(id)]
    if not id or not fitting:
        raise LedgerError(unknown("session", id, ids))
    if len(fitting) > 1:
        raise LedgerError(f"session {id!r} fits {len(fitting)} sessions; write more of it")
    row = _session_row(campaign.ledger.store, SESSION.c.id == fitting[0])
    assert row is not None  # noqa: S101 - it was listed
    return _of(campaign, row)


def find_stored(ledger: Ledger, id: str) -> Session:
    """A recorded session of any campaign of a ledger, by its id or a beginning of it, in capitals or not.

    Raises:
        LedgerError: none or several fit; near names are offered.
    """
    campaigns = {row["id"]: row["campaign"] for row in list_sessions(ledger.store)}
    asked = id.casefold()
    fitting = [k for k in campaigns if k.casefold() == asked] or [
        k for k in campaigns if asked and k.casefold().startswith(asked)
    ]
    if len(fitting) != 1:
        raise LedgerError(unknown("session", id, campaigns))
    return find_session(ledger.reopen(campaigns[fitting[0]]), fitting[0])


def list_sessions(store: Store) -> list[dict[str, Any]]:
    """Every session of a store, oldest first: id, campaign, planner, turns, when it began."""
    turns = (
        sa.select(sa.func.count()).select_from(TURN).where(TURN.c.session == SESSION.c.id).scalar_subquery()
    )
    shown = [SESSION.c.id, CAMPAIGN.c.key.label("campaign"), SESSION.c.planner, SESSION.c.parent]
    query = sa.select(*shown, turns.label("turns"), SESSION.c.created_at).join(
        CAMPAIGN, CAMPAIGN.c.id == SESSION.c.campaign
    )
    with store.read() as connection:
        return [
            dict(row)
            for row in connection.execute(query.order_by(SESSION.c.created_at, SESSION.c.id)).mappings()
        ]


def _of(campaign: Campaign, row: Mapping[str, Any]) -> Session:
    if row["campaign"] != campaign.id:
        raise LedgerError(f"session {row['id']!r} belongs to another campaign than {campaign.key!r}")
    return Session(campaign, row)


def _session_row(store: Store, condition: sa.ColumnElement[bool]) -> dict[str, Any] | None:
    with store.read() as connection:
        row = connection.execute(sa.select(SESSION).where(condition)).mappings().one_or_none()
    return None if row is None else dict(row)


def _content(connection: sa.Connection, content: Any) -> str:
    sha256 = sha256_of(content)
    known = sa.select(ENVIRONMENT.c.sha256).where(ENVIRONMENT.c.sha256 == sha256)
    if connection.execute(known).first() is None:
        connection.execute(ENVIRONMENT.insert(), {"sha256": sha256, "content_json": as_json(content)})
    return sha256
