"""`InlineExecutor`: jobs run in this process, when events are read. For notebooks and debuggers; nothing can be killed."""

from __future__ import annotations

import logging
import shutil
import tempfile
import time
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agentkit.errors import UnsatisfiableError, WorkerError
from agentkit.workers.artifacts import ArtifactStore
from agentkit.workers.config import available_cpus, total_memory
from agentkit.workers.context import Control
from agentkit.workers.executor import Capacity, WorkerInfo
from agentkit.workers.job import make_event
from agentkit.workers.runner import Runner
from agentkit.workers.warm import WarmTargets

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from agentkit.workers.config import WorkersConfig
    from agentkit.workers.job import Event, JobSpec

NAME = "inline"


class InlineExecutor:
    """One job at a time, on the thread that reads `events`. Time-outs and cancellation act between units only."""

    def __init__(
        self, config: WorkersConfig, *, modules: Sequence[str] = (), artifacts: Path | None = None
    ) -> None:
        from agentkit.plugins import load_plugins

        self._config = config
        self._memory = config.memory or total_memory()
        self._own_artifacts = artifacts is None
        self._artifacts = artifacts or Path(tempfile.mkdtemp(prefix="agentkit-artifacts-"))
        plugins = load_plugins(modules=modules)
        device = "cpu" if config.gpus == 0 else _first_device(config)
        targets = WarmTargets(plugins, device, int(config.warm * self._memory))
        self._runner = Runner(plugins, targets, ArtifactStore(self._artifacts), device=device, worker=NAME)
        self._device = device
        self._waiting: deque[JobSpec] = deque()
        self._events: deque[Event] = deque()
        self._running: tuple[JobSpec, Control, float] | None = None
        self._jobs_done = 0
        self._closed = False

    def submit(self, job: JobSpec) -> None:
        """Queue a job; it runs when events are read."""
        if self._closed:
            raise WorkerError("the workers are closed")
        if job.resources.gpus > (0 if self._device == "cpu" else 1):
            raise UnsatisfiableError(
                f"{job.tool} needs {job.resources.gpus:g} GPUs; inline has {self._device}. Use --workers local"
            )
        self._events.append(make_event(job, "queued", "", 0, {"units": len(job.units)}))
        self._waiting.append(self._config.with_timeout(job))

    def cancel(self, job_id: str, *, hard: bool = False) -> None:
        """Take a waiting job out, or ask the running one to stop between units (`hard` can do no more)."""
        for job in list(self._waiting):
            if job.job_id == job_id:
                self._waiting.remove(job)
                self._events.append(make_event(job, "end", "", 1, _stopped(job)))
        if self._running is not None and self._running[0].job_id == job_id:
            self._running[1].cancel()

    def events(self, timeout_s: float) -> Iterator[Event]:
        """What happened; when nothing waits, the next job is run first, whatever `timeout_s` says."""
        if not self._events and self._waiting:
            self._run(self._waiting.popleft())
        while self._events:
            yield self._events.popleft()

    def capacity(self) -> Capacity:
        """One worker: this process."""
        running = self._running
        info = WorkerInfo(
            name=NAME,
            state="idle" if running is None else "busy",
            device=self._device,
            job_id=running[0].job_id if running else None,
            tool=running[0].tool if running else None,
            seconds=time.monotonic() - running[2] if running else 0,
            warm=self._runner.targets.uris,
            warm_bytes=self._runner.targets.nbytes,
            jobs_done=self._jobs_done,
        )
        return Capacity(
            backend="inline",
            workers=(info,),
            cpus=available_cpus(),
            memory=self._memory,
            devices=() if self._device == "cpu" else (self._device,),
            waiting=len(self._waiting),
        )

    def close(self, *, grace_s: float = 5) -> None:
        """Cancel what waits."""
        self._closed = True
        for job in list(self._waiting):
            self.cancel(job.job_id)
        if self._own_artifacts:
            shutil.rmtree(self._artifacts, ignore_errors=True)

    def _run(self, job: JobSpec) -> None:
        control, seq = Control(), 1

        def emit(kind: Any, data: dict[str, Any]) -> None:
            nonlocal seq
            if kind == "loading":
                return
            if kind == "end":
                data.pop("replace", None)
                data |= {"log_bytes": 0, "log_file": None}
            self._events.append(make_event(job, kind, NAME, seq, data))
            seq += 1

        self._running = (job, control, time.monotonic())
        ended = False
        try:
            with tempfile.TemporaryDirectory(prefix="agentkit-job-") as folder:
                self._runner.run(job, Path(folder), control, emit)
            ended = True
        finally:  # Ctrl-C in the middle of a tool must not leave the attempt open
            self._running = None
            self._jobs_done += 1
            if not ended:
                logging.getLogger(__name__).warning("job %s was interrupted", job.job_id)
                emit("end", _stopped(job))


def _first_device(config: WorkersConfig) -> str:
    from agentkit.workers.gpus import visible_devices

    return "cuda:0" if visible_devices(config.gpus) else "cpu"


def _stopped(job: JobSpec) -> dict[str, Any]:
    return {
        "status": "cancelled",
        "error_class": None,
        "message": "cancelled before it was done",
        "traceback_sha256": None,
        "seconds": 0.0,
        "units_left": [u.index for u in job.units],
    }
