"""The driver: asks a run what it misses, sends jobs, and writes what returns. The only writer of outcomes."""

from __future__ import annotations

import platform
import time
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from agentkit.agent.budget import Account
from agentkit.agent.calls import CANCELLED
from agentkit.agent.work import Work
from agentkit.errors import WorkerError
from agentkit.ledger import Artifact, UnitOutcome
from agentkit.workers import JobSpec, RunStatus, merge, numeric_environment, plan_shards

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from agentkit.ledger import Run
    from agentkit.measurements import Measurements
    from agentkit.plugins import Plugins
    from agentkit.tools import Tool
    from agentkit.types import Unit
    from agentkit.workers import Event, Executor, StatusFile

MOST_ATTEMPTS = 3
POLL_S = 0.5


class Driver:
    """Brings runs to their end on an executor.

    Args:
        executor: where jobs run.
        plugins: what is installed here; workers refuse a job whose plugin differs.
        on_event: sees every event of every job.
        account: what may be spent; every attempt is charged its wall seconds and its GPU seconds.
        status: the file that shows other processes what runs, if there is one.
    """

    def __init__(
        self,
        executor: Executor,
        plugins: Plugins,
        *,
        on_event: Callable[[Event], None] = lambda event: None,
        account: Account | None = None,
        status: StatusFile | None = None,
    ) -> None:
        self._executor = executor
        self._plugins = plugins
        self._on_event = on_event
        self._status = status
        self.account = account or Account()
        self._seconds_per_unit: dict[str, float] = {}
        self._attempt: _Attempt | None = None
        self._refusing = False

    def cancel(self) -> bool:
        """End the jobs that run now, from any thread; False when none runs. Their run can be finished later."""
        attempt = self._attempt
        return attempt is not None and attempt.cancel()

    def refuse(self, refusing: bool) -> None:
        """Start no further attempt until told otherwise: the turn that wants one is over."""
        self._refusing = refusing

    @property
    def executor(self) -> Executor:
        """Where jobs run."""
        return self._executor

    def environment(self, tool: str) -> dict[str, Any]:
        """Versions, device kind and threads that a tool's numbers depend on; kept with each run."""
        return environment_of(self._plugins.tool(tool))

    def finish(self, run: Run) -> None:
        """Measure every unit that a run still misses.

        A lost attempt is repeated on the same seeds, one unit a job, so that only a unit that kills its worker
        is given up after three attempts.

        Raises:
            WorkerError: the workers refused the job (another plugin version, a changed target).
            BudgetError: the attempt would pass a cap of seconds; what was measured is kept.
        """
        if not run.missing():  # answered before: there is nothing to do, and nothing new to tell observers
            return
        tool = self._plugins.tool(run.tool)
        for attempt in range(1, MOST_ATTEMPTS + 1):
            if not (missing := run.missing()):
                break
            jobs = self._jobs(run, tool, missing, one_by_one=attempt > 1)
            if self._refusing:
                raise WorkerError(f"{run.ref} is {CANCELLED}")
            told = _Told(self._status, self._executor, run, len(missing))
            self._attempt = _Attempt(self._executor, run, tool, jobs, attempt, self._saw, told)
            try:
                self._spend(run, tool, len(missing), self._attempt)
            finally:
                self._attempt = None
        if missing := run.missing():
            self._give_up(run, missing)
        self._plugins.after_run({"run": run.ref, "tool": run.tool, "phase": run.phase}, _table_of(run))

    def _jobs(self, run: Run, tool: Tool, units: Sequence[Unit], *, one_by_one: bool) -> Sequence[JobSpec]:
        whole = job_of(run, tool, units)
        if one_by_one:
            return [whole.only([u]) for u in units]
        return plan_shards(
            whole,
            workers=max(1, len(self._executor.capacity().workers)),
            seconds_per_unit=self._seconds_per_unit.get(run.tool, tool.seconds_per_unit),
            # on a GPU a kernel, and with it the last bits, may depend on how many conditions share a pass
            splits_conditions=tool.splits_conditions and not tool.resources.gpus,
        )

    def _saw(self, event: Event, job: JobSpec) -> None:
        if event.kind == "end" and event.data.get("status") == "ok":
            self._seconds_per_unit[job.tool] = event.data["seconds"] / len(job.units)
        self._on_event(event)

    def _spend(self, run: Run, tool: Tool, units: int, attempt: _Attempt) -> None:
        """Drive one attempt within the budget: its likely time is set aside first, its real time charged after."""
        gpus = tool.resources.gpus
        wall = self.seconds_for(run.tool, units)
        asked = {"seconds": wall, "gpu_seconds": wall * gpus} if gpus else {"seconds": wall}
        reservation = self.account.reserve(run.tool, **asked)
        began = time.monotonic()
        try:
            attempt.drive()
        finally:
            spent = time.monotonic() - began
            actual = (
                {"seconds": spent, "gpu_seconds": attempt.job_seconds * gpus} if gpus else {"seconds": spent}
            )
            reservation.settle(run.ref, **actual)

    def seconds_for(self, tool: str, units: int) -> float:
        """Likely wall seconds for units of a tool: as measured here, else as declared, else 0 (unknown)."""
        each = self._seconds_per_unit.get(tool, self._plugins.tool(tool).seconds_per_unit) or 0.0
        return each * units / max(1, len(self._executor.capacity().workers))

    def _give_up(self, run: Run, units: Sequence[Unit]) -> None:
        fence = run.begin_attempt("driver")
        message = f"the worker died {MOST_ATTEMPTS} times on this unit"
        run.record(fence, [UnitOutcome(u.index, "failed", message=message) for u in units])
        run.end_attempt(fence, "done", message)


