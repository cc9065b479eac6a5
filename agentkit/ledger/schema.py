"""Which version of the tables a database holds: made fresh, brought up to date, or refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

from agentkit.errors import LedgerError
from agentkit.ledger import models, rules
from agentkit.ledger.dberrors import translated

if TYPE_CHECKING:
    from collections.abc import Sequence

REVISIONS: Sequence[str] = ("0001", "0002", "0003")
"""Alembic revisions from the first to the newest; a test compares them with the migration files."""

VERSION_TABLE = sa.Table(
    "alembic_version", sa.MetaData(), sa.Column("version_num", sa.String(32), primary_key=True)
)


READER = "agentkit_reader"
"""PostgreSQL role that may read everything but a campaign's root seed."""


def bring_up(connection: sa.Connection, *, readonly: bool) -> None:
    """Make the tables in an empty database, migrate an older one, and refuse anything else.

    Raises:
        LedgerError: an unknown or newer version, or an older one that was opened read-only.
    """
    version = _version(connection)
    if version == REVISIONS[-1]:
        return
    if version is None:
        _create(connection, readonly=readonly)
    elif version not in REVISIONS:
        raise LedgerError(
            f"the store has schema {version!r}; this agentkit knows up to {REVISIONS[-1]!r}: update agentkit"
        )
    elif readonly:
        raise LedgerError(
            f"the store has the older schema {version!r}; open it once for writing to upgrade it: agentkit db upgrade"
        )
    else:
        from agentkit.ledger.migrations.run import upgrade

        upgrade(connection)


def version_of(url: sa.URL) -> str | None:
    """The revision that a database holds, opened for looking only; None where it holds no ledger."""
    engine = sa.create_engine(url)
    try:
        with translated(url.render_as_string(hide_password=True)), engine.connect() as connection:
            return _version(connection)
    finally:
        engine.dispose()


def _version(connection: sa.Connection) -> str | None:
    if not sa.inspect(connection).has_table(VERSION_TABLE.name):
        return None
    return connection.execute(sa.select(VERSION_TABLE.c.version_num)).scalar_one_or_none()


def _create(connection: sa.Connection, *, readonly: bool) -> None:
    if readonly:
        raise LedgerError("the database holds no ledger; a study creates it")
    taken = set(sa.inspect(connection).get_table_names()) & {models.table(m).name for m in models.ALL}
    if taken:
        raise LedgerError(
            f"the database has a foreign table {sorted(taken)[0]!r}; use an empty database or schema"
        )
    models.METADATA.create_all(connection)
    VERSION_TABLE.create(connection)
    connection.execute(VERSION_TABLE.insert().values(version_num=REVISIONS[-1]))
    rules.install(connection)
    if connection.dialect.name == "postgresql":
        grant_reader(connection)


def grant_reader(connection: sa.Connection) -> None:
    """Make the reading role where it is missing, and let it read every column but the root."""
    exists = connection.exec_driver_sql("SELECT 1 FROM pg_roles WHERE rolname = %s", (READER,)).first()
    if exists is None:
        connection.exec_driver_sql(f"CREATE ROLE {READER} NOLOGIN")
    connection.exec_driver_sql(f"GRANT {READER} TO CURRENT_USER")
    own = connection.exec_driver_sql("SELECT current_schema()").scalar_one()
    quoted = connection.dialect.identifier_preparer.quote(own)
    connection.exec_driver_sql(f"GRANT USAGE ON SCHEMA {quoted} TO {READER}")
    for model in models.ALL:
        table = models.table(model)
        shown = ", ".join(f'"{c.name}"' for c in table.columns if (table.name, c.name) != ROOT)
        connection.exec_driver_sql(f'GRANT SELECT ({shown}) ON "{table.name}" TO {READER}')


ROOT = ("campaign", "root_seed")
"""Who knows the root of an open campaign could try specs until the seeds please."""
