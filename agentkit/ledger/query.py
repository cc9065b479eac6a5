"""`query`: somebody's own SELECT on a connection that can do nothing else, within a row and a time limit."""

from __future__ import annotations

import re
import sqlite3
import time
from typing import TYPE_CHECKING, Any

from agentkit.errors import LedgerError
from agentkit.ledger import schema
from agentkit.ledger.dberrors import translated

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from agentkit.ledger.store import Store

MOST_ROWS = 10_000
MOST_SECONDS = 10.0
MOST_BYTES = 10_000_000
_ALLOWED = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE}


def query(
    store: Store,
    sql: str,
    parameters: Sequence[Any] | Mapping[str, Any] = (),
    *,
    most_rows: int = MOST_ROWS,
    most_seconds: float = MOST_SECONDS,
) -> list[dict[str, Any]]:
    """Rows of one SELECT as dicts.

    Raises:
        LedgerError: for anything but one SELECT, or one that passes `most_rows` or `most_seconds`.
    """
    if not re.match(r"\s*(select|with|values)\b", sql, re.IGNORECASE):
        raise LedgerError("only one SELECT is allowed here; nothing was run")
    ask = _ask_sqlite if store.path is not None else _ask_postgres
    rows = ask(store, sql, parameters, most_rows, most_seconds)
    if len(rows) > most_rows:
        raise LedgerError(f"the query gives more than {most_rows} rows; add LIMIT, or count and group")
    return rows


def _ask_sqlite(
    store: Store, sql: str, parameters: Sequence[Any] | Mapping[str, Any], most_rows: int, most_seconds: float
) -> list[dict[str, Any]]:
    def authorize(action: int, table: str | None, column: str | None, *_: object) -> int:
        if action == sqlite3.SQLITE_READ and (table, column) == schema.ROOT:
            return sqlite3.SQLITE_IGNORE
        return sqlite3.SQLITE_OK if action in _ALLOWED else sqlite3.SQLITE_DENY

    deadline = time.monotonic() + most_seconds
    with translated(store.url):
        connection = sqlite3.connect(store.read_only_uri, uri=True, isolation_level=None)
    try:
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MOST_BYTES)
        connection.set_authorizer(authorize)
        connection.set_progress_handler(lambda: int(time.monotonic() > deadline), 10_000)
        cursor = connection.execute(sql, parameters)
        names = [column[0] for column in cursor.description or ()]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchmany(most_rows + 1)]
    except (sqlite3.Error, sqlite3.Warning) as error:
        raise LedgerError(_reason(error, most_seconds)) from None
    finally:
        connection.close()


def _reason(error: Exception, most_seconds: float) -> str:
    text = str(error)
    if "interrupted" in text or "statement timeout" in text:
        return f"the query ran longer than {most_seconds:g} s and was stopped; narrow it with WHERE or LIMIT"
    if any(
        word in text
        for word in ("not authorized", "prohibited", "one statement", "multiple commands", "read-only")
    ):
        return f"only one SELECT is allowed here ({text}); nothing was run"
    if "permission denied" in text:
        return "a column of this table is hidden (campaign.root_seed): name the columns you want"
    return f"the query cannot be answered: {text.splitlines()[0]}"


def _ask_postgres(
    store: Store, sql: str, parameters: Sequence[Any] | Mapping[str, Any], most_rows: int, most_seconds: float
) -> list[dict[str, Any]]:
    with store.read() as shared:
        driver = shared.engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
    import psycopg

    try:
        with psycopg.connect(driver) as connection, connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION READ ONLY")
            cursor.execute(f"SET LOCAL statement_timeout = {int(most_seconds * 1000)}")
            cursor.execute(f"SET LOCAL ROLE {schema.READER}")  # may not see the root
            cursor.execute(sql, parameters or None, prepare=True)  # prepared: one statement only
            names = [column.name for column in cursor.description or ()]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchmany(most_rows + 1)]
    except psycopg.Error as error:
        raise LedgerError(_reason(error, most_seconds)) from None
