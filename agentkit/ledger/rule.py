"""`Rule`: one trigger, written once for SQLite and PostgreSQL.

Before the statement changes a row, the first case whose condition holds refuses it with `AK00n: message`. The
conditions are plain SQL that both dialects read; `IS DISTINCT FROM` becomes `IS NOT` for SQLite before 3.39.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Case:
    """When a statement is refused, and what it is told."""

    condition: str
    message: str


@dataclass(frozen=True)
class Rule:
    """One trigger: `moment` is INSERT, UPDATE or DELETE; `locks` serialises writers of a campaign on PostgreSQL."""

    code: str
    name: str
    table: str
    moment: str
    cases: tuple[Case, ...]
    locks: str | None = None

    @property
    def trigger(self) -> str:
        """Name of the trigger (and of its PostgreSQL function)."""
        return f"{self.code.lower()}_{self.name}"

    def sqlite(self) -> str:
        """The CREATE TRIGGER statement for SQLite."""
        branches = " ".join(
            f"WHEN {_for_sqlite(c.condition)} THEN RAISE(ABORT, '{self.code}: {c.message}')"
            for c in self.cases
        )
        return (
            f'CREATE TRIGGER {self.trigger} BEFORE {self.moment} ON "{self.table}" '
            f"BEGIN SELECT CASE {branches} END; END"
        )

    def postgres_body(self) -> str:
        """The PL/pgSQL block that PostgreSQL runs."""
        lock = f"PERFORM pg_advisory_xact_lock({self.locks}); " if self.locks else ""
        branches = " ".join(
            f"{'IF' if i == 0 else 'ELSIF'} {c.condition} THEN RAISE EXCEPTION '{c.message}' USING ERRCODE = '{self.code}';"
            for i, c in enumerate(self.cases)
        )
        row = "OLD" if self.moment == "DELETE" else "NEW"
        return f"BEGIN {lock}{branches} END IF; RETURN {row}; END"

    def postgres(self) -> list[str]:
        """The statements that create function and trigger on PostgreSQL."""
        return [
            f"CREATE OR REPLACE FUNCTION {self.trigger}() RETURNS trigger LANGUAGE plpgsql AS $rule${self.postgres_body()}$rule$",
            f'CREATE TRIGGER {self.trigger} BEFORE {self.moment} ON "{self.table}" '
            f"FOR EACH ROW EXECUTE FUNCTION {self.trigger}()",
        ]


def _for_sqlite(condition: str) -> str:
    return condition.replace("IS NOT DISTINCT FROM", "IS").replace("IS DISTINCT FROM", "IS NOT")
