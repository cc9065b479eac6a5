"""What tables are made of: named constraints, and column types that are spelled out.

So SQLite can hold them in STRICT tables, and PostgreSQL keeps 64-bit seeds.
"""

from __future__ import annotations

from typing import Any, ClassVar

import sqlalchemy as sa
from sqlalchemy.orm import registry
from sqlmodel import Field, SQLModel

METADATA = sa.MetaData(
    naming_convention={
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    }
)
"""Every constraint has a name: a batch change on SQLite silently leaves out a CHECK that has none."""

REGISTRY = registry(metadata=METADATA)
"""Private, so that a user's own SQLModel tables neither clash with ours nor land in our file."""

REAL: sa.types.TypeEngine[float] = sa.Double().with_variant(sa.REAL(), "sqlite")
BIG: sa.types.TypeEngine[int] = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


class Row(SQLModel, registry=REGISTRY):
    """Base of all tables: STRICT on SQLite."""

    __table_args__: ClassVar[Any] = {"sqlite_strict": True}


def check(name: str, condition: str) -> sa.CheckConstraint:
    """A CHECK by name."""
    return sa.CheckConstraint(condition, name=name)


def strict(*constraints: Any) -> tuple[Any, ...]:
    """Constraints of a table, STRICT on SQLite."""
    return (*constraints, {"sqlite_strict": True})


def clustered(*constraints: Any) -> tuple[Any, ...]:
    """The same for a table whose rows lie in the order of their long primary key, stored once."""
    return (*constraints, {"sqlite_strict": True, "sqlite_with_rowid": False})


def key() -> Any:
    """A positive integer primary key; -1 is what SQLite shows a trigger in place of a key not yet drawn."""
    return Field(default=None, sa_type=sa.Integer, primary_key=True)


def text(**options: Any) -> Any:
    """A text column."""
    return Field(sa_type=sa.Text, **options)


def integer(**options: Any) -> Any:
    """A 32-bit integer column."""
    return Field(sa_type=sa.Integer, **options)


def big(**options: Any) -> Any:
    """A 64-bit integer column: seeds and sequence numbers."""
    return Field(sa_type=BIG, **options)


def real(**options: Any) -> Any:
    """A double precision column."""
    return Field(sa_type=REAL, **options)


def table(model: type[Row]) -> sa.Table:
    """The SQLAlchemy table behind a model, for statements on the fast path."""
    return model.__table__  # type: ignore[attr-defined,no-any-return]  # added by SQLModel when the class is made
