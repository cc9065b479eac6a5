"""The ledger: claims frozen before their seeds exist, outcomes written once, verdicts computed from them."""

from __future__ import annotations

from agentkit.ledger.campaign import Campaign
from agentkit.ledger.export import Export
from agentkit.ledger.holdout import Holdout
from agentkit.ledger.hypothesis import Hypothesis
from agentkit.ledger.ledger import Ledger
from agentkit.ledger.planning import Plan
from agentkit.ledger.runs import Run
from agentkit.ledger.spec import Spec
from agentkit.ledger.values import (
    Artifact,
    Attempt,
    CampaignRow,
    Status,
    UnitOutcome,
    VerdictRow,
    VerifyReport,
)

__all__ = [
    "Artifact",
    "Attempt",
    "Campaign",
    "CampaignRow",
    "Export",
    "Holdout",
    "Hypothesis",
    "Ledger",
    "Plan",
    "Run",
    "Spec",
    "Status",
    "UnitOutcome",
    "VerdictRow",
    "VerifyReport",
]