class _Attempt:
    """One attempt at a run: its jobs under one fence, and what came back so far."""

    def __init__(
        self,
        executor: Executor,
        run: Run,
        tool: Tool,
        jobs: Sequence[JobSpec],
        attempt: int,
        saw: Callable[[Event, JobSpec], None],
        told: _Told,
    ) -> None:
        self._executor, self._run, self._tool, self._saw = executor, run, tool, saw
        self._told, self._work = told, Work()
        self._fence = run.begin_attempt(f"{len(jobs)} jobs")
        marked = [j.model_copy(update={"attempt": attempt, "fence": self._fence}) for j in jobs]
        self._open = {j.job_id: j for j in marked}
        self._blocks: dict[int, int] = defaultdict(int)
        for job in marked:
            for unit in job.units:
                self._blocks[unit.index] += 1
        self._tables: dict[int, list[Measurements]] = defaultdict(list)
        self._files: dict[str, list[Artifact]] = defaultdict(list)
        self._lost: list[str] = []
        self._cancelled = False
        self.job_seconds = 0.0

    def cancel(self) -> bool:
        """End its jobs now; False when that was asked before."""
        if self._cancelled:
            return False
        self._cancelled = True
        for job_id in list(self._open):
            self._executor.cancel(job_id, hard=True)
        return True

    def drive(self) -> None:
        """Submit, record as answers arrive, and note how the attempt ended."""
        try:
            for each in list(self._open.values()):
                self._executor.submit(each)
            while self._open:
                self._told.now()
                for event in self._executor.events(POLL_S):
                    if (job := self._open.get(event.job_id)) is not None:
                        self._take(event, job)
        except BaseException as error:
            self._abandon(error)
            raise
        finally:
            self._told.end()
        status = "lost" if self._lost else "done"
        self._run.end_attempt(self._fence, status, "; ".join(self._lost)[:500], work=self._work.content())

    def _take(self, event: Event, job: JobSpec) -> None:
        self._saw(event, job)
        self._work.add(event, job)
        if event.kind == "artifact":
            data = event.data
            self._files[event.job_id].append(
                Artifact(data["sha256"], data["bytes"], data["media_type"], data["name"])
            )
        elif event.kind == "units":
            self._record(event)
        elif event.kind == "end":
            del self._open[event.job_id]
            self._ended(event)

    def _ended(self, event: Event) -> None:
        status, message = event.data["status"], event.data.get("message") or ""
        self.job_seconds += float(event.data.get("seconds") or 0.0)
        if status == "refused":
            raise WorkerError(f"{self._run.tool}: {message}")
        if status == "cancelled" and self._cancelled:
            raise WorkerError(f"{self._run.ref} was {CANCELLED}; the same call again finishes it")
        if status == "cancelled":
            raise WorkerError(f"run {self._run.ref} was cancelled; go on with --resume")
        if status == "lost":
            self._lost.append(message or "the worker died")

    def _record(self, event: Event) -> None:
        files = self._files.pop(event.job_id, [])
        outcomes = []
        for index in event.data["units"]:
            outcome = self._outcome(event, index, files)
            if outcome is not None:
                outcomes.append(outcome)
                files = []
        self._run.record(self._fence, outcomes)
        self._told.recorded(len(outcomes))

    def _outcome(self, event: Event, index: int, files: list[Artifact]) -> UnitOutcome | None:
        """The outcome of one unit, or None while another block of its conditions is still out."""
        status = event.data["status"]
        if status != "ok":
            said = f"{event.data.get('error_class') or status}: {event.data.get('message') or ''}"
            return UnitOutcome(index, status, message=said, artifacts=files)
        self._tables[index].append(event.table().select(units=[index]))
        if len(self._tables[index]) < self._blocks[index]:
            return None
        parts = self._tables.pop(index)
        table = (
            parts[0]
            if len(parts) == 1
            else merge(parts, conditions=self._run.conditions, atol=self._tool.atol)
        )
        return UnitOutcome(index, "ok", table, artifacts=files)

    def _abandon(self, error: BaseException) -> None:
        """Take back what is still out; its units have no outcome and are measured again on resume."""
        for job_id in self._open:
            self._executor.cancel(job_id, hard=True)
        cancelled = isinstance(error, KeyboardInterrupt)
        status = "cancelled" if cancelled else "error"
        self._run.end_attempt(self._fence, status, str(error)[:500], work=self._work.content())


