"""Holdouts: finite evaluation sets with a budget of questions."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

REAL: sa.types.TypeEngine[float] = sa.Double().with_variant(sa.REAL(), "sqlite")


def upgrade() -> None:
    """Make the two tables of holdouts."""
    op.create_table(
        "holdout",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("campaign", sa.Integer(), nullable=False),
        sa.Column("set_sha256", sa.Text(), nullable=False),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("threshold", REAL, nullable=False),
        sa.Column("tau", REAL, nullable=False),
        sa.Column("budget", sa.Integer(), nullable=False),
        sa.CheckConstraint("id > 0", name=op.f("ck_holdout_id")),
        sa.ForeignKeyConstraint(["campaign"], ["campaign.id"], name=op.f("fk_holdout_campaign")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_holdout")),
        sa.UniqueConstraint("campaign", "set_sha256", name=op.f("uq_holdout_campaign_set_sha256")),
        sqlite_strict=True,
    )
    op.create_table(
        "holdout_query",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("holdout", sa.Integer(), nullable=False),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.Column("query_sha256", sa.Text(), nullable=False),
        sa.Column("guess", REAL, nullable=False),
        sa.Column("answer", REAL, nullable=False),
        sa.Column("cost", sa.Integer(), nullable=False),
        sa.CheckConstraint("cost IN (0, 1)", name=op.f("ck_holdout_query_cost")),
        sa.CheckConstraint("id > 0", name=op.f("ck_holdout_query_id")),
        sa.ForeignKeyConstraint(["holdout"], ["holdout.id"], name=op.f("fk_holdout_query_holdout")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_holdout_query")),
        sa.UniqueConstraint("holdout", "n", name=op.f("uq_holdout_query_holdout_n")),
        sqlite_strict=True,
    )
