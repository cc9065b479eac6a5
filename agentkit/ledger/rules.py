"""Putting the eight rules in force, lifting them for a migration, and telling whether all of them are.

`rule_list` holds the rules themselves. `verify` compares the installed triggers with that list.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from agentkit.ledger import models
from agentkit.ledger.rule_list import RULES, TITLES

if TYPE_CHECKING:
    import sqlalchemy as sa

__all__ = ["RULES", "TITLES", "expected", "faults", "install", "installed", "remove"]


def install(connection: sa.Connection) -> None:
    """Put all rules in force, replacing what is there. Every migration ends with this."""
    remove(connection)
    if connection.dialect.name == "sqlite":
        for rule in RULES:
            connection.exec_driver_sql(rule.sqlite())
        return
    for statement in (s for rule in RULES for s in rule.postgres()):
        connection.exec_driver_sql(statement)
    for statement in _no_truncate():
        connection.exec_driver_sql(statement)


def remove(connection: sa.Connection) -> None:
    """Lift all rules, inside a transaction that ends by putting them back.

    SQLite refuses to rename a re-created table while some trigger speaks of it, and drops the triggers of the old one.
    """
    if connection.dialect.name == "sqlite":
        for name in installed(connection):
            connection.exec_driver_sql(f"DROP TRIGGER {name}")
        return
    rows = connection.exec_driver_sql(f"SELECT tgname, relname {_TRIGGERS}").all()
    for name, table in rows:
        connection.exec_driver_sql(f'DROP TRIGGER {name} ON "{table}"')


_TRIGGERS = (
    "FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid JOIN pg_class c ON c.oid = t.tgrelid "
    "WHERE NOT t.tgisinternal AND t.tgname ~ '^ak[0-9]{3}_' AND c.relnamespace = current_schema()::regnamespace"
)


def _no_truncate() -> list[str]:
    statements = [
        "CREATE OR REPLACE FUNCTION ak003_truncate() RETURNS trigger LANGUAGE plpgsql AS "
        f"$rule${TRUNCATE_BODY}$rule$"
    ]
    for model in models.ALL:
        name = models.table(model).name
        statements += [
            f'CREATE TRIGGER ak003_{name}_truncate BEFORE TRUNCATE ON "{name}" '
            "FOR EACH STATEMENT EXECUTE FUNCTION ak003_truncate()",
        ]
    return statements


TRUNCATE_BODY = "BEGIN RAISE EXCEPTION 'nothing is ever truncated' USING ERRCODE = 'AK003'; END"


def installed(connection: sa.Connection) -> dict[str, str]:
    """Our triggers in this database by name, with the text that is in force; a disabled one has no text."""
    if connection.dialect.name == "sqlite":
        rows = connection.exec_driver_sql("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'")
        return {name: sql for name, sql in rows if re.match(r"ak\d{3}_", name)}
    rows = connection.exec_driver_sql(
        f"SELECT t.tgname, CASE WHEN t.tgenabled IN ('O', 'A') THEN p.prosrc ELSE '' END {_TRIGGERS}"
    )
    return {name: body for name, body in rows}  # noqa: C416 - rows are not pairs to mypy


def expected(dialect: str) -> dict[str, str]:
    """What `installed` must return."""
    if dialect == "sqlite":
        return {rule.trigger: rule.sqlite() for rule in RULES}
    truncate = {f"ak003_{models.table(m).name}_truncate": TRUNCATE_BODY for m in models.ALL}
    return {rule.trigger: rule.postgres_body() for rule in RULES} | truncate


def faults(connection: sa.Connection) -> list[str]:
    """Each rule that is missing, altered or disabled, in words; empty when all are in force."""
    found, wanted = installed(connection), expected(connection.dialect.name)
    missing = [f"rule {name} is missing" for name in sorted(wanted.keys() - found.keys())]
    altered = [
        f"rule {n} is altered or disabled" for n in sorted(wanted) if n in found and found[n] != wanted[n]
    ]
    return missing + altered
