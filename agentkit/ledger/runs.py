"""`Run`: units with their seeds, the attempts to measure them, and what came back, each once."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from agentkit.errors import LedgerError, RuleViolation
from agentkit.ledger import chain, models
from agentkit.ledger.clock import now
from agentkit.ledger.prepared import Prepared, insert
from agentkit.ledger.values import MESSAGE_CHARACTERS, Artifact, Attempt, UnitOutcome
from agentkit.measurements import Measurements

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from agentkit.ledger.campaign import Campaign
    from agentkit.ledger.spec import Spec
    from agentkit.types import Unit

RUN = models.table(models.RunTable)
RUN_UNIT = models.table(models.RunUnitTable)
ATTEMPT = models.table(models.AttemptTable)
ATTEMPT_END = models.table(models.AttemptEndTable)
OUTCOME = models.table(models.OutcomeTable)
MEASUREMENT = models.table(models.MeasurementTable)
ARTIFACT = models.table(models.ArtifactTable)
OUTCOME_ARTIFACT = models.table(models.OutcomeArtifactTable)

WORK = "work"
"""Kind of the note that says where an attempt ran: what no verdict reads, and what somebody may ask later."""

ZERO = sa.literal_column("0", sa.Integer())
_NEWEST_FENCE = Prepared(
    sa.select(sa.func.coalesce(sa.func.max(ATTEMPT.c.fence), ZERO)).where(
        ATTEMPT.c.run == sa.bindparam("run")
    )
)
_ANSWERED = sa.select(OUTCOME.c.unit).where(OUTCOME.c.run == sa.bindparam("run"))
_ANSWERED_BETWEEN = Prepared(
    _ANSWERED.where(OUTCOME.c.unit.between(sa.bindparam("first"), sa.bindparam("last")))
)
_INSERT_OUTCOME, _INSERT_MEASUREMENT = insert(OUTCOME), insert(MEASUREMENT)
_LAST_ID: dict[str, Prepared] = {}
RANGE_SLACK = 1e-12
"""Share of the range's ends by which a value may pass them: the rounding that `agentkit.stats` forgives as well."""


