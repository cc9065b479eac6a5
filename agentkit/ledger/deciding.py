"""Who decided what, and how much of the chain he could see."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from agentkit.canon import sha256_of
from agentkit.ledger import chain, models
from agentkit.ledger.clock import now
from agentkit.ledger.runs import next_id

if TYPE_CHECKING:
    from collections.abc import Mapping

    import sqlalchemy as sa

    from agentkit.ledger.campaign import Campaign

DECISION = models.table(models.DecisionTable)


def decide(
    campaign: Campaign,
    connection: sa.Connection,
    actor: str,
    kind: str,
    content: Mapping[str, Any],
    columns: Mapping[str, Any],
) -> int:
    """Add a decision and seal it; `columns` are those of the table that are not given here. Returns its id."""
    head, id = campaign.head_in(connection), next_id(connection, DECISION)
    absent = {"prompt": None, "prompt_sha256": None, "model": None}
    row = {
        "id": id,
        "campaign": campaign.id,
        "actor": actor,
        "kind": kind,
        "content_json": json.dumps(content, sort_keys=True, ensure_ascii=False, allow_nan=False),
        "content_sha256": sha256_of(dict(content)),
        **absent,
        "tokens_in": 0,
        "tokens_out": 0,
        "usd": 0.0,
        **columns,
        "seen_seq": head.seq,
        "decided_at": now(),
    }
    connection.execute(DECISION.insert(), row)
    campaign.seal(connection, [chain.Link("decision", id, chain.body("decision", row))], head)
    return id
