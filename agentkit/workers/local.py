"""`LocalExecutor`: own child processes on this machine, kept warm, each killable with all it started."""

from __future__ import annotations

import queue
import shutil
import tempfile
import threading
import time
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING

from agentkit.errors import UnsatisfiableError, WorkerError
from agentkit.workers import gpus
from agentkit.workers.config import available_cpus, total_memory
from agentkit.workers.executor import Capacity, WorkerInfo
from agentkit.workers.job import make_event
from agentkit.workers.process import ChildSetup
from agentkit.workers.routing import Router
from agentkit.workers.supervisor import Supervisor

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from agentkit.workers.config import WorkersConfig
    from agentkit.workers.job import Event, JobSpec


class LocalExecutor:
    """Jobs wait in one queue; a job goes to the worker that is expected to finish it first.

    Children start when the first job needs them. Children for jobs with GPUs are kept apart: each sees its
    devices only, and the shares given out never exceed a device.
    """

    def __init__(
        self, config: WorkersConfig, *, modules: Sequence[str] = (), artifacts: Path | None = None
    ) -> None:
        self._config = config
        self._modules = tuple(modules)
        self._own_artifacts = artifacts is None
        self._artifacts = artifacts or Path(tempfile.mkdtemp(prefix="agentkit-artifacts-"))
        self._devices = gpus.Shares(gpus.visible_devices(config.gpus))
        self._memory = config.memory or max(total_memory() // config.workers, 64 << 20)
        self._cpus = max(config.workers, available_cpus())
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._lock = threading.RLock()
        self._waiting: deque[JobSpec] = deque()
        self._router = Router()
        self._workers: list[Supervisor] = []
        self._running: dict[str, tuple[JobSpec, Supervisor, float]] = {}
        self._retired: list[Supervisor] = []
        self._closed = False
        self._names = 0

    # the contract ----------------------------------------------------------------------------------------

    def submit(self, job: JobSpec) -> None:
        """Queue a job; raises `UnsatisfiableError` at once when no worker here could ever run it."""
        self._require_satisfiable(job)
        job = self._config.with_timeout(job)
        with self._lock:
            if self._closed:
                raise WorkerError("the workers are closed")
            if job.job_id in self._running or any(j.job_id == job.job_id for j in self._waiting):
                raise WorkerError(
                    f"job {job.job_id} of run {job.run!r} is here already; number its next attempt"
                )
            self._events.put(make_event(job, "queued", "", 0, {"units": len(job.units)}))
            self._waiting.append(job)
            self._dispatch()

    def cancel(self, job_id: str, *, hard: bool = False) -> None:
        """Stop a job: at once when it waits, between units (or hard) when it runs."""
        with self._lock:
            for job in list(self._waiting):
                if job.job_id == job_id:
                    self._waiting.remove(job)
                    self._events.put(_cancelled(job))
                    return
            running = self._running.get(job_id)
        if running is not None:
            running[1].cancel(job_id, hard=hard)

    def events(self, timeout_s: float) -> Iterator[Event]:
        """Wait at most `timeout_s` for an event, then give all that are there."""
        try:
            yield self._events.get(timeout=timeout_s) if timeout_s > 0 else self._events.get_nowait()
            while True:
                yield self._events.get_nowait()
        except queue.Empty:
            return

    def capacity(self) -> Capacity:
        """Workers (those not yet started, too), devices and memory."""
        with self._lock:
            started = [w.info() for w in self._workers]
            others = self._config.workers - sum(1 for w in self._workers if not w.setup.devices)
            workers = [
                *started,
                *(WorkerInfo(name=f"w{self._names + i}", state="stopped") for i in range(others)),
            ]
            return Capacity(
                backend="local",
                workers=tuple(workers),
                cpus=self._config.workers,
                memory=self._memory,
                devices=tuple(self._devices.names),
                waiting=len(self._waiting),
            )

    def close(self, *, grace_s: float = 5) -> None:
        """End all children, those that run a job after `grace_s` at the latest."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            waiting, self._waiting = list(self._waiting), deque()
            workers = [*self._workers, *self._retired]
        for job in waiting:
            self._events.put(_cancelled(job))
        for worker in workers:
            worker.close(grace_s)
        for worker in workers:
            worker.join(grace_s + 5)
        if self._own_artifacts:
            shutil.rmtree(self._artifacts, ignore_errors=True)

    # who runs what ---------------------------------------------------------------------------------------

    def _require_satisfiable(self, job: JobSpec) -> None:
        needs = job.resources
        if needs.cpus > self._cpus:
            raise UnsatisfiableError(
                f"{job.tool} needs {needs.cpus} CPUs; this machine has {self._cpus}. Lower resources.cpus"
            )
        if needs.memory > self._memory:
            raise UnsatisfiableError(
                f"{job.tool} needs {needs.memory / 2**30:.1f} GiB; a worker may hold {self._memory / 2**30:.1f} GiB. "
                "Raise workers.memory, lower workers.count or resources.memory"
            )
        if needs.gpus > len(self._devices.names):
            raise UnsatisfiableError(
                f"{job.tool} needs {needs.gpus:g} GPUs; {len(self._devices.names)} are visible here. "
                "Leave out gpus_per_job, or use a machine that has them"
            )

    def _dispatch(self) -> None:
        """Give waiting jobs to idle workers, in order; a job may wait for a busy worker that is warm for it."""
        backlog: dict[str, float] = {}
        for job in list(self._waiting):
            if len(self._running) >= self._config.workers + len(self._devices.names) * 16:
                return
            worker = self._worker_for(job, backlog)
            if worker is not None:
                self._waiting.remove(job)
                self._running[job.job_id] = (job, worker, time.monotonic())
                worker.run(job, 1)
            elif not self._idle_or_startable():
                return

    def _idle_or_startable(self) -> bool:
        cpu = [w for w in self._workers if not w.setup.devices]
        busy = {id(w) for _, w, _ in self._running.values()}
        return len(cpu) < self._config.workers or any(id(w) not in busy for w in self._workers)

    def _worker_for(self, job: JobSpec, backlog: dict[str, float]) -> Supervisor | None:
        threads = sum(j.resources.cpus for j, _, _ in self._running.values())
        if self._running and threads + job.resources.cpus > self._cpus:
            return None
        share = job.resources.gpus
        group = [w for w in self._workers if w.setup.share == share]
        busy = {w.name: (j, begin) for j, w, begin in self._running.values()}
        chosen = self._router.choose(job, group, busy, can_start=self._can_start(share), backlog=backlog)
        return self._start(share) if chosen == "start" else chosen

    def _can_start(self, share: float) -> bool:
        if share == 0:
            return sum(1 for w in self._workers if not w.setup.devices) < self._config.workers
        return self._devices.fits(share) or self._free_idle_gpu_worker(share)

    def _free_idle_gpu_worker(self, share: float) -> bool:
        """Retire idle workers of other shares until this share fits somewhere."""
        busy = {id(w) for _, w, _ in self._running.values()}
        for worker in [w for w in self._workers if w.setup.devices and id(w) not in busy]:
            if worker.setup.share != share:
                self._workers.remove(worker)
                self._retired.append(worker)
                worker.close(0)
                worker.join(10)  # its device memory must be free before another child counts on it
                self._devices.give_back(worker.setup.devices, worker.setup.share)
                if self._devices.fits(share):
                    return True
        return False

    def _start(self, share: float) -> Supervisor:
        setup = ChildSetup(
            modules=self._modules,
            artifacts=self._artifacts,
            warm_bytes=int(self._config.warm * self._memory),
            devices=self._devices.take(share),
            share=share,
            pass_env=self._config.pass_env,
        )
        worker = Supervisor(f"w{self._names}", setup, emit=self._on_event, idle=self._on_idle)
        self._names += 1
        self._workers.append(worker)
        return worker

    def _on_event(self, event: Event) -> None:
        if event.kind == "started":
            with self._lock:
                job, worker, _ = self._running[event.job_id]
                self._router.loaded(job, worker.name, event)
        elif event.kind == "end":
            with self._lock:
                job, worker, _ = self._running.pop(event.job_id)
                self._router.ended(job, worker.name, event)
        self._events.put(event)

    def _on_idle(self, worker: Supervisor) -> None:
        with self._lock:
            if not self._closed:
                self._dispatch()


def _cancelled(job: JobSpec) -> Event:
    data = {
        "status": "cancelled",
        "error_class": None,
        "message": "cancelled while it waited",
        "traceback_sha256": None,
        "seconds": 0.0,
        "units_left": [u.index for u in job.units],
    }
    return make_event(job, "end", "", 1, data)