class Run:
    """One call of one tool for some units. Its units and seeds were written before anything was dispatched.

    Attributes:
        id, ref: the row, `7` and `R7`.
        phase: `explore` or `confirm`.
        tool, params, conditions, targets: what to call; conditions None means all.
        units: the paired replicates, ascending.
        hypothesis_id: what it confirms, or None.
    """

    def __init__(
        self, campaign: Campaign, row: dict[str, Any], units: Sequence[Unit], spec: Spec | None
    ) -> None:
        self.campaign = campaign
        self.id: int = row["id"]
        self.ref = f"R{self.id}"
        self.phase: str = row["phase"]
        self.plugin: str = row["plugin"]
        self.tool: str = row["tool"]
        self.tool_version: str = row["tool_version"]
        self.source_sha256: str = row["source_sha256"]
        self.params: dict[str, Any] = json.loads(row["params_json"])
        self.targets: dict[str, str] = json.loads(row["targets_json"])
        conditions = row["conditions_json"]
        self.conditions: list[str] | None = None if conditions is None else json.loads(conditions)
        self.environment: str | None = row["environment"]
        self.question_sha256: str = row["question_sha256"]
        self.job_sha256: str = row["job_sha256"]
        self.hypothesis_id: int | None = row["hypothesis"]
        self.units = list(units)
        self._spec = spec
        self._indices = frozenset(u.index for u in units)

    def begin_attempt(self, worker: str) -> int:
        """Hand the run to a worker; returns the fence that its answers must carry. Older fences become void."""
        store = self.campaign.ledger.store
        with store.write() as connection:
            fence = int(_NEWEST_FENCE(connection, {"run": self.id}).scalar_one()) + 1
            id = next_id(connection, ATTEMPT)
            row = {"id": id, "run": self.id, "fence": fence, "worker": worker, "begun_at": now()}
            connection.execute(ATTEMPT.insert(), row)
            self.campaign.seal(connection, [chain.Link("attempt", id, chain.body("attempt", row))])
        return fence

    def record(self, fence: int, outcomes: Sequence[UnitOutcome]) -> None:
        """Keep what came back, all of it or nothing; units that have an outcome already keep it.

        Raises:
            RuleViolation: AK007 when a newer attempt has begun (kept as an attempt's end, never as an outcome).
            LedgerError: an outcome of a unit that this run does not have.
        """
        if foreign := sorted({o.unit for o in outcomes} - self._indices):
            raise LedgerError(f"unit {foreign[0]} is not one of run {self.ref}; nothing was recorded")
        with self.campaign.ledger.store.write() as connection:
            newest = _NEWEST_FENCE(connection, {"run": self.id}).scalar_one()
            if fence == newest:
                self._record(connection, fence, outcomes)
                return
            if 0 < fence < newest:
                self._end(connection, fence, "late", f"answered after attempt {newest} began")
        raise RuleViolation(
            "AK007", f"fence {fence} is {'older' if fence < newest else 'newer'} than {newest}"
        )

    def _record(self, connection: sa.Connection, fence: int, outcomes: Sequence[UnitOutcome]) -> None:
        units = [o.unit for o in outcomes]
        if not units:
            return
        asked = {"run": self.id, "first": min(units), "last": max(units)}
        answered = set(_ANSWERED_BETWEEN(connection, asked).scalars())
        fresh: dict[int, UnitOutcome] = {}
        for outcome in outcomes:
            if outcome.unit not in answered:
                fresh.setdefault(outcome.unit, _judged(outcome, self._spec))
        write_outcomes(connection, self, fence, list(fresh.values()))

    def end_attempt(
        self, fence: int, status: str, error: str = "", *, work: Mapping[str, Any] | None = None
    ) -> None:
        """Note how an attempt ended: done, lost, cancelled, or the error that refused it.

        Args:
            fence: of the attempt.
            status: how it ended.
            error: why, where it did not end well.
            work: where and how its jobs ran (see `work`); sealed with the attempt's end.
        """
        with self.campaign.ledger.store.write() as connection:
            self._end(connection, fence, status, error)
            if work is not None:
                content = {"run": self.ref, "fence": fence, **work}
                self.campaign.decide_in(connection, "framework", WORK, content)

    def _end(self, connection: sa.Connection, fence: int, status: str, error: str) -> None:
        id = next_id(connection, ATTEMPT_END)
        row = {
            "id": id,
            "run": self.id,
            "fence": fence,
            "status": status,
            "error": error[:MESSAGE_CHARACTERS],
            "error_sha256": hashlib.sha256(error.encode()).hexdigest() if error else None,
            "ended_at": now(),
        }
        connection.execute(ATTEMPT_END.insert(), row)
        self.campaign.seal(connection, [chain.Link("attempt_end", id, chain.body("attempt_end", row))])

    def answered(self) -> set[int]:
        """Indices of the units that have an outcome, whatever its status."""
        with self.campaign.ledger.store.read() as connection:
            return set(connection.execute(_ANSWERED, {"run": self.id}).scalars())

    def missing(self) -> list[Unit]:
        """The units without an outcome, ascending."""
        answered = self.answered()
        return [u for u in self.units if u.index not in answered]

    def measurements(self) -> Measurements:
        """Everything measured so far at ok units, conditions and metrics in the tool's order."""
        query = (
            sa.select(OUTCOME.c.unit, MEASUREMENT.c.condition, MEASUREMENT.c.metric, MEASUREMENT.c.value)
            .join(OUTCOME, OUTCOME.c.id == MEASUREMENT.c.outcome)
            .where(OUTCOME.c.run == self.id, OUTCOME.c.status == "ok")
            .order_by(OUTCOME.c.unit, MEASUREMENT.c.position)
        )
        with self.campaign.ledger.store.read() as connection:
            rows = [tuple(row) for row in connection.execute(query)]
        if not rows:
            raise LedgerError(f"run {self.ref} has no measurements yet")
        return Measurements.from_rows(rows)

    def outcomes(self) -> dict[int, str]:
        """Status by unit index, of the units that have one."""
        query = (
            sa.select(OUTCOME.c.unit, OUTCOME.c.status)
            .where(OUTCOME.c.run == self.id)
            .order_by(OUTCOME.c.unit)
        )
        with self.campaign.ledger.store.read() as connection:
            return {row.unit: row.status for row in connection.execute(query)}

    def failures(self) -> dict[int, str]:
        """What is known of each unit that has an outcome but no numbers, by unit index."""
        query = (
            sa.select(OUTCOME.c.unit, OUTCOME.c.status, OUTCOME.c.message)
            .where(OUTCOME.c.run == self.id, OUTCOME.c.status != "ok")
            .order_by(OUTCOME.c.unit)
        )
        with self.campaign.ledger.store.read() as connection:
            return {row.unit: f"{row.status}: {row.message}" for row in connection.execute(query)}

    def artifacts(self) -> list[Artifact]:
        """The files that its units left, by unit and then by name; each content under each name once."""
        query = (
            sa.select(ARTIFACT.c.sha256, ARTIFACT.c.size, ARTIFACT.c.media_type, OUTCOME_ARTIFACT.c.name)
            .join(OUTCOME_ARTIFACT, OUTCOME_ARTIFACT.c.sha256 == ARTIFACT.c.sha256)
            .join(OUTCOME, OUTCOME.c.id == OUTCOME_ARTIFACT.c.outcome)
            .where(OUTCOME.c.run == self.id)
            .order_by(OUTCOME.c.unit, OUTCOME_ARTIFACT.c.name)
        )
        with self.campaign.ledger.store.read() as connection:
            return list(dict.fromkeys(Artifact(*row) for row in connection.execute(query)))

    def attempts(self) -> list[Attempt]:
        """Every attempt so far, oldest first."""
        query = (
            sa.select(ATTEMPT.c.fence, ATTEMPT.c.worker, ATTEMPT_END.c.status, ATTEMPT_END.c.error)
            .outerjoin(
                ATTEMPT_END,
                sa.and_(ATTEMPT_END.c.run == ATTEMPT.c.run, ATTEMPT_END.c.fence == ATTEMPT.c.fence),
            )
            .where(ATTEMPT.c.run == self.id)
            .order_by(ATTEMPT.c.fence, ATTEMPT_END.c.id)
        )
        with self.campaign.ledger.store.read() as connection:
            found = {
                r.fence: Attempt(r.fence, r.worker, r.status, r.error or "")
                for r in connection.execute(query)
            }
        return list(found.values())

    def work(self) -> list[dict[str, Any]]:
        """Where each attempt ran, oldest first: `fence`, `device`, `dtypes`, `threads`, `deterministic`, and `jobs`.

        A job has `worker`, `units` (how many), `status`, `seconds`, `load_s`, `peak_rss` and `peak_device_bytes`
        (bytes), and `oom_retries`. What a worker that died could not tell is None.
        """
        return [w for w in self.campaign.decisions(WORK) if w["run"] == self.ref]

    def __repr__(self) -> str:
        return f"Run({self.ref}, {self.phase}, {self.tool}, {len(self.units)} units)"


