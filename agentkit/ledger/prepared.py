"""Statements of the fast path, compiled once: a single outcome must not cost a millisecond of our own time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class Prepared:
    """A statement whose text is kept for each dialect. Call it with its parameters by name, or many of them."""

    def __init__(self, statement: sa.Executable) -> None:
        self._statement = statement
        self._texts: dict[str, tuple[str, tuple[str, ...] | None]] = {}

    def __call__(
        self, connection: sa.Connection, values: Mapping[str, Any] | Sequence[Mapping[str, Any]]
    ) -> sa.CursorResult[Any]:
        """Run it inside the caller's transaction."""
        text, order = self._text(connection.dialect)
        if order is None:  # the driver takes names
            return connection.exec_driver_sql(text, values)
        if isinstance(values, list):
            return connection.exec_driver_sql(text, [tuple(row[name] for name in order) for row in values])
        return connection.exec_driver_sql(text, tuple(values[name] for name in order))  # type: ignore[call-overload]  # a mapping

    def _text(self, dialect: sa.Dialect) -> tuple[str, tuple[str, ...] | None]:
        if dialect.name not in self._texts:
            compiled = self._statement.compile(dialect=dialect)  # type: ignore[attr-defined]  # all statements compile
            order = None if compiled.positiontup is None else tuple(compiled.positiontup)
            self._texts[dialect.name] = str(compiled), order
        return self._texts[dialect.name]


def insert(table: sa.Table) -> Prepared:
    """INSERT of all columns of a table."""
    return Prepared(sa.insert(table).values({c.name: sa.bindparam(c.name) for c in table.columns}))
