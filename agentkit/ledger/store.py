"""One database: how it is opened and recognised, and how a transaction begins and ends."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy import event

from agentkit.errors import LedgerError, MissingExtraError
from agentkit.ledger import rules, schema
from agentkit.ledger.dberrors import translated
from agentkit.ledger.places import check_file, parse_url

if TYPE_CHECKING:
    from collections.abc import Iterator

APPLICATION_ID = 0x41474B54
"""`AGKT` in the header of a SQLite file: this file is a ledger."""

BUSY_SECONDS = 30
LINK = {
    "connect_timeout": 30,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
}
"""A PostgreSQL server that no longer answers is given up after a minute; without these a half-open link waits for ever.

Each may be set in the store's URL; `tcp_user_timeout` is in milliseconds.
"""


class Lease(Protocol):
    """What keeps other drivers out of a campaign."""

    def check(self) -> None:
        """Raise CampaignLockedError when it was taken away."""

    def renew(self, connection: sa.Connection) -> None:
        """Take it again after the connection was lost and made anew."""

    def release(self) -> None:
        """Let the next driver in."""


class Store:
    """An open ledger database. One connection writes; `write` and `read` are its only transactions.

    Attributes:
        url: what was opened, without a password.
        path: the file, or None on PostgreSQL.
        readonly: whether writing is refused.

    Raises:
        LedgerError: when the file is not a ledger, is damaged, newer, unreadable, or on a network file system.
    """

    def __init__(self, url: str | Path, *, readonly: bool = False, busy_seconds: float | None = None) -> None:
        parsed = parse_url(url)
        self.readonly = readonly
        self.url = parsed.render_as_string(hide_password=True)
        self.path = Path(parsed.database) if parsed.drivername == "sqlite" and parsed.database else None
        self.busy_seconds = BUSY_SECONDS if busy_seconds is None else busy_seconds
        self._lock = threading.RLock()
        self._connection: sa.Connection | None = None
        self.leases: list[Lease] = []
        self._connections_made = self._connections_leased = 0
        if self.path is not None:
            check_file(self.path, readonly=readonly)
        self.engine = self._engine(parsed)
        try:
            self._open()
        except BaseException:
            self.engine.dispose()
            raise

    @property
    def dialect(self) -> str:
        """`sqlite` or `postgresql`."""
        return self.engine.dialect.name

    @property
    def read_only_uri(self) -> str:
        """What sqlite3 opens for looking only."""
        return f"file:{quote(str(Path(self.path or '').absolute()))}?mode=ro"

    def _engine(self, url: sa.URL) -> sa.Engine:
        if url.drivername != "sqlite":
            return self._postgres(url)
        target = self.read_only_uri if self.readonly else self.read_only_uri.replace("?mode=ro", "?mode=rwc")

        def connect() -> sqlite3.Connection:
            return sqlite3.connect(
                target, uri=True, timeout=self.busy_seconds, isolation_level=None, check_same_thread=False
            )

        engine = sa.create_engine("sqlite://", creator=connect, poolclass=sa.StaticPool)
        event.listen(engine, "connect", lambda connection, _: self._configure(connection))
        return engine

    def _postgres(self, url: sa.URL) -> sa.Engine:
        try:
            settings = {name: value for name, value in LINK.items() if name not in url.query}
            engine = sa.create_engine(
                url, isolation_level="READ COMMITTED", pool_size=1, connect_args=settings
            )
        except ModuleNotFoundError:
            raise MissingExtraError(
                "PostgreSQL needs psycopg; run: pip install 'agentkit-perturb[postgres]'"
            ) from None

        def count(_connection: Any, _record: Any) -> None:
            self._connections_made += 1

        event.listen(engine, "connect", count)
        return engine

    def _configure(self, connection: Any) -> None:
        # recursive_triggers: without it REPLACE skips delete triggers. FULL: a commit survives power loss.
        for pragma in ("recursive_triggers=ON", "trusted_schema=OFF", "synchronous=FULL"):
            connection.execute(f"PRAGMA {pragma}")

    def _open(self) -> None:
        with translated(self.url):
            self._connection = self.engine.connect()
            if self.readonly and self.dialect == "postgresql":
                self._connection = self._connection.execution_options(postgresql_readonly=True)
            if self.dialect == "sqlite":
                self._recognise_sqlite(self._connection)
            with self._transaction("BEGIN" if self.readonly else "BEGIN IMMEDIATE") as connection:
                schema.bring_up(connection, readonly=self.readonly)
                # who only looks may look at a store whose rules were tampered with: verify must name the rows
                if not self.readonly and (faults := rules.faults(connection)):
                    raise LedgerError(
                        f"{self.url}: {faults[0]} ({len(faults)} in all); nothing was written. "
                        "Somebody altered this database: compare it with a copy, agentkit verify names the damage"
                    )
            if self.dialect == "sqlite":  # not before: a migration re-creates tables that others refer to
                self._connection.exec_driver_sql("PRAGMA foreign_keys=ON")
                self._connection.rollback()

    def _recognise_sqlite(self, connection: sa.Connection) -> None:
        application, tables = (
            connection.exec_driver_sql(q).scalar_one()
            for q in ("PRAGMA application_id", "SELECT count(*) FROM sqlite_master")
        )
        connection.rollback()
        if application == APPLICATION_ID:
            return
        if tables or application:
            raise LedgerError(
                f"{self.url} is a SQLite database, but not an agentkit ledger; name another file"
            )
        if self.readonly:
            raise LedgerError(f"{self.url} is empty; a study creates it")
        connection.exec_driver_sql("PRAGMA journal_mode=WAL")
        connection.exec_driver_sql(f"PRAGMA application_id={APPLICATION_ID}")
        connection.rollback()

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """One transaction that may change rows; all of it is kept or none.

        Raises:
            RuleViolation: a rule refused a statement.
            LedgerError: the store is read-only, locked by another process, full or damaged.
        """
        if self.readonly:
            raise LedgerError(f"{self.url} was opened read-only; nothing was written")
        with self._transaction("BEGIN IMMEDIATE") as connection:
            for lease in self.leases:
                lease.check()
            if self._connections_leased != self._connections_made:
                for lease in self.leases:
                    lease.renew(connection)
                self._connections_leased = self._connections_made
            yield connection

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """One transaction that sees one state of the store."""
        with self._transaction("BEGIN") as connection:
            yield connection

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[sa.Connection]:
        with self._lock, translated(self.url):
            connection = self._connection
            if connection is None:
                raise LedgerError(f"{self.url} is closed")
            if connection.in_transaction():  # a read inside a write sees what was written
                yield connection
                return
            with connection.begin():
                if self.dialect == "sqlite":
                    connection.exec_driver_sql(begin)
                try:
                    yield connection
                except BaseException:
                    if self.dialect == "sqlite":
                        _roll_back(connection)
                    raise
                if self.dialect == "sqlite":
                    try:
                        connection.exec_driver_sql("COMMIT")
                    except BaseException:
                        _roll_back(connection)
                        raise

    def close(self) -> None:
        """Close the connection and let other drivers in; SQLite then folds its write-ahead log into the file."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None
            self.engine.dispose()
            while self.leases:
                self.leases.pop().release()


def _roll_back(connection: sa.Connection) -> None:
    driver = connection.connection.driver_connection
    if driver is not None and driver.in_transaction:  # a full disk may have rolled back already
        driver.execute("ROLLBACK")
