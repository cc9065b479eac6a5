"""`RayWorker`: one actor as the driver sees it: what it was given, what it said, in which order."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from agentkit.workers.executor import WorkerInfo
from agentkit.workers.job import Event

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agentkit.workers.job import JobSpec

Shape = tuple[int, float]
"""CPUs and GPUs of an actor: jobs of one shape share actors."""


@dataclass
class RayWorker:
    """One actor as the driver sees it."""

    name: str
    shape: Shape
    actor: Any
    begun: float
    ready: bool = False
    job: JobSpec | None = None
    sent_at: float = 0.0
    heard_at: float = 0.0
    polling: bool = False
    next_seq: int = 1
    held: dict[int, Event] = field(default_factory=dict)
    left: set[int] = field(default_factory=set)
    info: WorkerInfo | None = None
    jobs_done: int = 0

    def begin(self, job: JobSpec) -> None:
        """It is given a job."""
        self.job, self.next_seq, self.held = job, 1, {}
        self.left = {u.index for u in job.units}
        self.sent_at = self.heard_at = time.monotonic()

    def heard(self, text: str) -> Iterator[Event]:
        """Events of its job in their order, whichever call brought them; others wait for those before them."""
        self.heard_at = time.monotonic()
        batch = json.loads(text)
        self.info = WorkerInfo.model_validate(batch["info"])
        for item in batch["events"]:
            event = Event.model_validate(item)
            if self.job is not None and event.job_id == self.job.job_id:
                self.held[event.seq] = event
        while self.job is not None and self.next_seq in self.held:
            self.next_seq += 1
            yield self.held.pop(self.next_seq - 1)

    def shown(self) -> WorkerInfo:
        """What it does now, as the driver knows it."""
        info = self.info or WorkerInfo(name=self.name, state="starting")
        job = self.job
        return info.model_copy(
            update={
                "state": "starting" if not self.ready else "busy" if job else "idle",
                "share": self.shape[1],
                "job_id": job.job_id if job else None,
                "tool": job.tool if job else None,
                "seconds": time.monotonic() - self.sent_at if job else 0.0,
                "jobs_done": self.jobs_done,
            }
        )


def is_death(error: BaseException) -> bool:
    """Whether an actor's process or node died, as opposed to code that could not be loaded there."""
    return "ModuleNotFoundError" not in str(error) and "ImportError" not in str(error)


def cause_of(error: BaseException) -> str:
    """The last line of what Ray said."""
    lines = [line.strip() for line in str(error).strip().splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[-1] if lines else ''}"[:500]
