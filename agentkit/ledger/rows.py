"""Sealed rows read back, in the form in which they were hashed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from agentkit.ledger import chain, models

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

RUN_UNIT = models.table(models.RunUnitTable)
MEASUREMENT = models.table(models.MeasurementTable)
ARTIFACT = models.table(models.ArtifactTable)
OUTCOME_ARTIFACT = models.table(models.OutcomeArtifactTable)


def bodies(
    connection: sa.Connection, refs: Iterable[tuple[str, int]]
) -> dict[tuple[str, int], dict[str, Any]]:
    """The body behind each (kind, id); one that is gone is absent. A few queries, whatever the number."""
    wanted: dict[str, list[int]] = {}
    for kind, ref in refs:
        wanted.setdefault(kind, []).append(ref)
    found: dict[tuple[str, int], dict[str, Any]] = {}
    for kind, ids in wanted.items():
        if kind not in chain.MODEL_OF:
            continue
        table = models.table(chain.MODEL_OF[kind])
        parts = _parts(connection, kind, ids)
        for row in connection.execute(sa.select(table).where(table.c.id.in_(ids))).mappings():
            own = {name: rows.get(row["id"], []) for name, rows in parts.items()}
            found[kind, row["id"]] = chain.body(kind, dict(row), **own)
    return found


def _parts(
    connection: sa.Connection, kind: str, ids: Sequence[int]
) -> dict[str, dict[int, list[Sequence[Any]]]]:
    """The rows that rows of this kind own, by part and owner."""
    if kind == "run":
        units = sa.select(RUN_UNIT.c.run, RUN_UNIT.c.unit, RUN_UNIT.c.seed, RUN_UNIT.c.retry)
        query = units.where(RUN_UNIT.c.run.in_(ids)).order_by(RUN_UNIT.c.run, RUN_UNIT.c.unit)
        return {"units": _grouped(connection, query)}
    if kind == "outcome":
        m, f, a = MEASUREMENT.c, OUTCOME_ARTIFACT.c, ARTIFACT.c
        measured = sa.select(m.outcome, m.condition, m.metric, m.value).where(m.outcome.in_(ids))
        files = (
            sa.select(f.outcome, f.name, f.sha256, a.size, a.media_type)
            .join(ARTIFACT, a.sha256 == f.sha256)
            .where(f.outcome.in_(ids))
        )
        return {
            "measurements": _grouped(connection, measured.order_by(m.outcome, m.position)),
            "artifacts": _grouped(connection, files.order_by(f.outcome, f.name)),
        }
    return {}


def _grouped(connection: sa.Connection, query: sa.Select[Any]) -> dict[int, list[Sequence[Any]]]:
    groups: dict[int, list[Sequence[Any]]] = {}
    for owner, *rest in connection.execute(query):
        groups.setdefault(owner, []).append(rest)
    return groups
