"""What is asked next: runs with their units and seeds, written before anything is sent to a worker."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from agentkit.canon import sha256_of
from agentkit.errors import LedgerError, RuleViolation
from agentkit.ledger import chain, models
from agentkit.ledger.clock import now
from agentkit.ledger.runs import OUTCOME, RUN, RUN_UNIT, Run, next_id
from agentkit.seeds import unit_seed
from agentkit.types import Unit

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from agentkit.ledger.campaign import Campaign
    from agentkit.ledger.hypothesis import Hypothesis
    from agentkit.plugins import Plugins
    from agentkit.tools import Params, Tool

ENVIRONMENT = models.table(models.EnvironmentTable)
JOB_SCHEMA = 1
MOST_EXPLORE_UNITS = 1_000_000
MOST_REPEATS = 1_000


def start_explore(
    campaign: Campaign,
    plugins: Plugins,
    tool: str,
    params: Mapping[str, Any] | Params,
    units: int,
    targets: Mapping[str, str],
    conditions: Sequence[str] | None,
    environment: Mapping[str, Any] | None,
) -> Run:
    """The run of this question; an equal one without a failed unit is returned instead of a new one."""
    if not 1 <= units <= MOST_EXPLORE_UNITS:
        raise LedgerError(f"units={units}: a number from 1 to {MOST_EXPLORE_UNITS} is allowed")
    found, owner = plugins.tool(tool), plugins.owner(tool)
    values = found.parse(params).model_dump(mode="json")
    row = {
        "hypothesis": None,
        "phase": "explore",
        "plugin": owner.name,
        "distribution": owner.distribution,
        "distribution_version": owner.version,
        "tool": found.name,
        "tool_version": found.version,
        "source_sha256": found.source_sha256,
        "params": values,
        "targets": dict(targets),
        "conditions": None if conditions is None else list(dict.fromkeys(conditions)),
        "question_sha256": question_sha256(found, values, targets),
    }
    with campaign.ledger.store.write() as connection:
        for repeat in range(MOST_REPEATS):
            job = _job_sha256(campaign, row, range(units), environment, repeat)
            known = campaign.run_where(connection, RUN.c.job_sha256 == job)
            if known is None:
                return _start(campaign, connection, row, range(units), environment, job)
            if set(known.outcomes().values()) <= {"ok"}:
                return known
    raise LedgerError(f"{tool}: this question was asked {MOST_REPEATS} times and some unit failed each time")


def question_sha256(tool: Tool, params: Mapping[str, Any], targets: Mapping[str, str]) -> str:
    """What makes two explorations the same question: `params` with all defaults, targets with their fingerprints."""
    return sha256_of(
        {
            "tool": tool.name,
            "version": tool.version,
            "source": tool.source_sha256,
            "params": dict(params),
            "targets": dict(targets),
        }
    )


def start_confirm(
    campaign: Campaign, hypothesis: Hypothesis, units: int, environment: Mapping[str, Any] | None
) -> Run:
    """The next units of a hypothesis, or its run that still waits for outcomes."""
    if units < 1:
        raise LedgerError(f"units={units}: at least 1")
    spec = hypothesis.spec
    row = {
        "hypothesis": hypothesis.id,
        "phase": "confirm",
        **{name: getattr(spec, name) for name in ("plugin", "distribution", "distribution_version", "tool")},
        **{name: getattr(spec, name) for name in ("tool_version", "source_sha256", "params", "targets")},
        "conditions": spec.tested_sites(),
        "question_sha256": spec.sha256,
    }
    with campaign.ledger.store.write() as connection:
        if hypothesis.state != "frozen":
            raise RuleViolation("AK005", f"hypothesis {hypothesis.described()}; register a new one")
        if (waiting := _waiting_run(campaign, connection, hypothesis)) is not None:
            return waiting
        first = units_dispatched(connection, hypothesis.id)
        if first >= spec.max_units:
            raise RuleViolation(
                "AK005", f"hypothesis {hypothesis.ref} has used all its {spec.max_units} units"
            )
        indices = range(first, min(first + units, spec.max_units))
        job = _job_sha256(campaign, row, indices, environment, 0)
        return _start(campaign, connection, row, indices, environment, job)


def units_dispatched(connection: sa.Connection, hypothesis: int) -> int:
    """How many units of a hypothesis were handed out; they are 0, 1, 2, … without a gap."""
    last = sa.select(sa.func.max(RUN_UNIT.c.unit)).where(RUN_UNIT.c.hypothesis == hypothesis)
    found = connection.execute(last).scalar_one()
    return 0 if found is None else int(found) + 1


def units_unanswered(hypothesis: int) -> sa.ColumnElement[bool]:
    """Condition on `run_unit`: handed out for this hypothesis and without an outcome."""
    answered = sa.exists().where(OUTCOME.c.run == RUN_UNIT.c.run, OUTCOME.c.unit == RUN_UNIT.c.unit)
    return sa.and_(RUN_UNIT.c.hypothesis == hypothesis, ~answered)


def _waiting_run(campaign: Campaign, connection: sa.Connection, hypothesis: Hypothesis) -> Run | None:
    query = sa.select(sa.func.min(RUN_UNIT.c.run)).where(units_unanswered(hypothesis.id))
    run = connection.execute(query).scalar_one()
    return None if run is None else campaign.run_where(connection, RUN.c.id == run)


def _job_sha256(
    campaign: Campaign,
    row: Mapping[str, Any],
    units: range,
    environment: Mapping[str, Any] | None,
    repeat: int,
) -> str:
    """The idempotency key: asking for the same job again finds the row that is there."""
    job = {
        "schema": JOB_SCHEMA,
        "campaign": campaign.key,
        "question": row["question_sha256"],
        "conditions": None if row["conditions"] is None else sorted(row["conditions"]),
        "units": [units.start, units.stop],
        "environment": None if environment is None else dict(environment),
        "repeat": repeat,
    }
    return sha256_of(job)


def _start(
    campaign: Campaign,
    connection: sa.Connection,
    values: Mapping[str, Any],
    indices: range,
    environment: Mapping[str, Any] | None,
    job_sha256: str,
) -> Run:
    id = next_id(connection, RUN)
    row = {name: value for name, value in values.items() if name not in ("params", "targets", "conditions")}
    row |= {
        "id": id,
        "campaign": campaign.id,
        "params_json": json.dumps(values["params"], sort_keys=True),
        "targets_json": json.dumps(values["targets"], sort_keys=True),
        "conditions_json": None if values["conditions"] is None else json.dumps(values["conditions"]),
        "environment": _environment(connection, environment),
        "job_sha256": job_sha256,
        "created_at": now(),
    }
    connection.execute(RUN.insert(), row)
    units = _seeds(campaign, connection, row, indices)
    connection.execute(RUN_UNIT.insert(), units)
    listed = [(u["unit"], u["seed"], u["retry"]) for u in units]
    campaign.seal(connection, [chain.Link("run", id, chain.body("run", row, units=listed))])
    return campaign.run_from(connection, row, [Unit(index=i, seed=seed) for i, seed, _ in listed])


def _seeds(
    campaign: Campaign, connection: sa.Connection, row: Mapping[str, Any], indices: range
) -> list[dict[str, Any]]:
    """Units with their seeds; `retry` rises where a seed is taken, so that confirm units are always fresh."""
    taken = sa.select(RUN_UNIT.c.seed).where(RUN_UNIT.c.seed == sa.bindparam("seed")).limit(1)
    if row["phase"] == "explore":  # the same question may be asked again on the same seeds
        taken = taken.where(RUN_UNIT.c.phase == "confirm")
    units: list[dict[str, Any]] = []
    drawn: set[int] = set()
    for index in indices:
        retry, seed = -1, -1
        while seed < 0 or seed in drawn or connection.execute(taken, {"seed": seed}).first() is not None:
            retry += 1
            seed = unit_seed(campaign.root_seed, row["phase"], row["question_sha256"], index, retry)
        drawn.add(seed)
        unit = {"run": row["id"], "unit": index, "hypothesis": row["hypothesis"]}
        units.append(unit | {"phase": row["phase"], "seed": seed, "retry": retry})
    return units


def _environment(connection: sa.Connection, environment: Mapping[str, Any] | None) -> str | None:
    if environment is None:
        return None
    sha256 = sha256_of(dict(environment))
    known = sa.select(ENVIRONMENT.c.sha256).where(ENVIRONMENT.c.sha256 == sha256)
    if connection.execute(known).first() is None:
        content = json.dumps(environment, sort_keys=True, ensure_ascii=False, allow_nan=False)
        connection.execute(ENVIRONMENT.insert(), {"sha256": sha256, "content_json": content})
    return sha256
