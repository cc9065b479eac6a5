"""The tables. Every row but a hypothesis's state is written once; see `rules` for what the database enforces.

Those of claims, runs and verdicts are here, those of conversations in `conversation_models`.
"""

from __future__ import annotations

import sqlalchemy as sa

from agentkit.ledger.columns import (
    METADATA,
    Row,
    big,
    check,
    clustered,
    integer,
    key,
    real,
    strict,
    table,
    text,
)
from agentkit.ledger.conversation_models import (
    MessageTable,
    SessionTable,
    SpendTable,
    ToolCallEndTable,
    ToolCallTable,
    TurnEndTable,
    TurnTable,
)

__all__ = [
    "ALL",
    "METADATA",
    "ArtifactTable",
    "AttemptEndTable",
    "AttemptTable",
    "CampaignTable",
    "DecisionTable",
    "EnvironmentTable",
    "EventTable",
    "HoldoutQueryTable",
    "HoldoutTable",
    "HypothesisTable",
    "MeasurementTable",
    "MessageTable",
    "OutcomeArtifactTable",
    "OutcomeTable",
    "Row",
    "RunTable",
    "RunUnitTable",
    "SessionTable",
    "SpendTable",
    "ToolCallEndTable",
    "ToolCallTable",
    "TurnEndTable",
    "TurnTable",
    "VerdictTable",
    "table",
]


class CampaignTable(Row, table=True):
    """A goal with its own error level, root seed and number of hypotheses. Never changes."""

    __tablename__ = "campaign"
    __table_args__ = strict(
        check("id", "id > 0"),
        check("alpha", "alpha > 0 AND alpha < 1"),
        check("max_hypotheses", "max_hypotheses >= 1"),
        check("seed_origin", "seed_origin IN ('drawn', 'declared')"),
    )
    id: int | None = key()
    key: str = text(unique=True)
    alpha: float = real()
    procedure: str = text()
    max_hypotheses: int = integer()
    root_seed: str = text()
    seed_origin: str = text()
    created_at: str = text()


class HypothesisTable(Row, table=True):
    """A frozen claim. The plain columns repeat the spec so that SQL can ask about them."""

    __tablename__ = "hypothesis"
    __table_args__ = strict(
        sa.UniqueConstraint("campaign", "ordinal"),
        sa.UniqueConstraint("campaign", "spec_sha256"),
        check("id", "id > 0"),
        check("state", "state IN ('draft', 'frozen', 'closed')"),
        check("weight", "weight > 0 AND weight <= 1"),
        check("max_units", "max_units BETWEEN 1 AND 100000"),
    )
    id: int | None = key()
    campaign: int = integer(foreign_key="campaign.id")
    ordinal: int = integer()
    spec_json: str = text()
    spec_sha256: str = text()
    claim_text: str = text()
    tool: str = text()
    metric: str = text()
    direction: str = text()
    null: float = real()
    sesoi: float = real()
    lo: float | None = real(default=None, nullable=True)
    hi: float | None = real(default=None, nullable=True)
    test: str = text()
    interval: str = text()
    failed: str = text()
    weight: float = real()
    max_units: int = integer()
    state: str = text()
    frozen_at: str | None = text(default=None, nullable=True)
    closed_at: str | None = text(default=None, nullable=True)
    close_reason: str | None = text(default=None, nullable=True)


class EnvironmentTable(Row, table=True):
    """Where runs were made: versions, device, determinism flags; each content once."""

    __tablename__ = "environment"
    sha256: str = text(primary_key=True)
    content_json: str = text()


