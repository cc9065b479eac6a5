"""`RayExecutor`: the workers of `local`, placed on a Ray cluster. Retries, fences and records stay ours."""

from __future__ import annotations

import contextlib
import json
import logging
import queue
import shutil
import tempfile
import threading
import time
from collections import deque
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agentkit.errors import MissingExtraError, WorkerError
from agentkit.workers import ray_cluster
from agentkit.workers.artifacts import ArtifactStore
from agentkit.workers.executor import Capacity, WorkerInfo
from agentkit.workers.job import make_event
from agentkit.workers.ray_files import fetch
from agentkit.workers.ray_host import start_host
from agentkit.workers.ray_nodes import HEAD_S, Nodes
from agentkit.workers.ray_worker import RayWorker, cause_of, is_death
from agentkit.workers.routing import Router

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from agentkit.workers.config import WorkersConfig
    from agentkit.workers.job import Event, JobSpec
    from agentkit.workers.ray_worker import Shape

LEASE_S = 30.0
"""A worker that has not answered for so long is given up, by this process's monotonic clock."""

TICK_S = 0.25
POLL_S = 1.0
PENDING_S = 2.0

logger = logging.getLogger(__name__)


class RayExecutor:
    """Jobs wait here; each idle actor gets the one it is expected to finish first.

    One thread (`_pump`) owns all state; Ray's callbacks and the caller only put messages into its inbox.
    """

    def __init__(
        self, config: WorkersConfig, *, modules: Sequence[str] = (), artifacts: Path | None = None
    ) -> None:
        if find_spec("ray") is None:
            raise MissingExtraError(
                "workers: ray needs the extra 'ray'; run: pip install 'agentkit-perturb[ray]'"
            )
        self._config = config
        self._connected_here = ray_cluster.connect(config)
        import ray

        self._ray = ray
        self._modules = tuple(modules)
        self._own_artifacts = artifacts is None
        self._artifacts = artifacts or Path(tempfile.mkdtemp(prefix="agentkit-artifacts-"))
        self._store = ArtifactStore(self._artifacts)
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._inbox: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._waiting: deque[tuple[JobSpec, float]] = deque()
        self._workers: list[RayWorker] = []
        self._router = Router()
        self._names = 0
        self._nodes = Nodes()
        self._looked_at = time.monotonic()
        self._lost = ""
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._pump, name="agentkit-ray", daemon=True)
        self._thread.start()

    # the contract ----------------------------------------------------------------------------------------

    def submit(self, job: JobSpec) -> None:
        """Queue a job.

        Raises:
            UnsatisfiableError: no alive node could ever run it (after `wait_for_nodes_s`, as its `end`, when set).
            WorkerError: the cluster is gone.
        """
        if self._closed.is_set():
            raise WorkerError("the workers are closed")
        if self._lost:
            raise WorkerError(self._lost)
        if not self._config.wait_for_nodes_s:
            self._nodes.require_satisfiable(job, self._shape(job))
        job = self._config.with_timeout(job)
        self._events.put(make_event(job, "queued", "", 0, {"units": len(job.units)}))
        self._tell(lambda: self._on_submit(job))

    def cancel(self, job_id: str, *, hard: bool = False) -> None:
        """Stop a job, waiting or running."""
        self._tell(lambda: self._on_cancel(job_id, hard))

    def events(self, timeout_s: float) -> Iterator[Event]:
        """Wait at most `timeout_s` for an event, then give all that are there."""
        try:
            yield self._events.get(timeout=timeout_s) if timeout_s > 0 else self._events.get_nowait()
            while True:
                yield self._events.get_nowait()
        except queue.Empty:
            return

    def capacity(self) -> Capacity:
        """Workers that exist and those that may still be started; threads, memory and GPUs over all nodes.

        Nodes as they were seen some seconds ago: a cluster that is gone would keep the caller waiting for a minute.
        """
        nodes = list(self._nodes.known)
        workers = [w.shown() for w in list(self._workers)]
        free = range(len(workers), self._most_workers(nodes))
        workers += [WorkerInfo(name=f"r{self._names + i}", state="stopped") for i, _ in enumerate(free)]
        return Capacity(
            backend="ray",
            workers=tuple(workers),
            cpus=int(sum(n.cpus for n in nodes)),
            memory=int(sum(n.memory for n in nodes)),
            devices=tuple(f"{n.address}:{i}" for n in nodes for i in range(int(n.gpus))),
            waiting=len(self._waiting),
        )

    def close(self, *, grace_s: float = 5) -> None:
        """End the actors; jobs that still run end as `cancelled`. A cluster started here ends, others stay."""
        if self._closed.is_set():
            return
        self._tell(lambda: self._on_close(grace_s))
        self._thread.join(grace_s + 30)
        if self._connected_here and not self._lost:  # without its head, Ray would wait for it here
            self._ray.shutdown()
        if self._own_artifacts:
            shutil.rmtree(self._artifacts, ignore_errors=True)

    # the pump --------------------------------------------------------------------------------------------

    def _tell(self, act: Callable[[], None]) -> None:
        self._inbox.put(act)

    def _pump(self) -> None:
        next_tick = time.monotonic() + TICK_S
        while not self._closed.is_set():
            try:
                with contextlib.suppress(queue.Empty):
                    self._inbox.get(timeout=max(0.0, next_tick - time.monotonic()))()
                if time.monotonic() >= next_tick and not self._closed.is_set():
                    next_tick = time.monotonic() + TICK_S
                    self._tick()
            except WorkerError as error:  # the cluster is gone
                self._end_all(str(error))
            except Exception as error:  # a fault of ours must end jobs, not hang them
                logger.exception("workers on Ray")
                self._end_all(f"{type(error).__name__}: {error}")

    def _end_all(self, reason: str) -> None:
        """Nothing can be run any more: what runs is lost, what waits is refused, what comes is refused."""
        self._lost = reason
        for job, _ in self._waiting:
            self._put_end(job, "", 1, "refused", reason, job.units)
        self._waiting.clear()
        for worker in list(self._workers):
            self._drop(worker, "lost", reason)

    def _on_submit(self, job: JobSpec) -> None:
        self._waiting.append((job, time.monotonic()))
        self._dispatch()

    def _on_cancel(self, job_id: str, hard: bool) -> None:
        for entry in list(self._waiting):
            if entry[0].job_id == job_id:
                self._waiting.remove(entry)
                self._put_end(entry[0], "", 1, "cancelled", "cancelled while it waited", entry[0].units)
        for worker in self._workers:
            if worker.job is not None and worker.job.job_id == job_id:
                if worker.ready:
                    worker.actor.cancel.remote(job_id, hard)
                else:
                    self._drop(worker, "cancelled", "cancelled while its worker was starting")

    def _on_close(self, grace_s: float) -> None:
        for job, _ in self._waiting:
            self._put_end(job, "", 1, "cancelled", "the pool was closed", job.units)
        self._waiting.clear()
        stops = [w.actor.stop.remote(grace_s if w.job else 0) for w in self._workers if w.ready]
        if stops:
            self._ray.wait(stops, num_returns=len(stops), timeout=grace_s + 5)
        for worker in list(self._workers):
            self._drop(worker, "cancelled", "the pool was closed")
        self._closed.set()

    def _tick(self) -> None:
        now = time.monotonic()
        if now - self._looked_at > HEAD_S:
            self._looked_at = now
            self._nodes.look()
        for worker in list(self._workers):
            if worker.job is not None and worker.ready:
                if now - worker.heard_at > LEASE_S:
                    self._drop(worker, "lost", f"worker {worker.name} has not answered for {LEASE_S:.0f} s")
                elif not worker.polling and now - worker.sent_at > TICK_S:
                    worker.polling = True
                    self._when_done(worker.actor.poll.remote(POLL_S), worker, self._on_poll)
        self._unblock(now)
        self._dispatch()

    def _unblock(self, now: float) -> None:
        """A pending actor may wait for what idle actors of other shapes hold: give it back."""
        pending = [w for w in self._workers if not w.ready and now - w.begun > PENDING_S]
        for worker in pending[:1]:
            for idle in [w for w in self._workers if w.ready and w.job is None and w.shape != worker.shape][
                :1
            ]:
                self._drop(idle, "cancelled", "")

    # who runs what ---------------------------------------------------------------------------------------

    def _shape(self, job: JobSpec) -> Shape:
        return job.resources.cpus, job.resources.gpus

    def _most_workers(self, nodes: Sequence[Any]) -> int:
        return self._config.count or max(1, int(sum(n.cpus for n in nodes)))

    def _dispatch(self) -> None:
        self._take_back_from_pending()
        backlog: dict[str, float] = {}
        for entry in list(self._waiting):
            job, since = entry
            shape = self._shape(job)
            group = [w for w in self._workers if w.shape == shape]
            busy = {w.name: (w.job, w.sent_at) for w in group if w.job is not None}
            can_start = self._can_start(shape)
            chosen = self._router.choose(job, group, busy, can_start=can_start, backlog=backlog)
            if chosen is None:
                self._give_up_waiting(entry, since)
                continue
            self._waiting.remove(entry)
            self._give(self._start(shape) if chosen == "start" else chosen, job)

    def _take_back_from_pending(self) -> None:
        """An actor that Ray cannot place yet keeps no job that another one is free for."""
        for pending in [w for w in self._workers if not w.ready and w.job is not None]:
            if any(w.ready and w.job is None and w.shape == pending.shape for w in self._workers):
                assert pending.job is not None  # noqa: S101 - chosen by it
                self._waiting.appendleft((pending.job, time.monotonic()))
                pending.job = None

    def _give_up_waiting(self, entry: tuple[JobSpec, float], since: float) -> None:
        """Where nodes may still come, a job that none satisfies ends after `wait_for_nodes_s`."""
        if not self._config.wait_for_nodes_s or time.monotonic() - since < self._config.wait_for_nodes_s:
            return
        try:
            self._nodes.require_satisfiable(entry[0], self._shape(entry[0]))
        except WorkerError as error:
            self._waiting.remove(entry)
            self._put_end(entry[0], "", 1, "refused", str(error), entry[0].units, type(error).__name__)

    def _can_start(self, shape: Shape) -> bool:
        if len(self._workers) >= self._most_workers(self._nodes.look()):
            return self._retire_other(shape)
        if not self._nodes.one_could_hold(shape):
            return False
        return self._nodes.room_for(shape, [w.shape for w in self._workers]) or self._retire_other(shape)

    def _retire_other(self, shape: Shape) -> bool:
        idle = [w for w in self._workers if w.ready and w.job is None and w.shape != shape]
        if idle:
            self._drop(idle[0], "cancelled", "")
        return bool(idle)

    def _start(self, shape: Shape) -> RayWorker:
        name = f"r{self._names}"
        self._names += 1
        actor = start_host(self._ray, name, shape, self._config, self._modules)
        worker = RayWorker(name, shape, actor, time.monotonic())
        self._workers.append(worker)
        self._when_done(actor.hello.remote(), worker, self._on_hello)
        return worker

    def _give(self, worker: RayWorker, job: JobSpec) -> None:
        worker.begin(job)
        if worker.ready:
            ref = worker.actor.run.remote(json.dumps(job.to_wire()))
            self._when_done(ref, worker, lambda w, text, error: self._on_run(w, job, text, error))

    def _when_done(
        self, ref: Any, worker: RayWorker, act: Callable[[RayWorker, str, BaseException | None], None]
    ) -> None:
        def done(future: Any) -> None:
            error = future.exception()
            text = "" if error else future.result()
            self._tell(lambda: act(worker, text, error))

        ref.future().add_done_callback(done)

    # what comes back -------------------------------------------------------------------------------------

    def _on_hello(self, worker: RayWorker, text: str, error: BaseException | None) -> None:
        if worker not in self._workers:
            return
        if error is not None:
            status = "lost" if is_death(error) else "refused"
            self._drop(worker, status, f"worker {worker.name} did not start: {cause_of(error)}")
        else:
            worker.ready = True
            if worker.job is not None:
                self._give(worker, worker.job)
        self._dispatch()

    def _on_poll(self, worker: RayWorker, text: str, error: BaseException | None) -> None:
        worker.polling = False
        if worker not in self._workers:
            return
        if error is not None:
            self._drop(worker, "lost", f"worker {worker.name} is gone: {cause_of(error)}")
        else:
            self._take(worker, text)

    def _on_run(self, worker: RayWorker, job: JobSpec, text: str, error: BaseException | None) -> None:
        if worker not in self._workers or worker.job is not job:
            return  # given up before; its answer carries an old fence
        if error is not None:
            self._drop(worker, "lost", f"worker {worker.name} is gone: {cause_of(error)}")
        else:
            self._take(worker, text)
        self._dispatch()

    def _take(self, worker: RayWorker, text: str) -> None:
        """Events of a worker in their order, whichever call brought them."""
        for event in worker.heard(text):
            if worker.job is not None:
                self._pass_on(worker, worker.job, event)

    def _pass_on(self, worker: RayWorker, job: JobSpec, event: Event) -> None:
        if event.kind == "artifact":
            self._fetch(worker, event.data["file"])
        elif event.kind == "started":
            self._router.loaded(job, worker.name, event)
        elif event.kind == "units":
            worker.left -= set(event.data["units"])
        elif event.kind == "end":
            self._router.ended(job, worker.name, event)
            worker.job = None
            worker.jobs_done += 1
        if event.data.get("traceback_sha256"):
            self._fetch(worker, f"{event.data['traceback_sha256']}.txt")
        if event.data.get("log_file"):
            self._fetch(worker, f"logs/{event.data['log_file']}")
        self._events.put(event)

    def _fetch(self, worker: RayWorker, file: str) -> None:
        """Bring a file here, unless it is here: equal names are equal bytes (logs are few)."""
        target = self._artifacts / file
        if self._config.artifacts is not None or target.exists():
            return
        content = fetch(self._ray, worker.actor, file, timeout_s=LEASE_S)
        if content is None:
            return
        if file.startswith("logs/"):
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        else:
            self._store.put_bytes(file, content)

    def _drop(self, worker: RayWorker, status: str, message: str) -> None:
        """Forget an actor; if it had a job, that attempt ends so. Its late answers will find nobody."""
        self._workers.remove(worker)
        with contextlib.suppress(
            self._ray.exceptions.RayError, RuntimeError
        ):  # it, or all of Ray, is gone already
            self._ray.kill(worker.actor, no_restart=True)
        if worker.job is not None:
            left = [u for u in worker.job.units if u.index in worker.left]
            self._put_end(worker.job, worker.name, worker.next_seq, status, message, left)
            worker.job = None

    def _put_end(
        self,
        job: JobSpec,
        worker: str,
        seq: int,
        status: str,
        message: str,
        left: Sequence[Any],
        error_class: str = "WorkerError",
    ) -> None:
        data = {
            "status": status,
            "error_class": error_class,
            "message": message,
            "traceback_sha256": None,
            "seconds": 0.0,
            "units_left": [u.index for u in left],
        }
        self._events.put(make_event(job, "end", worker, seq, data))