class _Told:
    """What other processes are shown of one attempt; nothing where there is no status file."""

    def __init__(self, file: StatusFile | None, executor: Executor, run: Run, missing: int) -> None:
        self._file, self._executor, self._run = file, executor, run
        self._done, self._began = len(run.units) - missing, time.monotonic()

    def recorded(self, units: int) -> None:
        """So many units more have an outcome."""
        self._done += units

    def now(self) -> None:
        """Write it, at most once a second."""
        if self._file is not None and self._file.is_due():
            self._file.update(self._executor, self._shown())

    def end(self) -> None:
        """The attempt is over."""
        if self._file is not None:
            self._file.rest(self._executor)

    def _shown(self) -> RunStatus:
        run = self._run
        return RunStatus(
            run=run.ref,
            phase=run.phase,
            tool=run.tool,
            campaign=run.campaign.key,
            done=self._done,
            total=len(run.units),
            seconds=time.monotonic() - self._began,
        )


def environment_of(tool: Tool) -> dict[str, Any]:
    """What a tool's numbers depend on here: equal environments and seeds give equal numbers."""
    return {
        **numeric_environment(tool.resources),
        "python": platform.python_version(),
        "machine": platform.machine(),
    }


def job_of(run: Run, tool: Tool, units: Sequence[Unit]) -> JobSpec:
    """The job that measures some units of a run, from the run's own row."""
    return JobSpec(
        plugin=run.plugin,
        tool=run.tool,
        version=run.tool_version,
        source_sha256=run.source_sha256,
        params=run.params,
        units=tuple(units),
        conditions=None if run.conditions is None else tuple(run.conditions),
        targets=run.targets,
        resources=tool.resources,
        run=run.ref,
    )


def _table_of(run: Run) -> Measurements | None:
    ok = any(status == "ok" for status in run.outcomes().values())
    return run.measurements() if ok else None
