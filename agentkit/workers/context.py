"""`JobContext`: what a tool may ask of the worker that runs it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from agentkit.types import BASELINE
from agentkit.workers.partial import Partial

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from agentkit.types import Unit
    from agentkit.workers.artifacts import ArtifactStore
    from agentkit.workers.job import JobSpec
    from agentkit.workers.warm import WarmTargets

PROGRESS_EVERY_S = 0.1


class Control:
    """Whether a job should stop, and why: somebody asked (from another thread), or its time is over."""

    def __init__(self) -> None:
        self._cancelled = False
        self._deadline: float | None = None

    def stop_after(self, seconds: float) -> None:
        """Count the job's time from now."""
        self._deadline = time.monotonic() + seconds

    def cancel(self) -> None:
        """Ask the job to stop between units."""
        self._cancelled = True

    @property
    def cancelled(self) -> bool:
        """Whether somebody asked."""
        return self._cancelled

    @property
    def late(self) -> bool:
        """Whether the deadline has passed."""
        return self._deadline is not None and time.monotonic() > self._deadline

    @property
    def stop(self) -> bool:
        """Either of them."""
        return self.cancelled or self.late


class JobContext:
    """The `agentkit.Context` of one job."""

    def __init__(
        self,
        job: JobSpec,
        *,
        device: str,
        workdir: Path,
        targets: WarmTargets,
        artifacts: ArtifactStore,
        control: Control,
        emit: Callable[[str, dict[str, Any]], None],
    ) -> None:
        self._job = job
        self._device = device
        self._workdir = workdir
        self._targets = targets
        self._artifacts = artifacts
        self._control = control
        self._emit = emit
        self._conditions = job.asked_conditions
        self._partial = Partial(artifacts.folder, job)
        self._batch: int | None = None
        self._last_progress = float("-inf")

    @property
    def device(self) -> str:
        """`cpu`, or the device this job was given."""
        return self._device

    @property
    def workdir(self) -> Path:
        """A private folder that is removed when the job ends."""
        return self._workdir

    @property
    def conditions(self) -> frozenset[str] | None:
        """The conditions asked for, `baseline` among them; None for all."""
        return self._conditions

    @property
    def cancelled(self) -> bool:
        """Whether the job should stop."""
        return self._control.stop

    @property
    def batch(self) -> int | None:
        """Most rows to put on the device at once; None unless memory ran out before."""
        return self._batch

    def limit_batch(self, rows: int | None) -> None:
        """For the worker: what `batch` says from now on."""
        self._batch = rows

    def target(self, uri: str) -> Any:
        """The loaded target behind a URI."""
        return self._targets.get(uri, self._job.targets.get(uri)).value

    def progress(self, done: int, total: int) -> None:
        """Tell the user how far the job is; at most ten times a second, and always the last one."""
        now = time.monotonic()
        if done >= total or now - self._last_progress >= PROGRESS_EVERY_S:
            self._last_progress = now
            self._emit("progress", {"done": int(done), "total": int(total)})

    def artifact(self, name: str, value: Any) -> str:
        """Store a table, array or figure; returns its SHA-256."""
        stored = self._artifacts.put(name, value)
        self._emit("artifact", stored.to_json())
        return stored.sha256

    def read_artifact(self, sha256: str) -> bytes:
        """The bytes of a stored artifact; raises `ParamError` when this worker does not have it."""
        return self._artifacts.named(sha256)

    def keep(self, unit: Unit, name: str, arrays: Mapping[str, Any]) -> None:
        """Keep working arrays of a unit until it is answered."""
        self._partial.keep(unit, name, arrays)

    def kept(self, unit: Unit, name: str) -> dict[str, Any] | None:
        """What an unfinished attempt at this unit kept, or None."""
        return self._partial.kept(unit, name)

    def forget(self, units: Sequence[Unit]) -> None:
        """For the worker: these units are answered."""
        self._partial.forget(units)

    def wants(self, condition: str) -> bool:
        """Whether `condition` was asked for."""
        return condition == BASELINE or self._conditions is None or condition in self._conditions
