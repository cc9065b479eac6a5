"""What the ledger hands out: plain frozen values that no longer know the database."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from agentkit.errors import LedgerError

if TYPE_CHECKING:
    from agentkit.measurements import Measurements

OutcomeStatus = Literal["ok", "failed", "timeout", "oom", "bad_value", "out_of_range"]
OUTCOME_STATUSES = ("ok", "failed", "timeout", "oom", "bad_value", "out_of_range")
MESSAGE_CHARACTERS = 2000
"""Longest message kept of a failure: text from tools is untrusted and must not fill the store."""


@dataclass(frozen=True)
class Artifact:
    """A stored file, named by its content."""

    sha256: str
    size: int
    media_type: str
    name: str


@dataclass(frozen=True)
class UnitOutcome:
    """What came back for one unit. `measurements` holds that unit alone; `ok` needs them.

    Raises:
        LedgerError: for an unknown status, `ok` without measurements, or measurements of other units.
    """

    unit: int
    status: OutcomeStatus
    measurements: Measurements | None = None
    message: str = ""
    artifacts: tuple[Artifact, ...] | list[Artifact] = ()

    def __post_init__(self) -> None:
        if self.status not in OUTCOME_STATUSES:
            raise LedgerError(
                f"outcome status {self.status!r} is unknown; one of {', '.join(OUTCOME_STATUSES)}"
            )
        if self.status == "ok" and (self.measurements is None or self.measurements.units != (self.unit,)):
            raise LedgerError(
                f"outcome of unit {self.unit} is ok but holds no measurements of that unit alone"
            )


@dataclass(frozen=True)
class Attempt:
    """A run handed to a worker; `status` is None while it goes on, else how it last ended."""

    fence: int
    worker: str
    status: str | None
    error: str


@dataclass(frozen=True)
class CampaignRow:
    """One campaign of a store, with what became of it."""

    id: int
    key: str
    alpha: float
    max_hypotheses: int | Literal["open"]
    seed_origin: str
    created_at: str
    hypotheses: int
    closed: int


@dataclass(frozen=True)
class Status:
    """What the evidence of one hypothesis would say if it were closed now.

    `lo`, `hi` are the ends of the interval at `level`, None where there is no bound.
    """

    units: int
    failed: int
    units_left: int
    estimate: float | None
    lo: float | None
    hi: float | None
    log_e: float | None
    level: float
    k_star: int
    label: str
    reason: str
    decided: bool


@dataclass(frozen=True)
class VerdictRow:
    """The newest verdict of a hypothesis, as it is stored."""

    id: int
    hypothesis: int
    ref: str
    ordinal: int
    as_of_seq: int
    engine_version: str
    label: str
    reason: str
    sign: int
    estimate: float | None
    lo: float | None
    hi: float | None
    log_e: float | None
    level: float
    k_star: int
    units: int
    failed: int
    input_sha256: str


@dataclass(frozen=True)
class VerifyReport:
    """What `verify` looked at; `heads` maps each campaign's key to the head of its chain."""

    events: int
    hypotheses: int
    units: int
    verdicts: int
    heads: dict[str, str]
    notes: list[str] = field(default_factory=list)
