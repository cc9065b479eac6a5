"""One database: how it is opened, recognised and refused, and how a transaction begins and fails."""

from __future__ import annotations

import re
import sqlite3
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy import event, exc

from agentkit.errors import LedgerError, MissingExtraError, RuleViolation
from agentkit.ledger import rules, schema

if TYPE_CHECKING:
    from collections.abc import Iterator

APPLICATION_ID = 0x41474B54
"""`AGKT` in the header of a SQLite file: this file is a ledger."""

BUSY_SECONDS = 30
NETWORK_FILE_SYSTEMS = {
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "smbfs",
    "afs",
    "fuse.sshfs",
    "9p",
    "glusterfs",
    "ceph",
    "lustre",
}


class Store:
    """An open ledger database. One connection writes; `write` and `read` are its only transactions.

    Attributes:
        url: what was opened, without a password.
        path: the file, or None on PostgreSQL.
        readonly: whether writing is refused.

    Raises:
        LedgerError: when the file is not a ledger, is damaged, newer, unreadable, or on a network file system.
    """

    def __init__(
        self, url: str | Path, *, readonly: bool = False, busy_seconds: float | None = None
    ) -> None:
        parsed = _parse(url)
        self.readonly = readonly
        self.url = parsed.render_as_string(hide_password=True)
        self.path = Path(parsed.database) if parsed.drivername == "sqlite" and parsed.database else None
        self.busy_seconds = BUSY_SECONDS if busy_seconds is None else busy_seconds
        self._lock = threading.RLock()
        self._connection: sa.Connection | None = None
        if self.path is not None:
            _check_file(self.path, readonly=readonly)
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
            try:
                return sa.create_engine(url, isolation_level="READ COMMITTED")
            except ModuleNotFoundError:
                raise MissingExtraError(
                    "PostgreSQL needs psycopg; run: pip install 'agentkit-perturb[postgres]'"
                ) from None
        target = self.read_only_uri if self.readonly else self.read_only_uri.replace("?mode=ro", "?mode=rwc")

        def connect() -> sqlite3.Connection:
            return sqlite3.connect(
                target, uri=True, timeout=self.busy_seconds, isolation_level=None, check_same_thread=False
            )

        engine = sa.create_engine("sqlite://", creator=connect, poolclass=sa.StaticPool)
        event.listen(engine, "connect", lambda connection, _: self._configure(connection))
        return engine

    def _configure(self, connection: Any) -> None:
        # recursive_triggers: without it REPLACE skips delete triggers. FULL: a commit survives power loss.
        for pragma in ("foreign_keys=ON", "recursive_triggers=ON", "trusted_schema=OFF", "synchronous=FULL"):
            connection.execute(f"PRAGMA {pragma}")

    def _open(self) -> None:
        with translated(self.url):
            self._connection = self.engine.connect()
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
        """Close the connection; SQLite then folds its write-ahead log into the file."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None
            self.engine.dispose()


def _roll_back(connection: sa.Connection) -> None:
    driver = connection.connection.driver_connection
    if driver is not None and driver.in_transaction:  # a full disk may have rolled back already
        driver.execute("ROLLBACK")


@contextmanager
def translated(place: str) -> Iterator[None]:
    """Database errors as ours: a refused rule keeps its code, everything else says what to do."""
    try:
        yield
    except exc.DBAPIError as error:
        raise _translate(place, error) from error
    except sqlite3.Error as error:
        raise _translate_sqlite(place, error) from error


def _translate(place: str, error: exc.DBAPIError) -> LedgerError:
    original = error.orig
    code = getattr(original, "sqlstate", None)
    if isinstance(code, str) and code.startswith("AK"):
        diagnostic = getattr(original, "diag", None)
        return RuleViolation(code, getattr(diagnostic, "message_primary", None) or str(original))
    if isinstance(original, sqlite3.Error):
        return _translate_sqlite(place, original)
    return LedgerError(f"{place}: {str(original).strip()}")


_SQLITE_ADVICE = (
    ("file is not a database", "this is not an agentkit ledger; name another file"),
    ("malformed", "the file is damaged; restore a copy, then run agentkit verify on it"),
    ("disk i/o error", "the disk failed; nothing of this step was kept"),
    ("full", "the disk or quota is full; nothing of this step was kept: free some space and go on"),
    ("locked", "another process held the store too long; nothing of this step was kept: try again"),
    ("unable to open", "the file or its folder cannot be opened; check that it exists and may be written"),
    ("readonly", "the file may not be written; check its permissions"),
)


def _translate_sqlite(place: str, error: sqlite3.Error) -> LedgerError:
    text = str(error)
    if match := re.match(r"(AK\d{3}): (.*)", text):
        return RuleViolation(match[1], match[2])
    advice = next((a for key, a in _SQLITE_ADVICE if key in text.lower()), "nothing of this step was kept")
    return LedgerError(f"{place}: {text}; {advice}")


def _parse(url: str | Path) -> sa.URL:
    text = str(url)
    if isinstance(url, Path) or "://" not in text:
        return sa.URL.create("sqlite", database=str(Path(text).expanduser()))
    try:
        parsed = sa.make_url(text)
    except exc.ArgumentError:
        raise LedgerError(f"store {text!r}: write sqlite:///FILE or postgresql://HOST/NAME") from None
    name = parsed.get_backend_name()
    if name == "sqlite":
        if not parsed.database or parsed.database == ":memory:":
            raise LedgerError("a ledger lives in a file; write sqlite:///FILE")
        return sa.URL.create("sqlite", database=parsed.database)
    if name != "postgresql":
        raise LedgerError(f"store {name!r} is not supported; write sqlite:///FILE or postgresql://HOST/NAME")
    return parsed.set(drivername="postgresql+psycopg")


def _check_file(path: Path, *, readonly: bool) -> None:
    if path.is_dir():
        raise LedgerError(f"{path} is a folder; name a file in it")
    if not path.parent.is_dir():
        raise LedgerError(f"folder {path.parent} does not exist; create it first")
    if readonly and not path.exists():
        raise LedgerError(f"no ledger {path}; a study creates it")
    if (kind := _file_system(path)) in NETWORK_FILE_SYSTEMS:
        raise LedgerError(
            f"{path} lies on a network file system ({kind}), where file locks lie; use a local disk"
        )
    if path.exists():
        try:
            with path.open("rb") as file:
                head = file.read(16)
        except OSError as error:
            raise LedgerError(f"{path} cannot be read: {error.strerror}") from None
        if head and head != b"SQLite format 3\0":
            raise LedgerError(f"{path} is not a SQLite database; name another file")


def _file_system(path: Path) -> str:
    """Type of the file system that holds `path`; empty where the system does not say (not Linux)."""
    try:
        mounts = Path("/proc/self/mounts").read_text()
    except OSError:
        return ""
    found, longest = "", -1
    place = str(path.absolute().parent.resolve())
    for line in mounts.splitlines():
        _, mount, kind, *_ = line.split(" ")
        mount = mount.replace("\\040", " ")
        inside = place == mount or place.startswith(mount.rstrip("/") + "/")
        if inside and len(mount) >= longest:
            found, longest = kind, len(mount)
    return found
