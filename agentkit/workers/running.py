"""`Running`: the job in a child, in which phase it is, and what it may not exceed."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from agentkit.workers import watch
from agentkit.workers.environment import MAX_PROCESSES

if TYPE_CHECKING:
    from collections.abc import Callable

    from agentkit.workers.job import JobSpec
    from agentkit.workers.logs import JobLog

START_TIMEOUT_S = 120.0
SLACK_S = 0.5
"""A tool that looks at `ctx.cancelled` may end in time by itself; only then is the group killed."""


class Excess(NamedTuple):
    """Why a job must be ended: its status and what is said."""

    status: str
    message: str


@dataclass
class Running:
    """The job in the child: what is left of it, in which phase it is, and until when.

    Phases: `start` (the child comes up), `sent`, `load` (targets), `run`.
    """

    job: JobSpec
    log: JobLog
    left: list[int]
    begin: float
    deadline: float
    phase: str = "start"
    seq: int = 0
    sent_again: bool = False
    peak_rss: int = 0

    @classmethod
    def started(cls, job: JobSpec, log: JobLog, seq: int) -> Running:
        """A job that was handed over just now; `seq` is the number of its next event."""
        now = time.monotonic()
        return cls(job, log, [u.index for u in job.units], now, now + START_TIMEOUT_S, seq=seq)

    @property
    def seconds(self) -> float:
        """Since it was handed over."""
        return time.monotonic() - self.begin

    def enter(self, phase: str, limit_s: float) -> None:
        """The next phase has begun."""
        self.phase = phase
        self.deadline = time.monotonic() + limit_s

    def measured(self, units: set[int]) -> None:
        """These units came back, whatever became of them."""
        self.left = [i for i in self.left if i not in units]

    def overdue(self, worker: str, said: Callable[[], str]) -> Excess | None:
        """What to do when its phase takes too long; `said` gives the child's last output."""
        if time.monotonic() <= self.deadline:
            return None
        if self.phase in ("start", "sent"):
            return Excess("refused", f"worker {worker} was not ready after {START_TIMEOUT_S:.0f} s; {said()}")
        if self.phase == "load":
            limit = self.job.load_timeout_s
            return Excess("refused", f"targets did not load within {limit:g} s (load_timeout_s)")
        return Excess(
            "timeout", f"ran past its time-out ({self.seconds:.1f} s in all); its process group was ended"
        )

    def too_much(self, session: int) -> Excess | None:
        """What to do when the child's session holds too much memory or too many processes."""
        members = watch.session_members(session)
        resident = sum(p.rss for p in members)
        self.peak_rss = max(self.peak_rss, resident)
        limit = self.job.resources.memory
        if resident > limit and self.phase != "start":
            held = f"{resident / 2**20:.0f} MiB held, resources.memory allows {limit / 2**20:.0f} MiB"
            status = "refused" if self.phase == "load" else "oom"
            return Excess(status, f"{held}; declare more or use smaller units")
        if len(members) > MAX_PROCESSES + 2:  # besides the child itself and its lifeline
            return Excess(
                "failed", f"started {len(members) - 2} processes; at most {MAX_PROCESSES} are allowed"
            )
        return None

    def ending(self, status: str, error_class: str, message: str) -> dict[str, Any]:
        """The data of its `end` where the child cannot say it itself."""
        return {
            "status": status,
            "error_class": error_class,
            "message": message,
            "traceback_sha256": None,
            "seconds": self.seconds,
            "units_left": self.left,
            "peak_rss": self.peak_rss,
            "peak_device_bytes": 0,
            "oom_retries": 0,
            "batch": None,
        }
