"""`Campaign`: one goal, one error budget, one chain. All writing of a study goes through here."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any, Literal

import sqlalchemy as sa

from agentkit.errors import LedgerError
from agentkit.ledger import chain, models
from agentkit.ledger.deciding import DECISION, decide
from agentkit.ledger.dispatch import start_confirm, start_explore
from agentkit.ledger.holdout import Holdout, Method, open_holdout
from agentkit.ledger.hypothesis import HYPOTHESIS, Hypothesis
from agentkit.ledger.judging import append_verdicts, newest_verdicts, status
from agentkit.ledger.memory import recall
from agentkit.ledger.planning import Plan, make_plan
from agentkit.ledger.registering import OPEN, close, register
from agentkit.ledger.runs import RUN, RUN_UNIT, Run
from agentkit.types import Unit

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from agentkit.ledger.ledger import Ledger
    from agentkit.ledger.spec import Spec
    from agentkit.ledger.values import Status, VerdictRow
    from agentkit.plugins import Plugins
    from agentkit.prompts import Prompt
    from agentkit.tools import Params

CAMPAIGN = models.table(models.CampaignTable)
PROCEDURE = "online_ebh"
OPEN_PROCEDURE = "online_ebh_open"
"""Online e-BH for a campaign that did not say how many hypotheses it will have."""


class Campaign:
    """A goal with its own error level; at most `max_hypotheses` claims, each with weight 1/max_hypotheses.

    Where `max_hypotheses` is "open", claim i has weight 6/(pi^2 i^2): the later, the harder to decide.

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
        self.max_hypotheses: int | Literal["open"] = most_hypotheses(row)
        self.seed_origin: str = row["seed_origin"]
        self._row = dict(row)
        self._known: dict[int, Hypothesis] = {}

    @property
    def root_seed(self) -> str:
        """Where all seeds come from. Never to be shown: who knows it can try specs until the seeds please."""
        return str(self._row["root_seed"])

    # ---- the chain

    def head_in(self, connection: sa.Connection) -> chain.Head:
        """Where the chain stands inside a transaction that will write to it."""
        chain.lock(connection, self.id)
        return chain.head(connection, self._row)

    def seal(
        self, connection: sa.Connection, links: Sequence[chain.Link], at: chain.Head | None = None
    ) -> chain.Head:
        """Append links for rows written in this transaction."""
        return chain.append(connection, self._row, links, at or self.head_in(connection))

    def head(self) -> str:
        """Hash of the newest link: note it elsewhere, and nobody can rebuild the chain unseen."""
        with self.ledger.store.read() as connection:
            return chain.head(connection, self._row).hash

    # ---- hypotheses

    def find(self, spec: Spec) -> Hypothesis | None:
        """The hypothesis with exactly this spec, if it was registered."""
        return self._one(HYPOTHESIS.c.spec_sha256 == spec.sha256)

    def plan(self, spec: Spec, pilot: NDArray[np.float64] | None = None) -> Plan:
        """What the spec would cost and could see; `pilot` holds D of explore units, NaN where failed."""
        known = self.find(spec) if self.max_hypotheses == OPEN else None
        with self.ledger.store.read() as connection:
            ordinal = self.count(connection) + 1 if known is None else known.ordinal
        return make_plan(spec, self.alpha, self.weight(ordinal), pilot)

    def weight(self, ordinal: int) -> float:
        """Share of the error level that the claim with this ordinal (from 1) gets, whatever it says."""
        if self.max_hypotheses == OPEN:
            return 6 / (math.pi * ordinal) ** 2
        return 1 / self.max_hypotheses

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
        return register(self, spec, pilot, allow_underpowered, claim_text)

    def count(self, connection: sa.Connection) -> int:
        """How many hypotheses were registered, drafts included."""
        count = sa.select(sa.func.count()).select_from(HYPOTHESIS).where(HYPOTHESIS.c.campaign == self.id)
        return int(connection.execute(count).scalar_one())

    def _one(self, condition: sa.ColumnElement[bool]) -> Hypothesis | None:
        query = sa.select(HYPOTHESIS).where(HYPOTHESIS.c.campaign == self.id, condition)
        with self.ledger.store.read() as connection:
            row = connection.execute(query).mappings().one_or_none()
        return None if row is None else self.hypothesis_from(dict(row))

    def hypothesis_from(self, row: Mapping[str, Any]) -> Hypothesis:
        """A hypothesis of this campaign from its row, the same object each time."""
        if row["id"] not in self._known:
            self._known[row["id"]] = Hypothesis(self, dict(row))
        return self._known[row["id"]]

    def hypotheses(self) -> list[Hypothesis]:
        """All that were registered, by ordinal."""
        query = sa.select(HYPOTHESIS).where(HYPOTHESIS.c.campaign == self.id).order_by(HYPOTHESIS.c.ordinal)
        with self.ledger.store.read() as connection:
            return [self.hypothesis_from(dict(row)) for row in connection.execute(query).mappings()]

    def close(self, hypothesis: Hypothesis, reason: str) -> None:
        """Take no more units; from now on the hypothesis counts in the campaign's verdicts.

        Raises:
            RuleViolation: AK002 when it is closed already, or while a dispatched unit has no outcome.
        """
        close(self, hypothesis, reason)

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
        return start_explore(self, plugins, tool, params, units, targets, conditions, environment)

    def start_confirm(
        self, hypothesis: Hypothesis, units: int, *, environment: Mapping[str, Any] | None = None
    ) -> Run:
        """The next units of a hypothesis, on seeds that nobody has used; fewer than asked where max_units ends.

        A run of it that still waits for outcomes comes back instead: it must be finished first.

        Raises:
            RuleViolation: AK005 when the hypothesis is closed or has used all its units.
        """
        return start_confirm(self, hypothesis, units, environment)

    def known(self, run: Run) -> list[int]:
        """Copy known answers into an explore run; returns the units that need no worker. See `recall`."""
        return recall(run)

    def run(self, id: int) -> Run:
        """One run of this campaign."""
        with self.ledger.store.read() as connection:
            found = self.run_where(connection, RUN.c.id == id)
        if found is None:
            raise LedgerError(f"campaign {self.key!r} has no run R{id}")
        return found

    def runs(self, phase: str | None = None) -> list[Run]:
        """All runs by id, or those of one phase."""
        query = sa.select(RUN).where(RUN.c.campaign == self.id).order_by(RUN.c.id)
        if phase is not None:
            query = query.where(RUN.c.phase == phase)
        with self.ledger.store.read() as connection:
            rows = connection.execute(query).mappings().all()
            return [self.run_from(connection, dict(row), _units(connection, row["id"])) for row in rows]

    def run_where(self, connection: sa.Connection, condition: sa.ColumnElement[bool]) -> Run | None:
        """The one run of this campaign that meets a condition."""
        query = sa.select(RUN).where(RUN.c.campaign == self.id, condition)
        row = connection.execute(query).mappings().one_or_none()
        return None if row is None else self.run_from(connection, dict(row), _units(connection, row["id"]))

    def run_from(self, connection: sa.Connection, row: dict[str, Any], units: Sequence[Unit]) -> Run:
        """A run of this campaign from its row and units."""
        spec = None
        if row["hypothesis"] is not None:
            own = connection.execute(sa.select(HYPOTHESIS).where(HYPOTHESIS.c.id == row["hypothesis"]))
            spec = self.hypothesis_from(dict(own.mappings().one())).spec
        return Run(self, row, units, spec)

    def holdout(
        self,
        set_sha256: str,
        *,
        method: Method = "sparse_validate",
        threshold: float = 0.05,
        tau: float = 0.01,
        budget: int = 10,
    ) -> Holdout:
        """A finite evaluation set, by the hash of its content, that may be asked `budget` paid questions.

        Args:
            set_sha256: hash of the items.
            method: `sparse_validate` (deterministic), or `thresholdout` (noise from the campaign's root).
            threshold: a guess this close is confirmed for free.
            tau: step of a correction (`sparse_validate`), or scale of the noise (`thresholdout`).
            budget: corrections before it answers no more.
        """
        return open_holdout(self, set_sha256, method, threshold, tau, budget)

    # ---- what the data say

    def status(self, hypothesis: Hypothesis) -> Status:
        """What the verdict would be if the hypothesis were closed now; looking costs nothing."""
        return status(self, hypothesis)

    def verdicts(self) -> list[VerdictRow]:
        """The newest verdict of every closed hypothesis, by ordinal; changed ones are appended first.

        On a read-only store: the newest that were stored.
        """
        if not self.ledger.store.readonly:
            append_verdicts(self)
        return newest_verdicts(self)

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
            return self.decide_in(
                connection,
                actor,
                kind,
                content,
                prompt=None if prompt is None else f"{prompt.name}@{prompt.version}",
                prompt_sha256=None if prompt is None else prompt.sha256,
                model=model,
                tokens_in=tokens_in,
                tokens_out=tokens_out,
                usd=float(usd),
            )

    def decide_in(
        self, connection: sa.Connection, actor: str, kind: str, content: Mapping[str, Any], **columns: Any
    ) -> int:
        """The same within a transaction that is open; `columns` are those of the table that are not given here."""
        return decide(self, connection, actor, kind, content, columns)

    def decisions(self, kind: str) -> list[dict[str, Any]]:
        """Contents of all decisions of one kind, oldest first."""
        query = sa.select(DECISION.c.content_json).where(
            DECISION.c.campaign == self.id, DECISION.c.kind == kind
        )
        with self.ledger.store.read() as connection:
            return [json.loads(text) for text in connection.execute(query.order_by(DECISION.c.id)).scalars()]

    def __repr__(self) -> str:
        return f"Campaign({self.key!r}, alpha={self.alpha:g}, max_hypotheses={self.max_hypotheses})"


def most_hypotheses(row: Mapping[str, Any]) -> int | Literal["open"]:
    """How many claims a campaign's row admits."""
    return OPEN if row["procedure"] == OPEN_PROCEDURE else int(row["max_hypotheses"])


def _units(connection: sa.Connection, run: int) -> list[Unit]:
    query = sa.select(RUN_UNIT.c.unit, RUN_UNIT.c.seed).where(RUN_UNIT.c.run == run).order_by(RUN_UNIT.c.unit)
    return [Unit(index=unit, seed=seed) for unit, seed in connection.execute(query)]
