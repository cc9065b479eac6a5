"""How a claim is frozen, so that its seeds can exist, and closed, so that its verdict counts."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import sqlalchemy as sa

from agentkit.errors import RuleViolation, SpecError
from agentkit.ledger import chain
from agentkit.ledger.clock import now
from agentkit.ledger.dispatch import units_unanswered
from agentkit.ledger.hypothesis import HYPOTHESIS, Hypothesis
from agentkit.ledger.runs import RUN_UNIT, next_id

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from agentkit.ledger.campaign import Campaign
    from agentkit.ledger.spec import Spec

OPEN: Literal["open"] = "open"
MOST_HYPOTHESES = 10_000
REASON_CHARACTERS = 200


def register(
    campaign: Campaign,
    spec: Spec,
    pilot: NDArray[np.float64] | None,
    allow_underpowered: bool,
    claim_text: str,
) -> Hypothesis:
    """Freeze a claim; see `Campaign.register`."""
    spec.checked()
    if (known := campaign.find(spec)) is not None:
        raise SpecError(f"this spec is registered already: {known.described()}")
    if not allow_underpowered:
        campaign.plan(spec, pilot).refuse_underpowered()
    with campaign.ledger.store.write() as connection:
        spent = campaign.count(connection)
        most = MOST_HYPOTHESES if campaign.max_hypotheses == OPEN else campaign.max_hypotheses
        if spent >= most:
            raise RuleViolation("AK004", f"alpha budget spent ({spent} of {most}); open a new campaign")
        row = _draft(campaign, next_id(connection, HYPOTHESIS), spent + 1, spec, claim_text)
        connection.execute(HYPOTHESIS.insert(), row)
        row |= {"state": "frozen", "frozen_at": now()}
        connection.execute(
            HYPOTHESIS.update().where(HYPOTHESIS.c.id == row["id"]),
            {"state": "frozen", "frozen_at": row["frozen_at"]},
        )
        campaign.seal(connection, [chain.Link("freeze", row["id"], chain.body("freeze", row))])
    return campaign.hypothesis_from(row)


def _draft(campaign: Campaign, id: int, ordinal: int, spec: Spec, claim_text: str) -> dict[str, Any]:
    content = spec.model_dump(mode="json")
    return {
        "id": id,
        "campaign": campaign.id,
        "ordinal": ordinal,
        "spec_json": json.dumps(content, sort_keys=True),
        "spec_sha256": spec.sha256,
        "claim_text": claim_text,
        **{name: content[name] for name in ("tool", "metric", "direction", "null", "sesoi")},
        "lo": spec.lo if np.isfinite(spec.lo) else None,
        "hi": spec.hi if np.isfinite(spec.hi) else None,
        **{name: content[name] for name in ("test", "interval", "failed", "max_units")},
        "weight": campaign.weight(ordinal),
        "state": "draft",
        "frozen_at": None,
        "closed_at": None,
        "close_reason": None,
    }


def close(campaign: Campaign, hypothesis: Hypothesis, reason: str) -> None:
    """Take no more units; see `Campaign.close`."""
    with campaign.ledger.store.write() as connection:
        if hypothesis.state == "closed":
            raise RuleViolation("AK002", f"hypothesis {hypothesis.described()}; it cannot be closed again")
        count = sa.select(sa.func.count()).select_from(RUN_UNIT).where(units_unanswered(hypothesis.id))
        if waiting := connection.execute(count).scalar_one():
            raise RuleViolation(
                "AK002",
                f"{waiting} units of hypothesis {hypothesis.ref} have no outcome; resume their run first",
            )
        change = {"state": "closed", "closed_at": now(), "close_reason": reason[:REASON_CHARACTERS]}
        connection.execute(HYPOTHESIS.update().where(HYPOTHESIS.c.id == hypothesis.id), change)
        row = {"id": hypothesis.id} | change
        campaign.seal(connection, [chain.Link("close", hypothesis.id, chain.body("close", row))])
