"""Answers that are known already: an explore unit that was measured once need not be measured again."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from agentkit.canon import sha256_of
from agentkit.ledger.runs import (
    ARTIFACT,
    MEASUREMENT,
    OUTCOME,
    OUTCOME_ARTIFACT,
    RUN,
    RUN_UNIT,
    write_outcomes,
)
from agentkit.ledger.values import Artifact, UnitOutcome
from agentkit.measurements import Measurements
from agentkit.types import BASELINE

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from agentkit.ledger.campaign import Campaign
    from agentkit.ledger.runs import Run

WORKER = "memory"
"""Name under which remembered answers are recorded as an attempt."""


def recall(run: Run) -> list[int]:
    """Copy into an explore run what the same question answered before; returns all units it has answers for.

    The same question: tool, version, source, params, targets with their fingerprints, environment and seed.
    Failures are never answers, and no confirm run is ever answered from memory.
    """
    if run.phase == "explore":
        with run.campaign.ledger.store.write() as connection:
            answers = _answers(connection, run)
            if answers:
                fence = run.begin_attempt(WORKER)
                write_outcomes(
                    connection, run, fence, [o for o, _ in answers], [source for _, source in answers]
                )
                run.end_attempt(fence, "done")
    return sorted(run.answered())


def known_units(
    campaign: Campaign,
    question_sha256: str,
    units: int,
    environment: Mapping[str, Any] | None,
) -> set[int]:
    """Which of the first `units` units of a question this campaign has answered, whatever the conditions asked for."""
    query = (
        sa.select(OUTCOME.c.unit)
        .join(RUN, RUN.c.id == OUTCOME.c.run)
        .where(
            RUN.c.campaign == campaign.id,
            RUN.c.phase == "explore",
            RUN.c.question_sha256 == question_sha256,
            RUN.c.environment.is_not_distinct_from(
                None if environment is None else sha256_of(dict(environment))
            ),
            RUN.c.conditions_json.is_(None),
            OUTCOME.c.status == "ok",
            OUTCOME.c.unit < units,
        )
        .distinct()
    )
    with campaign.ledger.store.read() as connection:
        return set(connection.execute(query).scalars())


def _answers(connection: sa.Connection, run: Run) -> list[tuple[UnitOutcome, int]]:
    """Outcomes to copy, each with the id it is copied from, lowest id first per unit."""
    source, asked = RUN_UNIT.alias("source"), RUN_UNIT.alias("asked")
    answered = run.answered()
    query = (
        sa.select(asked.c.unit, OUTCOME.c.id, RUN.c.conditions_json)
        .join(source, sa.and_(source.c.seed == asked.c.seed, source.c.unit == asked.c.unit))
        .join(RUN, RUN.c.id == source.c.run)
        .join(OUTCOME, sa.and_(OUTCOME.c.run == source.c.run, OUTCOME.c.unit == source.c.unit))
        .where(
            asked.c.run == run.id,
            source.c.run != run.id,
            OUTCOME.c.status == "ok",
            RUN.c.phase == "explore",
            RUN.c.question_sha256 == run.question_sha256,
            RUN.c.environment.is_not_distinct_from(run.environment),
        )
        .order_by(asked.c.unit, OUTCOME.c.id)
    )
    found: dict[int, tuple[UnitOutcome, int]] = {}
    for unit, outcome, conditions in connection.execute(query).all():
        if unit in answered or unit in found or not _covers(conditions, run.conditions):
            continue
        table = _measurements_of(connection, outcome, unit, run.conditions)
        if table is not None:
            found[unit] = (UnitOutcome(unit, "ok", table, "", _artifacts_of(connection, outcome)), outcome)
    return list(found.values())


def _covers(conditions_json: str | None, asked: Collection[str] | None) -> bool:
    if conditions_json is None:
        return True
    return asked is not None and set(asked) <= {*json.loads(conditions_json), BASELINE}


def _measurements_of(
    connection: sa.Connection, outcome: int, unit: int, conditions: Collection[str] | None
) -> Measurements | None:
    """The stored table of one outcome, cut to the conditions asked for; None where one of them is absent."""
    query = sa.select(MEASUREMENT.c.condition, MEASUREMENT.c.metric, MEASUREMENT.c.value)
    rows = connection.execute(query.where(MEASUREMENT.c.outcome == outcome).order_by(MEASUREMENT.c.position))
    table = Measurements.from_rows((unit, c, m, v) for c, m, v in rows)
    if conditions is None:
        return table
    return table.select(conditions=conditions) if set(conditions) <= set(table.conditions) else None


def _artifacts_of(connection: sa.Connection, outcome: int) -> list[Artifact]:
    query = (
        sa.select(ARTIFACT.c.sha256, ARTIFACT.c.size, ARTIFACT.c.media_type, OUTCOME_ARTIFACT.c.name)
        .join(OUTCOME_ARTIFACT, OUTCOME_ARTIFACT.c.sha256 == ARTIFACT.c.sha256)
        .where(OUTCOME_ARTIFACT.c.outcome == outcome)
        .order_by(OUTCOME_ARTIFACT.c.name)
    )
    return [Artifact(*row) for row in connection.execute(query)]
