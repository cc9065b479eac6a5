"""`Work`: where the jobs of one attempt ran and what they took, from their events; kept in the ledger, read by no verdict."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agentkit.workers import Event, JobSpec

SHARED = ("device", "dtypes", "threads", "deterministic")
"""What all jobs of an attempt have in common: they ask for the same tool, targets and resources."""

_AT_END = ("peak_rss", "peak_device_bytes", "oom_retries", "batch")


class Work:
    """Collects; `content` is what the ledger keeps beside the attempt's end (see `Run.work`)."""

    def __init__(self) -> None:
        self._shared: dict[str, Any] = dict.fromkeys(SHARED)
        self._jobs: dict[str, dict[str, Any]] = {}

    def add(self, event: Event, job: JobSpec) -> None:
        """Take in one event of one job."""
        if event.kind == "started":
            self._shared = {name: event.data[name] for name in SHARED}
            begun = {
                "worker": event.worker,
                "units": len(job.units),
                "load_s": round(event.data["load_s"], 4),
            }
            self._jobs[event.job_id] = begun
        elif event.kind == "end":
            known = self._jobs.setdefault(event.job_id, {"worker": event.worker, "units": len(job.units)})
            known |= {"status": event.data["status"], "seconds": round(event.data.get("seconds") or 0.0, 4)}
            known |= {name: event.data.get(name) for name in _AT_END}

    def content(self) -> dict[str, Any]:
        """JSON values: the shared facts, and the jobs in the order in which they began."""
        return {**self._shared, "jobs": list(self._jobs.values())}