def next_id(connection: sa.Connection, table: sa.Table) -> int:
    """The next free id of a table, so that a row can be sealed with its id before it is read back.

    Never a sequence: those leave gaps behind failed transactions, and ids would tell of them.
    """
    if connection.dialect.name == "postgresql":  # on SQLite the one writer holds the write lock
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(0)))
    if table.name not in _LAST_ID:
        _LAST_ID[table.name] = Prepared(sa.select(sa.func.coalesce(sa.func.max(table.c.id), ZERO)))
    return int(_LAST_ID[table.name](connection, {}).scalar_one()) + 1


def write_outcomes(
    connection: sa.Connection,
    run: Run,
    fence: int,
    outcomes: Sequence[UnitOutcome],
    copied_from: Sequence[int | None] | None = None,
) -> None:
    """Insert outcomes with all they own and seal them, one link each, in the order given."""
    if not outcomes:
        return
    head = run.campaign.head_in(connection)
    first = next_id(connection, OUTCOME)
    rows, measured, artifacts, links = [], [], [], []
    for i, outcome in enumerate(outcomes):
        row = {
            "id": first + i,
            "event_seq": head.seq + 1 + i,
            "run": run.id,
            "unit": outcome.unit,
            "fence": fence,
            "status": outcome.status,
            "message": outcome.message[:MESSAGE_CHARACTERS],
            "copied_from": copied_from[i] if copied_from else None,
        }
        table = [] if outcome.measurements is None else [r[1:] for r in outcome.measurements.rows()]
        files = sorted((a.name, a.sha256, a.size, a.media_type) for a in outcome.artifacts)
        rows.append(row)
        artifacts += [(first + i, *file) for file in files]
        measured += [
            {"outcome": first + i, "condition": c, "metric": m, "position": p, "value": v}
            for p, (c, m, v) in enumerate(table)
        ]
        links.append(
            chain.Link("outcome", first + i, chain.body("outcome", row, measurements=table, artifacts=files))
        )
    _INSERT_OUTCOME(connection, rows)
    if measured:
        _INSERT_MEASUREMENT(connection, measured)
    if artifacts:
        _write_artifacts(connection, artifacts)
    run.campaign.seal(connection, links, head)


def _write_artifacts(connection: sa.Connection, files: Sequence[tuple[int, str, str, int, str]]) -> None:
    hashes = sorted({sha for _, _, sha, _, _ in files})
    known = set(
        connection.execute(sa.select(ARTIFACT.c.sha256).where(ARTIFACT.c.sha256.in_(hashes))).scalars()
    )
    fresh = {sha: {"sha256": sha, "size": size, "media_type": media} for _, _, sha, size, media in files}
    if rows := [row for sha, row in fresh.items() if sha not in known]:
        connection.execute(ARTIFACT.insert(), rows)
    connection.execute(
        OUTCOME_ARTIFACT.insert(),
        [{"outcome": o, "name": name, "sha256": sha} for o, name, sha, _, _ in files],
    )


def _judged(outcome: UnitOutcome, spec: Spec | None) -> UnitOutcome:
    """An ok outcome of a confirm run that lacks what its hypothesis reads, or breaks a declared range, is not ok."""
    if spec is None or outcome.status != "ok" or outcome.measurements is None:
        return outcome
    metric = spec.metric_range
    values = {c: v for _, c, m, v in outcome.measurements.rows() if m == spec.metric and c in spec.contrast}
    if absent := sorted(set(spec.contrast) - set(values)):
        message = f"no value of {spec.metric!r} in condition {absent[0]!r}"
        return UnitOutcome(outcome.unit, "bad_value", outcome.measurements, message, outcome.artifacts)
    slack = RANGE_SLACK * max(abs(metric.low or 0.0), abs(metric.high or 0.0))
    for condition, value in values.items():
        known = metric.baseline if condition == "baseline" else None
        if not metric.contains(value, slack) or (known is not None and abs(value - known) > slack):
            message = (
                f"{spec.metric!r} is {value!r} in condition {condition!r}, outside its declared {metric}"
            )
            return UnitOutcome(outcome.unit, "out_of_range", outcome.measurements, message, outcome.artifacts)
    return outcome
