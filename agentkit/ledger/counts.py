"""How much of a campaign there is, asked of the database rather than by reading all of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

from agentkit.ledger.runs import RUN
from agentkit.ledger.session import SESSION, SPEND

if TYPE_CHECKING:
    from agentkit.ledger.campaign import Campaign
    from agentkit.ledger.runs import Run


def count_runs(campaign: Campaign) -> int:
    """How many runs a campaign has."""
    query = sa.select(sa.func.count()).select_from(RUN).where(RUN.c.campaign == campaign.id)
    with campaign.ledger.store.read() as connection:
        return int(connection.execute(query).scalar_one())


def nth_run(campaign: Campaign, position: int) -> Run | None:
    """The run at a position (0 is the oldest), or None where there are not so many."""
    ids = sa.select(RUN.c.id).where(RUN.c.campaign == campaign.id).order_by(RUN.c.id)
    with campaign.ledger.store.read() as connection:
        id = connection.execute(ids.offset(position).limit(1)).scalar_one_or_none()
    return None if id is None else campaign.run(id)


def spent_on_models(campaign: Campaign) -> dict[str, float]:
    """USD and tokens that all sessions of a campaign have spent, by currency."""
    query = (
        sa.select(SPEND.c.kind, sa.func.sum(SPEND.c.amount))
        .join(SESSION, SESSION.c.id == SPEND.c.session)
        .where(SESSION.c.campaign == campaign.id, SPEND.c.kind.in_(("usd", "tokens")))
        .group_by(SPEND.c.kind)
    )
    with campaign.ledger.store.read() as connection:
        return {kind: float(amount) for kind, amount in connection.execute(query)}
