"""What the data of a campaign say now, and the verdicts that are written down."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from agentkit.ledger import chain, models
from agentkit.ledger.dispatch import units_dispatched
from agentkit.ledger.evidence import verdicts_of
from agentkit.ledger.hypothesis import HYPOTHESIS
from agentkit.ledger.runs import next_id
from agentkit.ledger.values import Status, VerdictRow
from agentkit.stats.eprocess import ENGINE_VERSION
from agentkit.stats.procedures import online_ebh
from agentkit.stats.verdicts import campaign_log_e, judge

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agentkit.ledger.campaign import Campaign
    from agentkit.ledger.evidence import Sample
    from agentkit.ledger.hypothesis import Hypothesis

VERDICT = models.table(models.VerdictTable)


def status(campaign: Campaign, hypothesis: Hypothesis) -> Status:
    """What the verdict would be if the hypothesis were closed now; looking costs nothing."""
    sample, spec = hypothesis.sample(), hypothesis.spec
    others = [h for h in campaign.hypotheses() if h.id != hypothesis.id]
    log_e = [_log_e(h, h.sample()) if h.state == "closed" else -math.inf for h in others]
    weights = [h.weight for h in others]
    k_star, levels = online_ebh(
        [*log_e, _log_e(hypothesis, sample)], [*weights, hypothesis.weight], campaign.alpha
    )
    level = float(levels[-1])
    if sample.invalid is None:
        verdict = judge(spec.claim, sample.values, sample.failed, level, k_star)
    else:
        [verdict] = verdicts_of([spec], [sample], [hypothesis.weight], campaign.alpha)
    with campaign.ledger.store.read() as connection:
        dispatched = units_dispatched(connection, hypothesis.id)
    return Status(
        units=verdict.units,
        failed=verdict.failed,
        units_left=spec.max_units - dispatched,
        estimate=verdict.estimate,
        lo=verdict.lo,
        hi=verdict.hi,
        log_e=verdict.log_e,
        level=level,
        k_star=k_star,
        label=verdict.label,
        reason=verdict.reason,
        decided=verdict.label in ("supported", "contradicted", "equivalent"),
    )


def _log_e(hypothesis: Hypothesis, sample: Sample) -> float:
    """Log e of the units so far; minus infinity where the rows themselves make the hypothesis invalid."""
    if sample.log_e is None:
        sample.log_e = campaign_log_e(hypothesis.spec.claim, sample.values, sample.failed, sample.invalid)
    return sample.log_e


def append_verdicts(campaign: Campaign) -> None:
    """Write a verdict row for every closed hypothesis whose verdict is not yet what its rows say."""
    with campaign.ledger.store.write() as connection:
        closed = [h for h in campaign.hypotheses() if h.state == "closed"]
        samples = [h.sample() for h in closed]
        found = verdicts_of([h.spec for h in closed], samples, [h.weight for h in closed], campaign.alpha)
        head = campaign.head_in(connection)
        fresh: list[dict[str, Any]] = []
        for hypothesis, sample, verdict in zip(closed, samples, found, strict=True):
            row = {"hypothesis": hypothesis.id, "engine_version": ENGINE_VERSION}
            row |= asdict(verdict) | {"input_sha256": sample.sha256}
            if _says_something_new(connection, row):
                fresh.append(row | {"as_of_seq": head.seq})
        if not fresh:
            return
        first = next_id(connection, VERDICT)
        rows = [row | {"id": first + i} for i, row in enumerate(fresh)]
        connection.execute(VERDICT.insert(), rows)
        links = [chain.Link("verdict", first + i, chain.body("verdict", row)) for i, row in enumerate(rows)]
        campaign.seal(connection, links, head)


def _says_something_new(connection: sa.Connection, row: Mapping[str, Any]) -> bool:
    newest = (
        sa.select(VERDICT)
        .where(VERDICT.c.hypothesis == row["hypothesis"], VERDICT.c.engine_version == row["engine_version"])
        .order_by(VERDICT.c.id.desc())
        .limit(1)
    )
    stored = connection.execute(newest).mappings().one_or_none()
    return stored is None or any(stored[name] != value for name, value in row.items())


def newest_verdicts(campaign: Campaign) -> list[VerdictRow]:
    """The newest stored verdict of each hypothesis that has one, by ordinal."""
    newest = sa.select(sa.func.max(VERDICT.c.id)).group_by(VERDICT.c.hypothesis)
    query = (
        sa.select(VERDICT, HYPOTHESIS.c.ordinal)
        .join(HYPOTHESIS, HYPOTHESIS.c.id == VERDICT.c.hypothesis)
        .where(HYPOTHESIS.c.campaign == campaign.id, VERDICT.c.id.in_(newest))
        .order_by(HYPOTHESIS.c.ordinal)
    )
    with campaign.ledger.store.read() as connection:
        rows = connection.execute(query).mappings().all()
    return [VerdictRow(ref=f"H{row['hypothesis']}", **row) for row in rows]
