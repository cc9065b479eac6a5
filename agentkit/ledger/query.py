"""`query`: somebody's own SELECT on a connection that can do nothing else, within a row and a time limit."""

from __future__ import annotations

import re
import sqlite3
import time
from typing import TYPE_CHECKING, Any

from agentkit.errors import LedgerError
from agentkit.ledger.store import translated

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from agentkit.ledger.store import Store

MOST_ROWS = 10_000
MOST_SECONDS = 10.0
MOST_BYTES = 10_000_000
HIDDEN = ("campaign", "root_seed")
"""Reads as NULL: who knows the root of an open campaign could try specs until the seeds please."""

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
        if action == sqlite3.SQLITE_READ and (table, column) == HIDDEN:
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
    if "interrupted" in text:
        return f"the query ran longer than {most_seconds:g} s and was stopped; narrow it with WHERE or LIMIT"
    if "not authorized" in text or "prohibited" in text or "one statement" in text:
        return f"only one SELECT is allowed here ({text}); nothing was run"
    return f"the query cannot be answered: {text}"


def _ask_postgres(
    store: Store, sql: str, parameters: Sequence[Any] | Mapping[str, Any], most_rows: int, most_seconds: float
) -> list[dict[str, Any]]:
    with store.engine.connect() as connection, translated(store.url), connection.begin():
        connection.exec_driver_sql("SET TRANSACTION READ ONLY")
        connection.exec_driver_sql(f"SET LOCAL statement_timeout = {int(most_seconds * 1000)}")
        result = connection.exec_driver_sql(
            sql, dict(parameters) if isinstance(parameters, dict) else tuple(parameters)
        )
        rows = [dict(row) for row in result.mappings().fetchmany(most_rows + 1)]
    return [row | dict.fromkeys(HIDDEN[1:] if HIDDEN[1] in row else (), None) for row in rows]