class RunTable(Row, table=True):
    """One call of one tool for some units, written before it is dispatched."""

    __tablename__ = "run"
    __table_args__ = strict(
        check("id", "id > 0"),
        check("phase", "phase IN ('explore', 'confirm')"),
        check("hypothesis_of_confirm", "(phase = 'confirm') = (hypothesis IS NOT NULL)"),
    )
    id: int | None = key()
    campaign: int = integer(foreign_key="campaign.id", index=True)
    hypothesis: int | None = integer(foreign_key="hypothesis.id", default=None, nullable=True, index=True)
    phase: str = text()
    plugin: str = text()
    distribution: str = text()
    distribution_version: str = text()
    tool: str = text()
    tool_version: str = text()
    source_sha256: str = text()
    params_json: str = text()
    targets_json: str = text()
    conditions_json: str | None = text(default=None, nullable=True)
    question_sha256: str = text(index=True)
    environment: str | None = text(foreign_key="environment.sha256", default=None, nullable=True)
    job_sha256: str = text(unique=True)
    created_at: str = text()


class RunUnitTable(Row, table=True):
    """The units of a run with their seeds; all conditions of a unit share the seed."""

    __tablename__ = "run_unit"
    __table_args__ = clustered(
        sa.Index("run_unit_confirm", "hypothesis", "unit", unique=True),
        sa.Index("run_unit_seed", "seed"),
        sa.UniqueConstraint("run", "seed"),
        check("not_negative", "unit >= 0 AND seed >= 0 AND retry >= 0"),
    )
    run: int = integer(foreign_key="run.id", primary_key=True)
    unit: int = integer(primary_key=True)
    hypothesis: int | None = integer(foreign_key="hypothesis.id", default=None, nullable=True)
    phase: str = text()
    seed: int = big()
    retry: int = integer()


class AttemptTable(Row, table=True):
    """A run handed to a worker; the fence tells a late answer from the newest."""

    __tablename__ = "attempt"
    __table_args__ = strict(
        sa.UniqueConstraint("run", "fence"), check("id", "id > 0"), check("fence", "fence >= 1")
    )
    id: int | None = key()
    run: int = integer(foreign_key="run.id")
    fence: int = integer()
    worker: str = text()
    begun_at: str = text()


class AttemptEndTable(Row, table=True):
    """How an attempt ended: done, lost, cancelled, late, or an error."""

    __tablename__ = "attempt_end"
    __table_args__ = strict(
        sa.ForeignKeyConstraint(["run", "fence"], ["attempt.run", "attempt.fence"]),
        check("id", "id > 0"),
    )
    id: int | None = key()
    run: int = integer(index=True)
    fence: int = integer()
    status: str = text()
    error: str = text()
    error_sha256: str | None = text(default=None, nullable=True)
    ended_at: str = text()


class OutcomeTable(Row, table=True):
    """What came back for one unit of one run: once, whatever its status."""

    __tablename__ = "outcome"
    __table_args__ = strict(
        sa.UniqueConstraint("run", "unit"),
        sa.ForeignKeyConstraint(["run", "unit"], ["run_unit.run", "run_unit.unit"]),
        sa.ForeignKeyConstraint(["run", "fence"], ["attempt.run", "attempt.fence"]),
        check("id", "id > 0"),
        check("status", "status IN ('ok', 'failed', 'timeout', 'oom', 'bad_value', 'out_of_range')"),
    )
    id: int | None = key()
    event_seq: int = integer()
    run: int = integer()
    unit: int = integer()
    fence: int = integer()
    status: str = text()
    message: str = text()
    copied_from: int | None = integer(foreign_key="outcome.id", default=None, nullable=True)


class MeasurementTable(Row, table=True):
    """One number: (outcome, condition, metric, value), and its place in the tool's own table."""

    __tablename__ = "measurement"
    __table_args__ = clustered()
    outcome: int = integer(foreign_key="outcome.id", primary_key=True)
    condition: str = text(primary_key=True)
    metric: str = text(primary_key=True)
    position: int = integer()
    value: float = real()


class ArtifactTable(Row, table=True):
    """A stored file, named by its content."""

    __tablename__ = "artifact"
    sha256: str = text(primary_key=True)
    size: int = big()
    media_type: str = text()


class OutcomeArtifactTable(Row, table=True):
    """Which artifacts came with an outcome, under which names."""

    __tablename__ = "outcome_artifact"
    __table_args__ = strict()
    outcome: int = integer(foreign_key="outcome.id", primary_key=True)
    name: str = text(primary_key=True)
    sha256: str = text(foreign_key="artifact.sha256")


