"""Where the workers of a distributed run live: processes of this machine, or Ray actors.

A worker is made from names and values only: the import path of an objective's factory, its arguments, the
spec. What travels afterwards is a step number, a byte a probe, and digests.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import multiprocessing
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Protocol

from agentkit.errors import MissingExtraError, ParamError, WorkerError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from multiprocessing.connection import Connection
    from pathlib import Path

    from agentkit_weight.replica import ZoSpec

Answer = Any
"""JSON values: what a worker's method returns."""


class WorkerHost:
    """The worker's side: a `ZoWorker` behind methods that take and give JSON values.

    Args:
        objective: `module:callable` that makes the objective.
        arguments: its keyword arguments.
        spec_json: the run's spec.
        worker: this worker's number.
        threads: torch threads of this process; the bytes may not depend on it, the weights cannot.
    """

    def __init__(
        self, objective: str, arguments: Mapping[str, Any], spec_json: str, worker: int, threads: int
    ) -> None:
        import torch

        from agentkit_weight.zo import ZoWorker
        from agentkit_weight.zo_log import require_base, spec_from_json

        torch.set_num_threads(threads)
        spec = spec_from_json(json.loads(spec_json))
        self._worker = ZoWorker(load_factory(objective)(**arguments), spec, worker)
        require_base(spec, self._worker.digest())

    def probe(self, step: int) -> list[list[float]]:
        """[sample, byte, loss, rows] of every probe of this step."""
        probes = [self._worker.probe(step, sample) for sample in range(self._worker.spec.probes)]
        return [[p.record.sample, p.record.byte, p.loss, p.n] for p in probes]

    def apply(self, records: list[list[int]]) -> None:
        """Take committed records in."""
        from agentkit_weight.replica import Record

        self._worker.apply(Record(*r) for r in records)

    def digest(self) -> str:
        """SHA-256 of the replica."""
        return self._worker.digest()

    def tensor_digests(self) -> dict[str, str]:
        """SHA-256 of every matrix, to say which one differs."""
        from agentkit_weight.replica import digest_of

        return {n: digest_of({n: w}) for n, w in self._worker.replica.weights.items()}

    def save(self, path: str) -> str:
        """Write the replica as safetensors; returns its digest."""
        from safetensors.torch import save_file

        save_file(self._worker.replica.weights, path)
        return self.digest()

    def load(self, path: str, sha256: str) -> bool:
        """Take a snapshot instead of replaying so far; False (and nothing changed) if it is absent or damaged."""
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        from agentkit_weight.replica import digest_of

        try:
            weights = load_file(path)
        except (OSError, SafetensorError):
            return False
        if digest_of(weights) != sha256:
            return False
        for name, weight in self._worker.replica.weights.items():
            weight.copy_(weights[name])
        return True


class Fleet(Protocol):
    """Workers by number. Calls to one worker run one after another, in the order they were made."""

    def start(self, worker: int, spec: ZoSpec) -> Future[Answer]:
        """A fresh worker at the base weights; done when it is ready, failed when its base is another."""

    def call(self, worker: int, method: str, *arguments: Any) -> Future[Answer]:
        """A method of `WorkerHost`; the future fails with `WorkerError` when the worker is gone."""

    def kill(self, worker: int) -> None:
        """End a worker at once."""

    def close(self) -> None:
        """End all workers."""


class LocalFleet:
    """Each worker is a fresh process of this machine.

    Args:
        objective: `module:callable` that makes the objective in the worker.
        arguments: its keyword arguments.
        threads: torch threads by worker number; 1 unless said.
    """

    def __init__(
        self, objective: str, arguments: Mapping[str, Any], threads: Mapping[int, int] | None = None
    ) -> None:
        load_factory(objective)
        self.objective, self.arguments, self.threads = objective, dict(arguments), dict(threads or {})
        self._workers: dict[int, _Process] = {}

    def start(self, worker: int, spec: ZoSpec) -> Future[Answer]:
        """Start a process; what it needs to import is imported there."""
        self.kill(worker)
        text = json.dumps(asdict(spec))
        made = _Process((self.objective, self.arguments, text, worker, self.threads.get(worker, 1)))
        self._workers[worker] = made
        return made.call("ready")

    def call(self, worker: int, method: str, *arguments: Any) -> Future[Answer]:
        """Send a call down the worker's pipe, after those sent before."""
        return self._workers[worker].call(method, *arguments)

    def kill(self, worker: int) -> None:
        """SIGKILL, then reap."""
        if process := self._workers.pop(worker, None):
            process.kill()

    def close(self) -> None:
        """End all workers."""
        for worker in list(self._workers):
            self.kill(worker)


