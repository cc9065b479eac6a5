"""The eight rules that the database itself enforces, each written once for SQLite and PostgreSQL.

A rule is a trigger: before the statement changes a row, the first case whose condition holds refuses it with
`AK00n: message`. The conditions are plain SQL that both dialects read; `IS DISTINCT FROM` becomes `IS NOT` for
SQLite before 3.39. `verify` compares the installed triggers with this list.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa

from agentkit.ledger import models

if TYPE_CHECKING:
    from collections.abc import Iterable

WEIGHT_SLACK = "1e-12"

GUARDED_ELSEWHERE = {
    ("event", ("campaign", "seq")),  # AK008
    ("attempt", ("run", "fence")),  # AK007
    ("run_unit", ("hypothesis", "unit")),  # AK005
    ("run_unit", ("run", "seed")),  # AK006
}
"""Keys that another rule keeps from being taken twice, with a better message."""

TITLES = {
    "AK001": "a campaign and a frozen hypothesis never change",
    "AK002": "draft, frozen, closed, in this order; closing needs an outcome for every dispatched unit",
    "AK003": "nothing is deleted, everything but a hypothesis's state is append-only",
    "AK004": "the error budget and a holdout's budget are never overspent",
    "AK005": "a confirm run belongs to a frozen, open hypothesis and takes its next units",
    "AK006": "one seed per unit; a confirm seed was never used by another run",
    "AK007": "an outcome carries the newest fence of its run",
    "AK008": "the chain has no gap, and each link holds the hash of the one before",
}


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


def _changed(columns: Iterable[str]) -> Iterable[tuple[str, str]]:
    return ((c, f'NEW."{c}" IS DISTINCT FROM OLD."{c}"') for c in columns)


def _frozen_rules() -> list[Rule]:
    may_change = {"state", "closed_at", "close_reason"}
    columns = [c.name for c in models.table(models.HypothesisTable).columns]
    cases = [
        Case(f"OLD.state <> 'draft' AND {test}", f"a frozen hypothesis cannot change ({column})")
        for column, test in _changed(c for c in columns if c not in may_change)
    ]
    cases += [
        Case(f"OLD.state <> 'draft' AND NEW.state = OLD.state AND {test}", f"only closing sets {column}")
        for column, test in _changed(("closed_at", "close_reason"))
    ]
    return [
        Rule("AK001", "hypothesis_frozen", "hypothesis", "UPDATE", tuple(cases)),
        Rule("AK001", "campaign_frozen", "campaign", "UPDATE", (Case("1 = 1", "a campaign never changes"),)),
    ]


def _state_rules() -> list[Rule]:
    forbidden = (("closed", "frozen"), ("closed", "draft"), ("frozen", "draft"), ("draft", "closed"))
    moves = [
        Case(f"OLD.state = '{a}' AND NEW.state = '{b}'", f"{a} -> {b} is not allowed") for a, b in forbidden
    ]
    unanswered = (
        "SELECT 1 FROM run_unit u WHERE u.hypothesis = NEW.id AND NOT EXISTS "
        "(SELECT 1 FROM outcome o WHERE o.run = u.run AND o.unit = u.unit)"
    )
    closing = "OLD.state = 'frozen' AND NEW.state = 'closed'"
    return [
        Rule(
            "AK002",
            "insert_draft",
            "hypothesis",
            "INSERT",
            (Case("NEW.state <> 'draft'", "a hypothesis begins as a draft"),),
        ),
        Rule(
            "AK002",
            "states",
            "hypothesis",
            "UPDATE",
            (
                *moves,
                Case("NEW.state = 'frozen' AND NEW.frozen_at IS NULL", "freezing sets frozen_at"),
                Case(
                    "NEW.state <> 'closed' AND (NEW.closed_at IS NOT NULL OR NEW.close_reason IS NOT NULL)",
                    "only closing sets closed_at and close_reason",
                ),
                Case(
                    f"{closing} AND (NEW.closed_at IS NULL OR NEW.close_reason IS NULL)",
                    "closing sets closed_at and close_reason",
                ),
                Case(f"{closing} AND EXISTS ({unanswered})", "a dispatched unit has no outcome"),
            ),
        ),
    ]


def _append_only_rules() -> list[Rule]:
    """No DELETE anywhere, no UPDATE but of a hypothesis, and no INSERT that could replace a row.

    SQLite's REPLACE removes the old row without a delete trigger unless the connection asked for recursive
    triggers; refusing a taken key before the insert holds for every connection.
    """
    rules = []
    for model in models.ALL:
        table = models.table(model)
        name = table.name
        rules.append(
            Rule(
                "AK003", f"{name}_delete", name, "DELETE", (Case("1 = 1", f"{name} rows are never deleted"),)
            )
        )
        if name not in ("hypothesis", "campaign"):
            rules.append(
                Rule("AK003", f"{name}_update", name, "UPDATE", (Case("1 = 1", f"{name} is append-only"),))
            )
        keys = [k for k in _keys(table) if (name, k) not in GUARDED_ELSEWHERE]
        cases = [*(_taken(name, key) for key in keys), *_sealed(name)]
        rules.append(Rule("AK003", f"{name}_insert", name, "INSERT", tuple(cases)))
    return rules


def _keys(table: sa.Table) -> list[tuple[str, ...]]:
    """Primary key and unique keys, by column name."""
    constraints = [
        c for c in table.constraints if isinstance(c, sa.UniqueConstraint | sa.PrimaryKeyConstraint)
    ]
    keys = [tuple(column.name for column in constraint.columns) for constraint in constraints]
    keys += [tuple(str(column.name) for column in index.columns) for index in table.indexes if index.unique]
    return sorted(set(keys), key=lambda k: (len(k), k))


def _taken(table: str, key: tuple[str, ...]) -> Case:
    match = " AND ".join(f'taken."{c}" = NEW."{c}"' for c in key)
    return Case(
        f'EXISTS (SELECT 1 FROM "{table}" taken WHERE {match})',  # noqa: S608 - names of our own tables
        f"{table} is append-only ({', '.join(key)} is taken)",
    )


def _sealed(table: str) -> list[Case]:
    """Parts of a row that the chain already covers may not be added to later."""
    owner = {"measurement": "outcome", "outcome_artifact": "outcome", "run_unit": "run"}.get(table)
    if owner is None:
        return []
    sealed = f"EXISTS (SELECT 1 FROM event e WHERE e.kind = '{owner}' AND e.ref = NEW.{owner})"  # noqa: S608 - names of our own tables
    return [Case(sealed, f"the {owner} of this {table} is sealed")]


def _budget_rules() -> list[Rule]:
    spent = "(SELECT coalesce(sum(h.weight), 0) FROM hypothesis h WHERE h.campaign = NEW.campaign AND h.state <> 'draft')"
    asked = "(SELECT coalesce(sum(q.cost), 0) FROM holdout_query q WHERE q.holdout = NEW.holdout)"
    return [
        Rule(
            "AK004",
            "weights",
            "hypothesis",
            "UPDATE",
            (
                Case(
                    f"OLD.state = 'draft' AND NEW.state <> 'draft' AND {spent} + NEW.weight > 1 + {WEIGHT_SLACK}",
                    "the alpha budget of this campaign is spent; open a new campaign",
                ),
            ),
            locks="NEW.campaign",
        ),
        Rule(
            "AK004",
            "holdout",
            "holdout_query",
            "INSERT",
            (
                Case(
                    f"{asked} + NEW.cost > (SELECT h.budget FROM holdout h WHERE h.id = NEW.holdout)",  # noqa: S608 - names of our own tables
                    "the budget of this holdout is spent",
                ),
            ),
            locks="-NEW.holdout",
        ),
    ]


def _confirm_rules() -> list[Rule]:
    state = "(SELECT h.state FROM hypothesis h WHERE h.id = NEW.hypothesis)"
    of_run = "(SELECT r.{} FROM run r WHERE r.id = NEW.run)"
    return [
        Rule(
            "AK005",
            "confirm_run",
            "run",
            "INSERT",
            (
                Case(
                    f"NEW.phase = 'confirm' AND {state} = 'draft'",
                    "the hypothesis is a draft; freeze it first",
                ),
                Case(f"NEW.phase = 'confirm' AND {state} = 'closed'", "the hypothesis is closed"),
                Case(
                    "NEW.phase = 'confirm' AND NOT EXISTS (SELECT 1 FROM hypothesis h WHERE h.id = NEW.hypothesis "
                    "AND h.campaign = NEW.campaign AND h.tool = NEW.tool)",
                    "the hypothesis is of another campaign or tool",
                ),
            ),
        ),
        Rule(
            "AK005",
            "confirm_unit",
            "run_unit",
            "INSERT",
            (
                Case(
                    f"NEW.phase IS DISTINCT FROM {of_run.format('phase')} "
                    f"OR NEW.hypothesis IS DISTINCT FROM {of_run.format('hypothesis')}",
                    "the unit is of another phase or hypothesis than its run",
                ),
                Case(f"NEW.phase = 'confirm' AND {state} <> 'frozen'", "the hypothesis is not open"),
                Case(
                    "NEW.phase = 'confirm' AND NEW.unit <> "
                    "(SELECT coalesce(max(u.unit), -1) + 1 FROM run_unit u WHERE u.hypothesis = NEW.hypothesis)",
                    "not the next unit of its hypothesis",
                ),
                Case(
                    "NEW.phase = 'confirm' AND NEW.unit >= "
                    "(SELECT h.max_units FROM hypothesis h WHERE h.id = NEW.hypothesis)",
                    "the hypothesis has used all its units",
                ),
            ),
        ),
    ]


def _seed_rules() -> list[Rule]:
    taken = "SELECT 1 FROM run_unit u WHERE u.seed = NEW.seed AND (u.run = NEW.run OR u.phase = 'confirm' OR NEW.phase = 'confirm')"
    return [
        Rule(
            "AK006",
            "seeds",
            "run_unit",
            "INSERT",
            (Case(f"EXISTS ({taken})", "the seed was used before"),),
            locks="0",
        )
    ]


def _fence_rules() -> list[Rule]:
    newest = "(SELECT max(a.fence) FROM attempt a WHERE a.run = NEW.run)"
    return [
        Rule(
            "AK007",
            "outcome_fence",
            "outcome",
            "INSERT",
            (Case(f"NEW.fence IS DISTINCT FROM {newest}", "not the newest fence of its run"),),
        ),
        Rule(
            "AK007",
            "next_fence",
            "attempt",
            "INSERT",
            (Case(f"NEW.fence <> coalesce({newest}, 0) + 1", "not the next fence of its run"),),
        ),
    ]


def _chain_rules() -> list[Rule]:
    newest = "(SELECT max(e.seq) FROM event e WHERE e.campaign = NEW.campaign)"
    last_hash = f"(SELECT e.hash FROM event e WHERE e.campaign = NEW.campaign AND e.seq = {newest})"  # noqa: S608 - names of our own tables
    return [
        Rule(
            "AK008",
            "chain",
            "event",
            "INSERT",
            (
                Case(f"NEW.seq <> coalesce({newest}, 0) + 1", "not the next event of its campaign"),
                Case(
                    f"NEW.seq > 1 AND NEW.prev_hash <> {last_hash}",
                    "prev_hash is not the hash of the last event",
                ),
            ),
            locks="NEW.campaign",
        )
    ]


RULES: tuple[Rule, ...] = (
    *_frozen_rules(),
    *_state_rules(),
    *_append_only_rules(),
    *_budget_rules(),
    *_confirm_rules(),
    *_seed_rules(),
    *_fence_rules(),
    *_chain_rules(),
)


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