class DecisionTable(Row, table=True):
    """What planner, human or framework decided, and how far it had seen the chain when it did."""

    __tablename__ = "decision"
    __table_args__ = strict(
        check("id", "id > 0"), check("actor", "actor IN ('planner', 'human', 'framework')")
    )
    id: int | None = key()
    campaign: int = integer(foreign_key="campaign.id", index=True)
    actor: str = text()
    kind: str = text()
    content_json: str = text()
    content_sha256: str = text()
    prompt: str | None = text(default=None, nullable=True)
    prompt_sha256: str | None = text(default=None, nullable=True)
    model: str | None = text(default=None, nullable=True)
    tokens_in: int = integer()
    tokens_out: int = integer()
    usd: float = real()
    seen_seq: int = integer()
    decided_at: str = text()


class HoldoutTable(Row, table=True):
    """A finite evaluation set that may be asked a limited number of times."""

    __tablename__ = "holdout"
    __table_args__ = strict(sa.UniqueConstraint("campaign", "set_sha256"), check("id", "id > 0"))
    id: int | None = key()
    campaign: int = integer(foreign_key="campaign.id")
    set_sha256: str = text()
    method: str = text()
    threshold: float = real()
    tau: float = real()
    budget: int = integer()


class HoldoutQueryTable(Row, table=True):
    """One question to a holdout: what was guessed, what was answered, what it cost."""

    __tablename__ = "holdout_query"
    __table_args__ = strict(
        sa.UniqueConstraint("holdout", "n"),
        check("id", "id > 0"),
        check("cost", "cost IN (0, 1)"),
    )
    id: int | None = key()
    holdout: int = integer(foreign_key="holdout.id")
    n: int = integer()
    query_sha256: str = text()
    guess: float = real()
    answer: float = real()
    cost: int = integer()


class VerdictTable(Row, table=True):
    """What the data said about a hypothesis when the chain stood at `as_of_seq`."""

    __tablename__ = "verdict"
    __table_args__ = strict(
        sa.UniqueConstraint("hypothesis", "as_of_seq", "engine_version"),
        check("id", "id > 0"),
        check("label", "label IN ('supported', 'contradicted', 'equivalent', 'inconclusive', 'invalid')"),
    )
    id: int | None = key()
    hypothesis: int = integer(foreign_key="hypothesis.id")
    as_of_seq: int = integer()
    engine_version: str = text()
    label: str = text()
    reason: str = text()
    sign: int = integer()
    estimate: float | None = real(default=None, nullable=True)
    lo: float | None = real(default=None, nullable=True)
    hi: float | None = real(default=None, nullable=True)
    log_e: float | None = real(default=None, nullable=True)
    level: float = real()
    k_star: int = integer()
    units: int = integer()
    failed: int = integer()
    input_sha256: str = text()


class EventTable(Row, table=True):
    """The chain: one link for each row that must never change; `ref` is the row's id, `kind` says the table."""

    __tablename__ = "event"
    __table_args__ = clustered(sa.Index("event_ref", "kind", "ref", unique=True), check("seq", "seq >= 1"))
    campaign: int = integer(foreign_key="campaign.id", primary_key=True)
    seq: int = integer(primary_key=True)
    kind: str = text()
    ref: int = integer()
    body_sha256: str = text()
    prev_hash: str = text()
    hash: str = text()


ALL: tuple[type[Row], ...] = (
    CampaignTable, HypothesisTable, EnvironmentTable, RunTable, RunUnitTable, AttemptTable, AttemptEndTable,
    OutcomeTable, MeasurementTable, ArtifactTable, OutcomeArtifactTable, DecisionTable, HoldoutTable,
    HoldoutQueryTable, VerdictTable, EventTable, MessageTable, SessionTable, TurnTable, TurnEndTable,
    ToolCallTable, ToolCallEndTable, SpendTable,
)  # fmt: skip
