"""The contract of every backend: `Executor`, and what it says of itself: `Capacity`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol

from agentkit.types import Frozen

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agentkit.workers.job import Event, JobSpec


class WorkerInfo(Frozen):
    """One worker: where it is, what it runs and for how long, what it keeps warm."""

    name: str
    state: Literal["idle", "busy", "starting", "stopped"]
    pid: int | None = None
    device: str = "cpu"
    share: float = 0
    job_id: str | None = None
    tool: str | None = None
    seconds: float = 0
    rss: int = 0
    warm: tuple[str, ...] = ()
    warm_bytes: int = 0
    jobs_done: int = 0
    restarts: int = 0


class Capacity(Frozen):
    """What a backend has: workers, threads, devices, bytes of memory, and jobs that wait."""

    backend: str
    workers: tuple[WorkerInfo, ...]
    cpus: int
    memory: int
    devices: tuple[str, ...] = ()
    waiting: int = 0


class Executor(Protocol):
    """Runs jobs. One driver thread submits and reads events; `cancel` may come from anywhere."""

    def submit(self, job: JobSpec) -> None:
        """Queue a job.

        Raises:
            UnsatisfiableError: at once, when no worker here could ever run it; it never queues for ever.
        """

    def cancel(self, job_id: str, *, hard: bool = False) -> None:
        """Ask a job to stop between units, or end its process group now (`hard`). Unknown ids are ignored."""

    def events(self, timeout_s: float) -> Iterator[Event]:
        """What happened: waits at most `timeout_s` for a first event, then yields all that are there."""

    def capacity(self) -> Capacity:
        """Workers, devices and memory as they are now."""

    def close(self, *, grace_s: float = 5) -> None:
        """End every worker; jobs that still run end as `cancelled`. Events can still be read afterwards."""
