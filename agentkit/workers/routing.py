"""`Router`: which worker is expected to finish a job first. Changes time, never numbers."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Literal, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from agentkit.workers.job import Event, JobSpec

_WEIGHT = 0.3
_LOAD_GUESS_S = 1.0


class Named(Protocol):
    """A worker, as far as routing is concerned."""

    name: str


WorkerT = TypeVar("WorkerT", bound=Named)


class Router:
    """Moving averages of what targets cost to load and tools to run, and who has which target warm."""

    def __init__(self) -> None:
        self._load_s: dict[tuple[str, ...], float] = {}
        self._unit_s: dict[str, float] = {}
        self._warm: dict[str, frozenset[str]] = {}

    def choose(
        self,
        job: JobSpec,
        workers: Sequence[WorkerT],
        busy: Mapping[str, tuple[JobSpec, float]],
        *,
        can_start: bool,
        backlog: dict[str, float],
    ) -> WorkerT | Literal["start"] | None:
        """The worker with the least wait + load + run; None when that one is busy, `start` for a new one.

        Args:
            job: the job to be placed.
            workers: those it could go to.
            busy: by worker, what it runs and since when.
            can_start: whether another worker may be started.
            backlog: by busy worker, seconds of the jobs that this round has already left waiting for it. Grows when
                this one is left waiting too: without it, a whole sweep would queue behind the one warm worker.
        """
        best: WorkerT | None = None
        best_cost = float("inf")
        for worker in workers:
            wait = self._wait_s(busy.get(worker.name)) + backlog.get(worker.name, 0.0)
            cost = wait + self._cold_s(job, worker.name)
            if cost < best_cost:
                best, best_cost = worker, cost
        if can_start and self._cold_s(job, None) < best_cost:
            return "start"
        if best is None or best.name not in busy:
            return best
        backlog[best.name] = backlog.get(best.name, 0.0) + self._run_s(job)
        return None

    def loaded(self, job: JobSpec, worker: str, event: Event) -> None:
        """Learn from a `started` event what loading its targets took."""
        targets = _targets(job)
        if targets and event.data["load_s"] > 0.01:
            self._load_s[targets] = _average(self._load_s.get(targets), event.data["load_s"])
        self._warm[worker] = self._warm.get(worker, frozenset()) | set(targets)

    def ended(self, job: JobSpec, worker: str, event: Event) -> None:
        """Learn from an `end` event what a unit took, and what is warm now."""
        if event.data["status"] == "ok":
            seconds = event.data["seconds"] / len(job.units)
            self._unit_s[job.tool] = _average(self._unit_s.get(job.tool), seconds)
        else:
            self._warm.pop(worker, None)

    def _cold_s(self, job: JobSpec, worker: str | None) -> float:
        targets = _targets(job)
        if not targets or (worker is not None and set(targets) <= self._warm.get(worker, frozenset())):
            return 0.0 if worker is not None else 1e-9
        return self._load_s.get(targets, _LOAD_GUESS_S)

    def _run_s(self, job: JobSpec) -> float:
        return self._unit_s.get(job.tool, 2 * _LOAD_GUESS_S) * len(job.units)

    def _wait_s(self, running: tuple[JobSpec, float] | None) -> float:
        if running is None:
            return 0.0
        job, begin = running
        expected = self._unit_s.get(job.tool)
        if expected is None:  # nothing known: as long again as it has run, and more than any load
            return max(2 * _LOAD_GUESS_S, time.monotonic() - begin)
        return max(expected * len(job.units) - (time.monotonic() - begin), 0.05)


def _targets(job: JobSpec) -> tuple[str, ...]:
    return tuple(sorted(job.targets))


def _average(old: float | None, new: float) -> float:
    return new if old is None else (1 - _WEIGHT) * old + _WEIGHT * new