class _Process:
    """One child, its pipe, and one thread that waits for its answers in order."""

    def __init__(self, made_of: tuple[Any, ...]) -> None:
        spawn = multiprocessing.get_context("spawn")
        self._pipe, theirs = spawn.Pipe()
        self._child = spawn.Process(target=serve, args=(theirs, made_of), daemon=True)
        self._child.start()
        theirs.close()
        self._thread = ThreadPoolExecutor(1)

    def call(self, method: str, *arguments: Any) -> Future[Answer]:
        return self._thread.submit(self._ask, method, arguments)

    def kill(self) -> None:
        self._child.kill()
        self._child.join()
        self._pipe.close()
        self._thread.shutdown(wait=True, cancel_futures=True)

    def _ask(self, method: str, arguments: tuple[Any, ...]) -> Answer:
        try:
            self._pipe.send((method, arguments))
            good, answer = self._pipe.recv()
        except (EOFError, OSError) as error:
            raise WorkerError(f"worker process {self._child.pid} is gone ({type(error).__name__})") from None
        if not good:
            raise WorkerError(answer)
        return answer


def serve(pipe: Connection, made_of: tuple[Any, ...]) -> None:
    """The child's loop: make the host, answer until the pipe closes. An error is an answer."""
    host: WorkerHost | None = None
    with contextlib.suppress(EOFError, OSError):
        while True:
            method, arguments = pipe.recv()
            try:
                host = host or WorkerHost(*made_of)
                answer = None if method == "ready" else getattr(host, method)(*arguments)
            except Exception as error:  # noqa: BLE001 - whatever the objective raises belongs to the driver
                pipe.send((False, f"{type(error).__name__}: {error}"))
            else:
                pipe.send((True, answer))


class RayFleet:
    """Each worker is a Ray actor; Ray must be initialised. Arguments as `LocalFleet`."""

    def __init__(
        self, objective: str, arguments: Mapping[str, Any], threads: Mapping[int, int] | None = None
    ) -> None:
        try:
            import ray
        except ImportError:
            raise MissingExtraError("RayFleet needs ray; run: pip install 'agentkit-perturb[ray]'") from None
        self._ray = ray
        self.objective, self.arguments, self.threads = objective, dict(arguments), dict(threads or {})
        self._actors: dict[int, Any] = {}

    def start(self, worker: int, spec: ZoSpec) -> Future[Answer]:
        """Start an actor that is never restarted behind our back: its weights would be the base again."""
        self.kill(worker)
        actor = self._ray.remote(num_cpus=0.5, max_restarts=0, max_task_retries=0)(WorkerHost)
        made_of = (
            self.objective,
            self.arguments,
            json.dumps(asdict(spec)),
            worker,
            self.threads.get(worker, 1),
        )
        self._actors[worker] = actor.remote(*made_of)
        return self.call(worker, "digest")

    def call(self, worker: int, method: str, *arguments: Any) -> Future[Answer]:
        """An actor call; Ray runs an actor's calls in order."""
        theirs: Future[Answer] = getattr(self._actors[worker], method).remote(*arguments).future()
        ours: Future[Answer] = Future()

        def hand_on(done: Future[Answer]) -> None:
            if error := done.exception():
                ours.set_exception(WorkerError(f"worker {worker}: {type(error).__name__}: {error}"))
            else:
                ours.set_result(done.result())

        theirs.add_done_callback(hand_on)
        return ours

    def kill(self, worker: int) -> None:
        """End an actor at once."""
        if actor := self._actors.pop(worker, None):
            self._ray.kill(actor)

    def close(self) -> None:
        """End all actors; Ray itself stays as it was."""
        for worker in list(self._actors):
            self.kill(worker)


def load_factory(path: str) -> Any:
    """The callable behind `module:callable`.

    Raises:
        ParamError: there is none.
    """
    module, _, name = path.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ParamError(f"objective {path!r} cannot be imported as module:callable ({error})") from None


def snapshot_path(folder: Path, step: int) -> Path:
    """Where the snapshot after `step` steps lies."""
    return folder / f"step-{step:06d}.safetensors"
