"""`Host`: what a Ray actor is made of. It supervises one child as `local` does; Ray only places and transports.

Arguments and results are JSON text, so nothing of ours is ever unpickled as an object. Holds no ledger, no token.
"""

from __future__ import annotations

import json
import os
import queue
import shutil
import sys
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agentkit.workers.job import JobSpec, installed_version
from agentkit.workers.process import ChildSetup
from agentkit.workers.supervisor import Supervisor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agentkit.workers.config import WorkersConfig
    from agentkit.workers.job import Event
    from agentkit.workers.ray_worker import Shape

PIECE_BYTES = 4 << 20
WORKER_MEMORY = 4 << 30


class Host:
    """One worker of a cluster. `run` and `poll` are called at the same time, from two threads of the actor.

    Args:
        setup: JSON: `name`, `modules`, `path` (the driver's import path), `artifacts` (a folder all nodes share,
            or null), `warm_bytes`, `share`, `pass_env`.
    """

    def __init__(self, setup: str) -> None:
        given = json.loads(setup)
        sys.path += [entry for entry in given["path"] if entry not in sys.path]
        self._own = given["artifacts"] is None
        self._folder = Path(given["artifacts"] or tempfile.mkdtemp(prefix="agentkit-artifacts-"))
        share = given["share"]
        devices = tuple(filter(None, os.environ.get("CUDA_VISIBLE_DEVICES", "").split(","))) if share else ()
        self._events: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._worker = Supervisor(
            f"{given['name']}@{_node()}",
            ChildSetup(
                modules=tuple(given["modules"]),
                artifacts=self._folder,
                warm_bytes=given["warm_bytes"],
                devices=devices,
                share=share,
                pass_env=tuple(given["pass_env"]),
            ),
            emit=self._events.put,
            idle=lambda worker: self._idle.release(),
        )

    def hello(self) -> str:
        """Process id and what is installed here, for the driver to show."""
        versions = {name: installed_version(name) for name in ("agentkit-perturb", "torch", "numpy", "ray")}
        return json.dumps({"pid": os.getpid(), "versions": versions})

    def run(self, job: str) -> str:
        """Run one job to its end; returns the events that no `poll` has fetched."""
        self._worker.run(JobSpec.from_wire(json.loads(job)), 1)
        self._idle.acquire()
        return self._batch(wait_s=0)

    def poll(self, wait_s: float) -> str:
        """What happened meanwhile. That it answers at all is the heartbeat."""
        return self._batch(wait_s)

    def cancel(self, job_id: str, hard: bool) -> None:
        """Stop the job that runs."""
        self._worker.cancel(job_id, hard=hard)

    def read(self, file: str, offset: int) -> bytes:
        """A piece of a stored file; empty at its end."""
        path = self._folder / file
        if not path.resolve().is_relative_to(self._folder.resolve()):
            return b""
        with path.open("rb") as stream:
            stream.seek(offset)
            return stream.read(PIECE_BYTES)

    def stop(self, grace_s: float) -> None:
        """End the child before the actor is ended."""
        self._worker.close(grace_s)
        self._worker.join(grace_s + 5)
        if self._own:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _batch(self, wait_s: float) -> str:
        events: list[dict[str, Any]] = []
        try:
            first = self._events.get(timeout=wait_s) if wait_s > 0 else self._events.get_nowait()
            while first is not None:
                events.append(first.model_dump(mode="json"))
                first = self._events.get_nowait()
        except queue.Empty:
            pass
        return json.dumps({"events": events, "info": self._worker.info().model_dump(mode="json")})


def start_host(ray: Any, name: str, shape: Shape, config: WorkersConfig, modules: Sequence[str]) -> Any:
    """The handle of a new actor with this many CPUs and GPUs; Ray places it when it can."""
    setup = {
        "name": name,
        "modules": list(modules),
        "path": [str(Path(p).resolve()) if p in ("", ".") else p for p in sys.path],
        "artifacts": config.artifacts,
        "warm_bytes": int(config.warm * (config.memory or WORKER_MEMORY)),
        "share": shape[1],
        "pass_env": config.pass_env,
    }
    placed: Any = ray.remote(Host).options(
        num_cpus=shape[0],
        num_gpus=shape[1],
        max_restarts=0,  # a new actor is ours to start
        max_task_retries=0,  # attempts are counted once, by the ledger
        max_concurrency=4,
    )
    return placed.remote(json.dumps(setup))


def _node() -> str:
    """The first letters of the node's id, so that events say where they come from."""
    import ray

    return str(ray.get_runtime_context().get_node_id())[:6]
