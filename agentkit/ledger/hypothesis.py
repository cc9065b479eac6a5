"""`Hypothesis`: a claim that was frozen before its seeds existed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from agentkit.ledger import models
from agentkit.ledger.evidence import Sample, sample_of
from agentkit.ledger.spec import Spec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from agentkit.ledger.campaign import Campaign

HYPOTHESIS = models.table(models.HypothesisTable)


class Hypothesis:
    """One registered claim. Everything but its state is fixed.

    Attributes:
        id, ref: the row, `3` and `H3`.
        ordinal: place among the campaign's hypotheses, from 1.
        spec: what was frozen.
        weight: its share of the campaign's error budget.
        claim_text: the claim in the words of whoever registered it; never read by code.
    """

    def __init__(self, campaign: Campaign, row: dict[str, Any]) -> None:
        self.campaign = campaign
        self.id: int = row["id"]
        self.ref = f"H{self.id}"
        self.ordinal: int = row["ordinal"]
        self.spec = Spec.model_validate(json.loads(row["spec_json"]))
        self.weight: float = row["weight"]
        self.claim_text: str = row["claim_text"]
        self._closed: Sample | None = None

    @property
    def state(self) -> str:
        """`frozen` while units may still be added, then `closed`."""
        return str(self._now(HYPOTHESIS.c.state))

    @property
    def close_reason(self) -> str | None:
        """Why it was closed, or None."""
        reason = self._now(HYPOTHESIS.c.close_reason)
        return None if reason is None else str(reason)

    def described(self) -> str:
        """Where it stands, for messages: `H3 is closed after 40 units (decided)`."""
        reason = f" ({self.close_reason})" if self.close_reason else ""
        return f"{self.ref} is {self.state} after {self.sample().values.size} units{reason}"

    def _now(self, column: sa.ColumnElement[Any]) -> Any:
        with self.campaign.ledger.store.read() as connection:
            return connection.execute(sa.select(column).where(HYPOTHESIS.c.id == self.id)).scalar_one()

    def sample(self) -> Sample:
        """The units that may be looked at; remembered once the hypothesis is closed, when nothing can be added."""
        if self._closed is not None:
            return self._closed
        with self.campaign.ledger.store.read() as connection:
            is_closed = self.state == "closed"
            sample = sample_of(connection, self.id, self.spec)
        if is_closed:
            self._closed = sample
        return sample

    def differences(self) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """D of the visible units in unit order (0 where failed) and which of them failed."""
        sample = self.sample()
        return sample.values.copy(), sample.failed.copy()

    def __repr__(self) -> str:
        spec = self.spec
        return (
            f"Hypothesis({self.ref}, {spec.tool} {spec.metric} {spec.direction} {spec.null:g}, {self.state})"
        )
