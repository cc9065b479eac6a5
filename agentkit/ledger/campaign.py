"""`Campaign`: one goal, one error budget, one chain. All writing of a study goes through here."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
import sqlalchemy as sa

from agentkit.canon import sha256_of
from agentkit.errors import LedgerError, RuleViolation, SpecError
from agentkit.ledger import chain, models
from agentkit.ledger.clock import now
from agentkit.ledger.evidence import verdicts_of
from agentkit.ledger.hypothesis import HYPOTHESIS, Hypothesis
from agentkit.ledger.planning import Plan, make_plan
from agentkit.ledger.runs import (
    MEASUREMENT,
    OUTCOME,
    RUN,
    RUN_UNIT,
    Run,
    next_id,
    write_outcomes,
)
from agentkit.ledger.spec import Spec
from agentkit.ledger.values import Status, UnitOutcome, VerdictRow
from agentkit.measurements import Measurements
from agentkit.seeds import unit_seed
from agentkit.stats.eprocess import ENGINE_VERSION
from agentkit.stats.procedures import online_ebh
from agentkit.stats.verdicts import evidence, judge
from agentkit.types import BASELINE, Unit

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from agentkit.ledger.ledger import Ledger
    from agentkit.plugins import Plugins
    from agentkit.prompts import Prompt
    from agentkit.tools import Params

CAMPAIGN = models.table(models.CampaignTable)
ENVIRONMENT = models.table(models.EnvironmentTable)
DECISION = models.table(models.DecisionTable)
VERDICT = models.table(models.VerdictTable)
PROCEDURE = "online_ebh"
JOB_SCHEMA = 1
REASON_CHARACTERS = 200
MOST_EXPLORE_UNITS = 1_000_000


class Campaign:
    """A goal with its own error level; at most `max_hypotheses` claims, each with weight 1/max_hypotheses.

    Attributes:
        id, key: the row and the campaign's name.
        alpha: bound on the expected share of false ones among its decided hypotheses.
        seed_origin: `drawn` from the operating system, or `declared` by the user, who could then try specs offline.
    """

    def __init__(self, ledger: Ledger, row: Mapping[str, Any]) -> None:
        self.ledger = ledger
        self.id: int = row["id"]
        self.key: str = row["key"]
        self.alpha: float = row["alpha"]
        self.max_hypotheses: int = row["max_hypotheses"]
        self.seed_origin: str = row["seed_origin"]
        self._row = dict(row)
        self._known: dict[int, Hypothesis] = {}
        self._log_e: dict[int, float] = {}

    # ---- the chain

    def head_in(self, connection: sa.Connection) -> chain.Head:
        """Where the chain stands inside a transaction."""
        return chain.head(connection, self._row)

    def seal(
        self, connection: sa.Connection, links: Sequence[chain.Link], at: chain.Head | None = None
    ) -> chain.Head:
        """Append links for rows written in this transaction."""
        return chain.append(connection, self._row, links, at)

    def head(self) -> str:
        """Hash of the newest link: note it elsewhere, and nobody can rebuild the chain unseen."""
        with self.ledger.store.read() as connection:
            return self.head_in(connection).hash

    # ---- hypotheses

    def find(self, spec: Spec) -> Hypothesis | None:
        """The hypothesis with exactly this spec, if it was registered."""
        return self._one(HYPOTHESIS.c.spec_sha256 == spec.sha256)

    def plan(self, spec: Spec, pilot: NDArray[np.float64] | None = None) -> Plan:
        """What the spec would cost and could see; `pilot` holds D of explore units, NaN where failed."""
        return make_plan(spec, self.alpha, 1 / self.max_hypotheses, pilot)

    def register(
        self,
        spec: Spec,
        *,
        pilot: NDArray[np.float64] | None = None,
        allow_underpowered: bool = False,
        claim_text: str = "",
    ) -> Hypothesis:
        """Freeze a claim; its seeds exist only from here on.

        Raises:
            SpecError: the same spec was registered before, or it cannot see the effect of interest.
            RuleViolation: AK004 when all hypotheses of the campaign are spent.
        """
        spec.checked()
        if (known := self.find(spec)) is not None:
            raise SpecError(f"this spec is registered already: {known.ref}, {known.state}")
        if not allow_underpowered:
            self.plan(spec, pilot).refuse_underpowered()
        with self.ledger.store.write() as connection:
            spent = self._count(connection)
            if spent >= self.max_hypotheses:
                raise RuleViolation(
                    "AK004", f"alpha budget spent ({spent} of {self.max_hypotheses}); open a new campaign"
                )
            row = self._draft(next_id(connection, HYPOTHESIS), spent + 1, spec, claim_text)
            connection.execute(HYPOTHESIS.insert(), row)
            row |= {"state": "frozen", "frozen_at": now()}
            connection.execute(
                HYPOTHESIS.update().where(HYPOTHESIS.c.id == row["id"]),
                {"state": "frozen", "frozen_at": row["frozen_at"]},
            )
            self.seal(connection, [chain.Link("freeze", row["id"], chain.body("freeze", row))])
        return self._hypothesis(row)

    def _draft(self, id: int, ordinal: int, spec: Spec, claim_text: str) -> dict[str, Any]:
        content = spec.model_dump(mode="json")
        return {
            "id": id,
            "campaign": self.id,
            "ordinal": ordinal,
            "spec_json": json.dumps(content, sort_keys=True),
            "spec_sha256": spec.sha256,
            "claim_text": claim_text,
            **{name: content[name] for name in ("tool", "metric", "direction", "null", "sesoi")},
            "lo": spec.lo if np.isfinite(spec.lo) else None,
            "hi": spec.hi if np.isfinite(spec.hi) else None,
            **{name: content[name] for name in ("test", "interval", "failed", "max_units")},
            "weight": 1 / self.max_hypotheses,
            "state": "draft",
            "frozen_at": None,
            "closed_at": None,
            "close_reason": None,
        }

    def _count(self, connection: sa.Connection) -> int:
        count = sa.select(sa.func.count()).select_from(HYPOTHESIS).where(HYPOTHESIS.c.campaign == self.id)
        return int(connection.execute(count).scalar_one())

    def _one(self, condition: sa.ColumnElement[bool]) -> Hypothesis | None:
        query = sa.select(HYPOTHESIS).where(HYPOTHESIS.c.campaign == self.id, condition)
        with self.ledger.store.read() as connection:
            row = connection.execute(query).mappings().one_or_none()
        return None if row is None else self._hypothesis(row)

    def _hypothesis(self, row: Mapping[str, Any]) -> Hypothesis:
        if row["id"] not in self._known:
            self._known[row["id"]] = Hypothesis(self, dict(row))
        return self._known[row["id"]]

    def hypotheses(self) -> list[Hypothesis]:
        """All that were registered, by ordinal."""
        query = sa.select(HYPOTHESIS).where(HYPOTHESIS.c.campaign == self.id).order_by(HYPOTHESIS.c.ordinal)
        with self.ledger.store.read() as connection:
            return [self._hypothesis(row) for row in connection.execute(query).mappings()]

    def close(self, hypothesis: Hypothesis, reason: str) -> None:
        """Take no more units; from now on the hypothesis counts in the campaign's verdicts.

        Raises:
            RuleViolation: AK002 when it is closed already, or while a dispatched unit has no outcome.
        """
        with self.ledger.store.write() as connection:
            if hypothesis.state == "closed":
                raise RuleViolation(
                    "AK002", f"hypothesis {hypothesis.ref} is closed ({hypothesis.close_reason})"
                )
            if waiting := self._unanswered(connection, hypothesis.id):
                raise RuleViolation(
                    "AK002",
                    f"{waiting} units of hypothesis {hypothesis.ref} have no outcome; resume their run first",
                )
            change = {"state": "closed", "closed_at": now(), "close_reason": reason[:REASON_CHARACTERS]}
            connection.execute(HYPOTHESIS.update().where(HYPOTHESIS.c.id == hypothesis.id), change)
            row = {"id": hypothesis.id} | change
            self.seal(connection, [chain.Link("close", hypothesis.id, chain.body("close", row))])

    def _unanswered(self, connection: sa.Connection, hypothesis: int) -> int:
        answered = sa.exists().where(OUTCOME.c.run == RUN_UNIT.c.run, OUTCOME.c.unit == RUN_UNIT.c.unit)
        query = (
            sa.select(sa.func.count())
            .select_from(RUN_UNIT)
            .where(RUN_UNIT.c.hypothesis == hypothesis, ~answered)
        )
        return int(connection.execute(query).scalar_one())

    # ---- runs

    def start_explore(
        self,
        plugins: Plugins,
        tool: str,
        params: Mapping[str, Any] | Params,
        units: int,
        *,
        targets: Mapping[str, str],
        conditions: Sequence[str] | None = None,
        environment: Mapping[str, Any] | None = None,
    ) -> Run:
        """A run that looks around: free, repeatable, never evidence.

        The same question gets the same first seeds, so `known` can answer what was answered before. An equal run
        that has no failed unit is returned instead of a new one.
        """
        if not 1 <= units <= MOST_EXPLORE_UNITS:
            raise LedgerError(f"units={units}: a number from 1 to {MOST_EXPLORE_UNITS} is allowed")
        found, owner = plugins.tool(tool), plugins.owner(tool)
        values = found.parse(params).model_dump(mode="json")
        question = {
            "tool": found.name,
            "version": found.version,
            "source": found.source_sha256,
            "params": values,
            "targets": dict(targets),
        }
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
            "question_sha256": sha256_of(question),
        }
        with self.ledger.store.write() as connection:
            for repeat in range(MOST_EXPLORE_UNITS):
                job = self._job_sha256(row, range(units), environment, repeat)
                known = self._run_where(connection, RUN.c.job_sha256 == job)
                if known is None:
                    return self._start(connection, row, range(units), environment, job)
                if set(known.outcomes().values()) <= {"ok"}:
                    return known
        raise LedgerError(f"{tool}: this question was asked {MOST_EXPLORE_UNITS} times and failed each time")

    def start_confirm(
        self, hypothesis: Hypothesis, units: int, *, environment: Mapping[str, Any] | None = None
    ) -> Run:
        """The next units of a hypothesis, on seeds that nobody has used; fewer than asked where max_units ends.

        A run of it that still waits for outcomes comes back instead: it must be finished first.

        Raises:
            RuleViolation: AK005 when the hypothesis is closed or has used all its units.
        """
        if units < 1:
            raise LedgerError(f"units={units}: at least 1")
        spec = hypothesis.spec
        row = {
            "hypothesis": hypothesis.id,
            "phase": "confirm",
            **{
                name: getattr(spec, name)
                for name in ("plugin", "distribution", "distribution_version", "tool")
            },
            **{name: getattr(spec, name) for name in ("tool_version", "source_sha256", "params", "targets")},
            "conditions": spec.tested_sites(),
            "question_sha256": spec.sha256,
        }
        with self.ledger.store.write() as connection:
            if hypothesis.state != "frozen":
                raise RuleViolation(
                    "AK005", f"hypothesis {hypothesis.ref} is {hypothesis.state}; register a new one"
                )
            if (open_run := self._open_run(connection, hypothesis)) is not None:
                return open_run
            first = self._next_unit(connection, hypothesis.id)
            if first >= spec.max_units:
                raise RuleViolation(
                    "AK005", f"hypothesis {hypothesis.ref} has used all its {spec.max_units} units"
                )
            indices = range(first, min(first + units, spec.max_units))
            return self._start(
                connection, row, indices, environment, self._job_sha256(row, indices, environment, 0), spec
            )

    def _next_unit(self, connection: sa.Connection, hypothesis: int) -> int:
        last = sa.select(sa.func.max(RUN_UNIT.c.unit)).where(RUN_UNIT.c.hypothesis == hypothesis)
        found = connection.execute(last).scalar_one()
        return 0 if found is None else int(found) + 1

    def _open_run(self, connection: sa.Connection, hypothesis: Hypothesis) -> Run | None:
        answered = sa.exists().where(OUTCOME.c.run == RUN_UNIT.c.run, OUTCOME.c.unit == RUN_UNIT.c.unit)
        waiting = sa.select(sa.func.min(RUN_UNIT.c.run)).where(
            RUN_UNIT.c.hypothesis == hypothesis.id, ~answered
        )
        run = connection.execute(waiting).scalar_one()
        return None if run is None else self._run_where(connection, RUN.c.id == run)

    def _job_sha256(
        self, row: Mapping[str, Any], units: range, environment: Mapping[str, Any] | None, repeat: int
    ) -> str:
        job = {
            "schema": JOB_SCHEMA,
            "campaign": self.key,
            "question": row["question_sha256"],
            "conditions": None if row["conditions"] is None else sorted(row["conditions"]),
            "units": [units.start, units.stop],
            "environment": None if environment is None else dict(environment),
            "repeat": repeat,
        }
        return sha256_of(job)

    def _start(
        self,
        connection: sa.Connection,
        values: Mapping[str, Any],
        indices: range,
        environment: Mapping[str, Any] | None,
        job_sha256: str,
        spec: Spec | None = None,
    ) -> Run:
        row = {
            name: value for name, value in values.items() if name not in ("params", "targets", "conditions")
        }
        row |= {
            "id": next_id(connection, RUN),
            "campaign": self.id,
            "params_json": json.dumps(values["params"], sort_keys=True),
            "targets_json": json.dumps(values["targets"], sort_keys=True),
            "conditions_json": None if values["conditions"] is None else json.dumps(values["conditions"]),
            "environment": _environment(connection, environment),
            "job_sha256": job_sha256,
            "created_at": now(),
        }
        connection.execute(RUN.insert(), row)
        units = self._seeds(connection, row, indices)
        connection.execute(RUN_UNIT.insert(), units)
        listed = [(u["unit"], u["seed"], u["retry"]) for u in units]
        self.seal(connection, [chain.Link("run", row["id"], chain.body("run", row, units=listed))])
        return Run(self, row, [Unit(index=i, seed=seed) for i, seed, _ in listed], spec)

    def _seeds(
        self, connection: sa.Connection, row: Mapping[str, Any], indices: range
    ) -> list[dict[str, Any]]:
        """Units with their seeds; `retry` rises where a seed is taken, so that confirm units are always fresh."""
        taken = sa.select(RUN_UNIT.c.seed).where(RUN_UNIT.c.seed == sa.bindparam("seed"))
        if row["phase"] == "explore":  # the same question may be asked again on the same seeds
            taken = taken.where(RUN_UNIT.c.phase == "confirm")
        units: list[dict[str, Any]] = []
        drawn: set[int] = set()
        for index in indices:
            retry = 0
            while True:
                seed = unit_seed(self._row["root_seed"], row["phase"], row["question_sha256"], index, retry)
                if seed not in drawn and connection.execute(taken.limit(1), {"seed": seed}).first() is None:
                    break
                retry += 1
            drawn.add(seed)
            unit = {"run": row["id"], "unit": index, "hypothesis": row["hypothesis"]}
            units.append(unit | {"phase": row["phase"], "seed": seed, "retry": retry})
        return units

    def runs(self, phase: str | None = None) -> list[Run]:
        """All runs by id, or those of one phase."""
        query = sa.select(RUN).where(RUN.c.campaign == self.id).order_by(RUN.c.id)
        if phase is not None:
            query = query.where(RUN.c.phase == phase)
        with self.ledger.store.read() as connection:
            return [self._run(connection, row) for row in connection.execute(query).mappings().all()]

    def run(self, id: int) -> Run:
        """One run of this campaign."""
        with self.ledger.store.read() as connection:
            found = self._run_where(connection, RUN.c.id == id)
        if found is None:
            raise LedgerError(f"campaign {self.key!r} has no run R{id}")
        return found

    def _run_where(self, connection: sa.Connection, condition: sa.ColumnElement[bool]) -> Run | None:
        query = sa.select(RUN).where(RUN.c.campaign == self.id, condition)
        row = connection.execute(query).mappings().one_or_none()
        return None if row is None else self._run(connection, row)

    def _run(self, connection: sa.Connection, row: Mapping[str, Any]) -> Run:
        units = sa.select(RUN_UNIT.c.unit, RUN_UNIT.c.seed).where(RUN_UNIT.c.run == row["id"])
        found = [Unit(index=u, seed=s) for u, s in connection.execute(units.order_by(RUN_UNIT.c.unit))]
        spec = None
        if row["hypothesis"] is not None:
            own = connection.execute(sa.select(HYPOTHESIS).where(HYPOTHESIS.c.id == row["hypothesis"]))
            spec = self._hypothesis(own.mappings().one()).spec
        return Run(self, dict(row), found, spec)

    def known(self, run: Run) -> list[int]:
        """Copy into an explore run what the same question answered before; returns all units it has answers for.

        The same question: tool, version, source, params, targets with their fingerprints, environment and seed.
        Failures are never answers, and no confirm run is ever answered from memory.
        """
        if run.phase != "explore":
            return sorted(run.answered())
        with self.ledger.store.write() as connection:
            answers = self._answers(connection, run)
            if answers:
                fence = run.begin_attempt("memory")
                write_outcomes(
                    connection, run, fence, [o for o, _ in answers], [source for _, source in answers]
                )
                run.end_attempt(fence, "done")
        return sorted(run.answered())

    def _answers(self, connection: sa.Connection, run: Run) -> list[tuple[UnitOutcome, int]]:
        """Outcomes to copy, each with the id it is copied from, lowest id first per unit."""
        source, asked = RUN_UNIT.alias("source"), RUN_UNIT.alias("asked")
        same = [
            asked.c.run == run.id,
            source.c.run != run.id,
            OUTCOME.c.status == "ok",
            RUN.c.phase == "explore",
            RUN.c.question_sha256 == run.question_sha256,
            RUN.c.environment.is_not_distinct_from(run.environment),
            asked.c.unit.not_in(run.answered()),
        ]
        query = (
            sa.select(asked.c.unit, OUTCOME.c.id, RUN.c.conditions_json)
            .join(source, sa.and_(source.c.seed == asked.c.seed, source.c.unit == asked.c.unit))
            .join(RUN, RUN.c.id == source.c.run)
            .join(OUTCOME, sa.and_(OUTCOME.c.run == source.c.run, OUTCOME.c.unit == source.c.unit))
            .where(*same)
            .order_by(asked.c.unit, OUTCOME.c.id)
        )
        found: dict[int, tuple[UnitOutcome, int]] = {}
        for unit, outcome, conditions in connection.execute(query).all():
            if unit in found or not _covers(conditions, run.conditions):
                continue
            table = _measurements_of(connection, outcome, unit, run.conditions)
            if table is not None:
                found[unit] = (UnitOutcome(unit, "ok", table), outcome)
        return list(found.values())

    # ---- what the data say

    def status(self, hypothesis: Hypothesis) -> Status:
        """What the evidence would say if the hypothesis were closed now; looking costs nothing."""
        sample, spec = hypothesis.sample(), hypothesis.spec
        others = [h for h in self.hypotheses() if h.id != hypothesis.id]
        log_e = [self._log_e_of(h) for h in others]
        log_e.append(-np.inf if sample.invalid else evidence(spec.claim, sample.values, sample.failed).log_e)
        weights = [h.weight for h in others] + [hypothesis.weight]
        k_star, levels = online_ebh(log_e, weights, self.alpha)
        level = float(levels[-1])
        [verdict] = (
            [judge(spec.claim, sample.values, sample.failed, level, k_star)]
            if sample.invalid is None
            else verdicts_of([spec], [sample], [hypothesis.weight], self.alpha)
        )
        return Status(
            units=verdict.units,
            failed=verdict.failed,
            units_left=spec.max_units - self._units_dispatched(hypothesis),
            estimate=verdict.estimate,
            lo=verdict.lo,
            hi=verdict.hi,
            log_e=verdict.log_e,
            level=level,
            k_star=k_star,
            label=verdict.label,
            reason=verdict.reason,
            decided=verdict.label not in ("inconclusive", "invalid"),
        )

    def _units_dispatched(self, hypothesis: Hypothesis) -> int:
        with self.ledger.store.read() as connection:
            return self._next_unit(connection, hypothesis.id)

    def _log_e_of(self, hypothesis: Hypothesis) -> float:
        """Log e of a closed, valid hypothesis; minus infinity for any other."""
        if hypothesis.id not in self._log_e:
            if hypothesis.state != "closed":
                return -np.inf
            sample = hypothesis.sample()
            [alone] = verdicts_of([hypothesis.spec], [sample], [hypothesis.weight], self.alpha)
            self._log_e[hypothesis.id] = -np.inf if alone.log_e is None else alone.log_e
        return self._log_e[hypothesis.id]

    def verdicts(self) -> list[VerdictRow]:
        """The newest verdict of every closed hypothesis, by ordinal; changed ones are appended first.

        Read-only stores return what is stored.
        """
        if not self.ledger.store.readonly:
            self._append_verdicts()
        newest = sa.select(sa.func.max(VERDICT.c.id)).group_by(VERDICT.c.hypothesis)
        query = (
            sa.select(VERDICT, HYPOTHESIS.c.ordinal)
            .join(HYPOTHESIS, HYPOTHESIS.c.id == VERDICT.c.hypothesis)
            .where(HYPOTHESIS.c.campaign == self.id, VERDICT.c.id.in_(newest))
            .order_by(HYPOTHESIS.c.ordinal)
        )
        with self.ledger.store.read() as connection:
            rows = connection.execute(query).mappings().all()
        return [VerdictRow(ref=f"H{row['hypothesis']}", **row) for row in rows]

    def _append_verdicts(self) -> None:
        with self.ledger.store.write() as connection:
            closed = [h for h in self.hypotheses() if h.state == "closed"]
            samples = [h.sample() for h in closed]
            found = verdicts_of([h.spec for h in closed], samples, [h.weight for h in closed], self.alpha)
            head = self.head_in(connection)
            first, links = next_id(connection, VERDICT, max(1, len(closed))), []
            for hypothesis, sample, verdict in zip(closed, samples, found, strict=True):
                row = {"hypothesis": hypothesis.id, "engine_version": ENGINE_VERSION}
                row |= asdict(verdict) | {"input_sha256": sample.sha256}
                if not self._is_new(connection, row):
                    continue
                row |= {"id": first + len(links), "as_of_seq": head.seq}
                connection.execute(VERDICT.insert(), row)
                links.append(chain.Link("verdict", row["id"], chain.body("verdict", row)))
            self.seal(connection, links, head)

    def _is_new(self, connection: sa.Connection, row: Mapping[str, Any]) -> bool:
        newest = (
            sa.select(VERDICT)
            .where(
                VERDICT.c.hypothesis == row["hypothesis"], VERDICT.c.engine_version == row["engine_version"]
            )
            .order_by(VERDICT.c.id.desc())
            .limit(1)
        )
        stored = connection.execute(newest).mappings().one_or_none()
        return stored is None or any(stored[name] != value for name, value in row.items())

    # ---- who decided what

    def decide(
        self,
        actor: str,
        kind: str,
        content: Mapping[str, Any],
        *,
        prompt: Prompt | None = None,
        model: str | None = None,
        tokens_in: int = 0,
        tokens_out: int = 0,
        usd: float = 0.0,
    ) -> int:
        """Note what planner, human or framework decided, and that it could see the chain up to here."""
        if actor not in ("planner", "human", "framework"):
            raise LedgerError(f"actor={actor!r}: planner, human or framework is allowed")
        with self.ledger.store.write() as connection:
            head = self.head_in(connection)
            row = {
                "id": next_id(connection, DECISION),
                "campaign": self.id,
                "actor": actor,
                "kind": kind,
                "content_json": json.dumps(content, sort_keys=True, ensure_ascii=False, allow_nan=False),
                "content_sha256": sha256_of(dict(content)),
                "prompt": None if prompt is None else f"{prompt.name}@{prompt.version}",
                "prompt_sha256": None if prompt is None else prompt.sha256,
                "model": model,
                "tokens_in": tokens_in,
                "tokens_out": tokens_out,
                "usd": float(usd),
                "seen_seq": head.seq,
                "decided_at": now(),
            }
            connection.execute(DECISION.insert(), row)
            self.seal(connection, [chain.Link("decision", row["id"], chain.body("decision", row))], head)
        return int(row["id"])  # type: ignore[call-overload]  # an int among values of other types

    def decisions(self, kind: str) -> list[dict[str, Any]]:
        """Contents of all decisions of one kind, oldest first."""
        query = sa.select(DECISION.c.content_json).where(DECISION.c.campaign == self.id, DECISION.c.kind == kind)
        with self.ledger.store.read() as connection:
            return [json.loads(text) for text in connection.execute(query.order_by(DECISION.c.id)).scalars()]

    def __repr__(self) -> str:
        return f"Campaign({self.key!r}, alpha={self.alpha:g}, {self.max_hypotheses} hypotheses at most)"


def _environment(connection: sa.Connection, environment: Mapping[str, Any] | None) -> str | None:
    if environment is None:
        return None
    sha256 = sha256_of(dict(environment))
    known = sa.select(ENVIRONMENT.c.sha256).where(ENVIRONMENT.c.sha256 == sha256)
    if connection.execute(known).first() is None:
        content = json.dumps(environment, sort_keys=True, ensure_ascii=False, allow_nan=False)
        connection.execute(ENVIRONMENT.insert(), {"sha256": sha256, "content_json": content})
    return sha256


def _covers(conditions_json: str | None, asked: Collection[str] | None) -> bool:
    if conditions_json is None:
        return True
    return asked is not None and set(asked) <= {*json.loads(conditions_json), BASELINE}


def _measurements_of(
    connection: sa.Connection, outcome: int, unit: int, conditions: Collection[str] | None
) -> Measurements | None:
    """The stored table of one outcome, cut to the conditions asked for; None where one of them is absent."""
    query = sa.select(MEASUREMENT.c.condition, MEASUREMENT.c.metric, MEASUREMENT.c.value)
    rows = connection.execute(query.where(MEASUREMENT.c.outcome == outcome).order_by(MEASUREMENT.c.position))
    table = Measurements.from_rows((unit, c, m, v) for c, m, v in rows)
    if conditions is None:
        return table
    return table.select(conditions=conditions) if set(conditions) <= set(table.conditions) else None
