"""The first schema: campaigns, hypotheses, runs, outcomes, verdicts, decisions and the chain."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

REAL: sa.types.TypeEngine[float] = sa.Double().with_variant(sa.REAL(), "sqlite")
BIG: sa.types.TypeEngine[int] = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make every table of the first schema."""
    op.create_table(
        "artifact",
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("size", BIG, nullable=False),
        sa.Column("media_type", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("sha256", name=op.f("pk_artifact")),
        sqlite_strict=True,
    )
    op.create_table(
        "campaign",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("alpha", REAL, nullable=False),
        sa.Column("procedure", sa.Text(), nullable=False),
        sa.Column("max_hypotheses", sa.Integer(), nullable=False),
        sa.Column("root_seed", sa.Text(), nullable=False),
        sa.Column("seed_origin", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Text(), nullable=False),
        sa.CheckConstraint("seed_origin IN ('drawn', 'declared')", name=op.f("ck_campaign_seed_origin")),
        sa.CheckConstraint("alpha > 0 AND alpha < 1", name=op.f("ck_campaign_alpha")),
        sa.CheckConstraint("id > 0", name=op.f("ck_campaign_id")),
        sa.CheckConstraint("max_hypotheses >= 1", name=op.f("ck_campaign_max_hypotheses")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_campaign")),
        sa.UniqueConstraint("key", name=op.f("uq_campaign_key")),
        sqlite_strict=True,
    )
    op.create_table(
        "environment",
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("content_json", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("sha256", name=op.f("pk_environment")),
        sqlite_strict=True,
    )
    op.create_table(
        "decision",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("campaign", sa.Integer(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("content_json", sa.Text(), nullable=False),
        sa.Column("content_sha256", sa.Text(), nullable=False),
        sa.Column("prompt", sa.Text(), nullable=True),
        sa.Column("prompt_sha256", sa.Text(), nullable=True),
        sa.Column("model", sa.Text(), nullable=True),
        sa.Column("tokens_in", sa.Integer(), nullable=False),
        sa.Column("tokens_out", sa.Integer(), nullable=False),
        sa.Column("usd", REAL, nullable=False),
        sa.Column("seen_seq", sa.Integer(), nullable=False),
        sa.Column("decided_at", sa.Text(), nullable=False),
        sa.CheckConstraint("actor IN ('planner', 'human', 'framework')", name=op.f("ck_decision_actor")),
        sa.CheckConstraint("id > 0", name=op.f("ck_decision_id")),
        sa.ForeignKeyConstraint(["campaign"], ["campaign.id"], name=op.f("fk_decision_campaign")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_decision")),
        sqlite_strict=True,
    )
    op.create_index(op.f("ix_decision_campaign"), "decision", ["campaign"], unique=False)
    op.create_table(
        "event",
        sa.Column("campaign", sa.Integer(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("ref", sa.Integer(), nullable=False),
        sa.Column("body_sha256", sa.Text(), nullable=False),
        sa.Column("prev_hash", sa.Text(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.CheckConstraint("seq >= 1", name=op.f("ck_event_seq")),
        sa.ForeignKeyConstraint(["campaign"], ["campaign.id"], name=op.f("fk_event_campaign")),
        sa.PrimaryKeyConstraint("campaign", "seq", name=op.f("pk_event")),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_index("event_ref", "event", ["kind", "ref"], unique=True)
    op.create_table(
        "hypothesis",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("campaign", sa.Integer(), nullable=False),
        sa.Column("ordinal", sa.Integer(), nullable=False),
        sa.Column("spec_json", sa.Text(), nullable=False),
        sa.Column("spec_sha256", sa.Text(), nullable=False),
        sa.Column("claim_text", sa.Text(), nullable=False),
        sa.Column("tool", sa.Text(), nullable=False),
        sa.Column("metric", sa.Text(), nullable=False),
        sa.Column("direction", sa.Text(), nullable=False),
        sa.Column("null", REAL, nullable=False),
        sa.Column("sesoi", REAL, nullable=False),
        sa.Column("lo", REAL, nullable=True),
        sa.Column("hi", REAL, nullable=True),
        sa.Column("test", sa.Text(), nullable=False),
        sa.Column("interval", sa.Text(), nullable=False),
        sa.Column("failed", sa.Text(), nullable=False),
        sa.Column("weight", REAL, nullable=False),
        sa.Column("max_units", sa.Integer(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("frozen_at", sa.Text(), nullable=True),
        sa.Column("closed_at", sa.Text(), nullable=True),
        sa.Column("close_reason", sa.Text(), nullable=True),
        sa.CheckConstraint("state IN ('draft', 'frozen', 'closed')", name=op.f("ck_hypothesis_state")),
        sa.CheckConstraint("id > 0", name=op.f("ck_hypothesis_id")),
        sa.CheckConstraint("max_units BETWEEN 1 AND 100000", name=op.f("ck_hypothesis_max_units")),
        sa.CheckConstraint("weight > 0 AND weight <= 1", name=op.f("ck_hypothesis_weight")),
        sa.ForeignKeyConstraint(["campaign"], ["campaign.id"], name=op.f("fk_hypothesis_campaign")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_hypothesis")),
        sa.UniqueConstraint("campaign", "ordinal", name=op.f("uq_hypothesis_campaign_ordinal")),
        sa.UniqueConstraint("campaign", "spec_sha256", name=op.f("uq_hypothesis_campaign_spec_sha256")),
        sqlite_strict=True,
    )
    op.create_table(
        "run",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("campaign", sa.Integer(), nullable=False),
        sa.Column("hypothesis", sa.Integer(), nullable=True),
        sa.Column("phase", sa.Text(), nullable=False),
        sa.Column("plugin", sa.Text(), nullable=False),
        sa.Column("distribution", sa.Text(), nullable=False),
        sa.Column("distribution_version", sa.Text(), nullable=False),
        sa.Column("tool", sa.Text(), nullable=False),
        sa.Column("tool_version", sa.Text(), nullable=False),
        sa.Column("source_sha256", sa.Text(), nullable=False),
        sa.Column("params_json", sa.Text(), nullable=False),
        sa.Column("targets_json", sa.Text(), nullable=False),
        sa.Column("conditions_json", sa.Text(), nullable=True),
        sa.Column("question_sha256", sa.Text(), nullable=False),
        sa.Column("environment", sa.Text(), nullable=True),
        sa.Column("job_sha256", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Text(), nullable=False),
        sa.CheckConstraint(
            "(phase = 'confirm') = (hypothesis IS NOT NULL)", name=op.f("ck_run_hypothesis_of_confirm")
        ),
        sa.CheckConstraint("phase IN ('explore', 'confirm')", name=op.f("ck_run_phase")),
        sa.CheckConstraint("id > 0", name=op.f("ck_run_id")),
        sa.ForeignKeyConstraint(["campaign"], ["campaign.id"], name=op.f("fk_run_campaign")),
        sa.ForeignKeyConstraint(["environment"], ["environment.sha256"], name=op.f("fk_run_environment")),
        sa.ForeignKeyConstraint(["hypothesis"], ["hypothesis.id"], name=op.f("fk_run_hypothesis")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_run")),
        sa.UniqueConstraint("job_sha256", name=op.f("uq_run_job_sha256")),
        sqlite_strict=True,
    )
    op.create_index(op.f("ix_run_campaign"), "run", ["campaign"], unique=False)
    op.create_index(op.f("ix_run_hypothesis"), "run", ["hypothesis"], unique=False)
    op.create_index(op.f("ix_run_question_sha256"), "run", ["question_sha256"], unique=False)
    op.create_table(
        "verdict",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("hypothesis", sa.Integer(), nullable=False),
        sa.Column("as_of_seq", sa.Integer(), nullable=False),
        sa.Column("engine_version", sa.Text(), nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("sign", sa.Integer(), nullable=False),
        sa.Column("estimate", REAL, nullable=True),
        sa.Column("lo", REAL, nullable=True),
        sa.Column("hi", REAL, nullable=True),
        sa.Column("log_e", REAL, nullable=True),
        sa.Column("level", REAL, nullable=False),
        sa.Column("k_star", sa.Integer(), nullable=False),
        sa.Column("units", sa.Integer(), nullable=False),
        sa.Column("failed", sa.Integer(), nullable=False),
        sa.Column("input_sha256", sa.Text(), nullable=False),
        sa.CheckConstraint(
            "label IN ('supported', 'contradicted', 'equivalent', 'inconclusive', 'invalid')",
            name=op.f("ck_verdict_label"),
        ),
        sa.CheckConstraint("id > 0", name=op.f("ck_verdict_id")),
        sa.ForeignKeyConstraint(["hypothesis"], ["hypothesis.id"], name=op.f("fk_verdict_hypothesis")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_verdict")),
        sa.UniqueConstraint(
            "hypothesis",
            "as_of_seq",
            "engine_version",
            name=op.f("uq_verdict_hypothesis_as_of_seq_engine_version"),
        ),
        sqlite_strict=True,
    )
    op.create_table(
        "attempt",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("run", sa.Integer(), nullable=False),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.Column("worker", sa.Text(), nullable=False),
        sa.Column("begun_at", sa.Text(), nullable=False),
        sa.CheckConstraint("fence >= 1", name=op.f("ck_attempt_fence")),
        sa.CheckConstraint("id > 0", name=op.f("ck_attempt_id")),
        sa.ForeignKeyConstraint(["run"], ["run.id"], name=op.f("fk_attempt_run")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_attempt")),
        sa.UniqueConstraint("run", "fence", name=op.f("uq_attempt_run_fence")),
        sqlite_strict=True,
    )
    op.create_table(
        "run_unit",
        sa.Column("run", sa.Integer(), nullable=False),
        sa.Column("unit", sa.Integer(), nullable=False),
        sa.Column("hypothesis", sa.Integer(), nullable=True),
        sa.Column("phase", sa.Text(), nullable=False),
        sa.Column("seed", BIG, nullable=False),
        sa.Column("retry", sa.Integer(), nullable=False),
        sa.CheckConstraint("unit >= 0 AND seed >= 0 AND retry >= 0", name=op.f("ck_run_unit_not_negative")),
        sa.ForeignKeyConstraint(["hypothesis"], ["hypothesis.id"], name=op.f("fk_run_unit_hypothesis")),
        sa.ForeignKeyConstraint(["run"], ["run.id"], name=op.f("fk_run_unit_run")),
        sa.PrimaryKeyConstraint("run", "unit", name=op.f("pk_run_unit")),
        sa.UniqueConstraint("run", "seed", name=op.f("uq_run_unit_run_seed")),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_index("run_unit_confirm", "run_unit", ["hypothesis", "unit"], unique=True)
    op.create_index("run_unit_seed", "run_unit", ["seed"], unique=False)
    op.create_table(
        "attempt_end",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("run", sa.Integer(), nullable=False),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("error_sha256", sa.Text(), nullable=True),
        sa.Column("ended_at", sa.Text(), nullable=False),
        sa.CheckConstraint("id > 0", name=op.f("ck_attempt_end_id")),
        sa.ForeignKeyConstraint(
            ["run", "fence"], ["attempt.run", "attempt.fence"], name=op.f("fk_attempt_end_run_fence")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_attempt_end")),
        sqlite_strict=True,
    )
    op.create_index(op.f("ix_attempt_end_run"), "attempt_end", ["run"], unique=False)
    op.create_table(
        "outcome",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("event_seq", sa.Integer(), nullable=False),
        sa.Column("run", sa.Integer(), nullable=False),
        sa.Column("unit", sa.Integer(), nullable=False),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("copied_from", sa.Integer(), nullable=True),
        sa.CheckConstraint(
            "status IN ('ok', 'failed', 'timeout', 'oom', 'bad_value', 'out_of_range')",
            name=op.f("ck_outcome_status"),
        ),
        sa.CheckConstraint("id > 0", name=op.f("ck_outcome_id")),
        sa.ForeignKeyConstraint(["copied_from"], ["outcome.id"], name=op.f("fk_outcome_copied_from")),
        sa.ForeignKeyConstraint(
            ["run", "fence"], ["attempt.run", "attempt.fence"], name=op.f("fk_outcome_run_fence")
        ),
        sa.ForeignKeyConstraint(
            ["run", "unit"], ["run_unit.run", "run_unit.unit"], name=op.f("fk_outcome_run_unit")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_outcome")),
        sa.UniqueConstraint("run", "unit", name=op.f("uq_outcome_run_unit")),
        sqlite_strict=True,
    )
    op.create_table(
        "measurement",
        sa.Column("outcome", sa.Integer(), nullable=False),
        sa.Column("condition", sa.Text(), nullable=False),
        sa.Column("metric", sa.Text(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("value", REAL, nullable=False),
        sa.ForeignKeyConstraint(["outcome"], ["outcome.id"], name=op.f("fk_measurement_outcome")),
        sa.PrimaryKeyConstraint("outcome", "condition", "metric", name=op.f("pk_measurement")),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_table(
        "outcome_artifact",
        sa.Column("outcome", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["outcome"], ["outcome.id"], name=op.f("fk_outcome_artifact_outcome")),
        sa.ForeignKeyConstraint(["sha256"], ["artifact.sha256"], name=op.f("fk_outcome_artifact_sha256")),
        sa.PrimaryKeyConstraint("outcome", "name", name=op.f("pk_outcome_artifact")),
        sqlite_strict=True,
    )
