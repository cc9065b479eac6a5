"""A finite evaluation set that may be asked a limited number of times, with the budget kept by the store."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import sqlalchemy as sa

from agentkit.errors import LedgerError, RuleViolation, StatsError
from agentkit.ledger import chain, models
from agentkit.ledger.runs import next_id
from agentkit.seeds import derive_seed
from agentkit.stats.holdout import Answer, SparseValidate, Thresholdout

if TYPE_CHECKING:
    from agentkit.ledger.campaign import Campaign

HOLDOUT = models.table(models.HoldoutTable)
QUERY = models.table(models.HoldoutQueryTable)
Method = Literal["sparse_validate", "thresholdout"]


@dataclass(frozen=True)
class Holdout:
    """One evaluation set of a campaign. Its answers guide exploration; no verdict ever reads them."""

    campaign: Campaign
    id: int
    method: str
    threshold: float
    tau: float
    budget: int

    def ask(self, query_sha256: str, mean: float, guess: float) -> Answer:
        """What the planner is told about a query in [0, 1]; the same question gets the same answer for free.

        Args:
            query_sha256: hash of what is asked, so that a repeat is known.
            mean: the query's mean over the set; never stored and never shown.
            guess: the planner's value (`sparse_validate`), or the mean on its own data (`thresholdout`).

        Raises:
            RuleViolation: AK004 when the budget is spent.
            LedgerError: for a mean or guess that no query in [0, 1] has.
        """
        with self.campaign.ledger.store.write() as connection:
            rows = connection.execute(sa.select(QUERY).where(QUERY.c.holdout == self.id)).mappings().all()
            for row in rows:
                if (row["query_sha256"], row["guess"]) == (query_sha256, guess):
                    return Answer(row["answer"], from_holdout=bool(row["cost"]), cost=0)
            spent = sum(row["cost"] for row in rows)
            if spent >= self.budget:
                raise RuleViolation("AK004", f"holdout budget {self.budget} spent")
            try:
                answer, _ = self._mechanism(spent, len(rows)).ask(mean, guess)
            except StatsError as error:
                raise LedgerError(str(error)) from None
            self._keep(connection, len(rows) + 1, query_sha256, guess, answer)
        return answer

    def _mechanism(self, spent: int, asked: int) -> SparseValidate | Thresholdout:
        """The mechanism in the state that the stored questions have left it in."""
        if self.method == "sparse_validate":
            return SparseValidate(self.threshold, self.tau, self.budget, spent)
        seed = derive_seed(self.campaign.root_seed, "holdout", self.id)
        return Thresholdout(seed, self.threshold, self.tau, self.budget, spent, asked)

    def _keep(
        self, connection: sa.Connection, n: int, query_sha256: str, guess: float, answer: Answer
    ) -> None:
        id = next_id(connection, QUERY)
        row = {
            "id": id,
            "holdout": self.id,
            "n": n,
            "query_sha256": query_sha256,
            "guess": float(guess),
            "answer": float(answer.value),
            "cost": answer.cost,
        }
        connection.execute(QUERY.insert(), row)
        self.campaign.seal(connection, [chain.Link("holdout_query", id, chain.body("holdout_query", row))])


def open_holdout(
    campaign: Campaign, set_sha256: str, method: Method, threshold: float, tau: float, budget: int
) -> Holdout:
    """The campaign's holdout with this content, made on first use; other values than the stored are refused."""
    asked = {"method": method, "threshold": float(threshold), "tau": float(tau), "budget": budget}
    if method not in ("sparse_validate", "thresholdout"):
        raise LedgerError(f"method={method!r}: sparse_validate or thresholdout is allowed")
    if type(budget) is not int or budget < 1 or not (threshold > 0 and tau > 0):
        raise LedgerError(f"holdout {asked}: threshold, tau and budget are positive")
    where = sa.and_(HOLDOUT.c.campaign == campaign.id, HOLDOUT.c.set_sha256 == set_sha256)
    with campaign.ledger.store.write() as connection:
        found = connection.execute(sa.select(HOLDOUT).where(where)).mappings().one_or_none()
        row: dict[str, Any] = dict(found or {})
        if not row:
            row = {"id": next_id(connection, HOLDOUT), "campaign": campaign.id, "set_sha256": set_sha256}
            row |= asked
            connection.execute(HOLDOUT.insert(), row)
            campaign.seal(connection, [chain.Link("holdout", row["id"], chain.body("holdout", row))])
    for name, value in asked.items():
        if row[name] != value:
            raise LedgerError(
                f"{name}={value!r}: this holdout was opened with {row[name]!r}, which never changes"
            )
    return Holdout(campaign, row["id"], row["method"], row["threshold"], row["tau"], row["budget"])
