"""Bring a store to the newest schema with Alembic."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory

from agentkit.errors import LedgerError
from agentkit.ledger import rules, schema

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import sqlalchemy as sa

logger = logging.getLogger(__name__)


def configuration(connection: sa.Connection | None = None) -> Config:
    """Alembic's settings for our migration folder, without a file."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.attributes["connection"] = connection
    return config


@contextmanager
def rules_lifted(connection: sa.Connection) -> Iterator[None]:
    """Lift the rules while tables change, then put all of them back and check that no row lost its parent."""
    rules.remove(connection)
    yield
    rules.install(connection)
    if connection.dialect.name == "postgresql":
        schema.grant_reader(connection)
    elif (orphan := connection.exec_driver_sql("PRAGMA foreign_key_check").first()) is not None:
        raise LedgerError(f"the upgrade would leave {orphan[0]} row {orphan[1]} without its {orphan[2]}")


def upgrade(connection: sa.Connection, to: str = "head") -> None:
    """Run the missing migrations in the caller's transaction: all of them or none."""
    logger.info("upgrading the ledger's schema")
    with rules_lifted(connection):
        command.upgrade(configuration(connection), to)


def revisions() -> Sequence[str]:
    """Every revision from the first to the newest, as the migration files say."""
    scripts = ScriptDirectory.from_config(configuration())
    return [script.revision for script in reversed(list(scripts.walk_revisions()))]
