"""The eight rules that the database itself enforces, AK001 to AK008, as triggers of both dialects."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

from agentkit.ledger import models
from agentkit.ledger.rule import Case, Rule

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
