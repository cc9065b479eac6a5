"""`ZoRun`: zeroth-order training over several workers, with an exact record of one byte a probe.

Each step: ask every member for its probes, wait until all answered or the deadline passed, commit the step's
records in one SQL transaction, then apply them everywhere. What is committed is the truth; replicas and
snapshots are a cache. A late byte is dropped. Joining is replaying; leaving needs nothing.
"""

from __future__ import annotations

import logging
import time
from concurrent.futures import wait
from typing import TYPE_CHECKING

from agentkit.errors import WorkerError
from agentkit_weight.errors import QuorumLostError, ReplicaDivergedError
from agentkit_weight.replica import Record, ZoSpec
from agentkit_weight.zo import Probe
from agentkit_weight.zo_fleet import Fleet, snapshot_path
from agentkit_weight.zo_log import ZoLog
from agentkit_weight.zo_store import ZoStore

if TYPE_CHECKING:
    from collections.abc import Iterable
    from concurrent.futures import Future
    from pathlib import Path
    from typing import Any

logger = logging.getLogger(__name__)


class ZoRun:
    """Drives the workers of one run and writes its log. Opening a stored run goes on with it.

    Args:
        url: SQLAlchemy URL of the run's own store.
        run: the run's id in it.
        spec: the run.
        fleet: where workers live.
        quorum: least number of workers that must answer a step; all of the spec's unless said.
        deadline_s: how long a step waits for the slower ones, in seconds.
        checkpoint_every: steps between two comparisons of all digests.
        snapshots: folder for weights at checkpoints, so that joiners replay less; none unless said.
    """

    def __init__(
        self,
        url: str,
        run: str,
        spec: ZoSpec,
        fleet: Fleet,
        *,
        quorum: int | None = None,
        deadline_s: float = 60.0,
        checkpoint_every: int = 50,
        snapshots: Path | None = None,
    ) -> None:
        self.spec, self.fleet = spec, fleet
        self.store = ZoStore(url, run, spec)
        self.quorum = quorum or spec.workers
        self.deadline_s, self.checkpoint_every, self.snapshots = deadline_s, checkpoint_every, snapshots
        self.members: set[int] = set()
        self.done = 1 + max((r.step for r in self.store.records()), default=-1)

    def join(self, worker: int) -> None:
        """A fresh worker: base check, snapshot, replay of the rest, digest check at the last checkpoint.

        Raises:
            ReplicaDivergedError: its weights at the last checkpoint are not the recorded ones.
            WorkerError: it does not start (another base digest is named in the message).
        """
        self.fleet.start(worker, self.spec).result()
        checkpoints = self.store.checkpoints()
        reached = 0
        for step, sha256, path in reversed(checkpoints):
            if path is not None and self.fleet.call(worker, "load", path, sha256).result():
                reached = step
                break
        records = [r for r in self.store.records() if r.step >= reached]
        at = checkpoints[-1][0] if checkpoints else 0
        self.fleet.call(worker, "apply", [list(r) for r in records if r.step < at]).result()
        if checkpoints and self.fleet.call(worker, "digest").result() != checkpoints[-1][1]:
            raise self._diverged(at, worker, "the recorded checkpoint")
        self.fleet.call(worker, "apply", [list(r) for r in records if r.step >= at]).result()
        self.members.add(worker)

    def leave(self, worker: int) -> None:
        """A worker goes; the run does not wait for it any more."""
        self.members.discard(worker)
        self.fleet.kill(worker)

    def advance(self, until: int | None = None) -> None:
        """Steps up to `until` (all of the spec's unless said).

        Raises:
            QuorumLostError: too few answered before the deadline; the committed log stays valid.
            ReplicaDivergedError: two members hold different weights at a checkpoint.
        """
        goal = self.spec.steps if until is None else min(until, self.spec.steps)
        while self.done < goal:
            probes = self._collect(self.done)
            self.store.commit(probes)
            self._apply([p.record for p in probes])
            self.done += 1
            if self.done % self.checkpoint_every == 0 or self.done == self.spec.steps:
                self.check()

    def check(self) -> str:
        """Compare the digests of all members and record the common one; returns it."""
        answers = {w: self.fleet.call(w, "digest") for w in sorted(self.members)}
        digests = self._answers(answers)
        if not digests:
            raise QuorumLostError(f"step {self.done}: no worker is left to compare; join one to go on")
        first = min(digests)
        for worker, digest in digests.items():
            if digest != digests[first]:
                raise self._diverged(self.done, worker, f"worker {first}")
        if self.done not in {step for step, _, _ in self.store.checkpoints()}:
            self.store.checkpoint(self.done, digests[first], self._snapshot(first))
        return str(digests[first])

    def log(self, **task: Any) -> ZoLog:
        """The committed log as one value, for an artifact."""
        checkpoints = tuple((step, sha) for step, sha, _ in self.store.checkpoints())
        return ZoLog(self.spec, tuple(self.store.records()), checkpoints, task)

    def close(self) -> None:
        """End the workers and let the store go."""
        self.fleet.close()
        self.store.close()

    def _collect(self, step: int) -> list[Probe]:
        asked = {w: self.fleet.call(w, "probe", step) for w in sorted(self.members)}
        start = time.monotonic()
        wait(asked.values(), timeout=self.deadline_s)
        answers = self._answers({w: f for w, f in asked.items() if f.done()})
        if len(answers) < self.quorum:
            raise QuorumLostError(
                f"step {step}: {len(answers)} of {self.spec.workers} workers answered within "
                f"{time.monotonic() - start:.1f} s, {self.quorum} are needed; {self.done} steps are committed. Join "
                "workers and go on"
            )
        return [
            Probe(Record(step, worker, int(sample), int(byte)), float(loss), int(n))
            for worker, probes in sorted(answers.items())
            for sample, byte, loss, n in probes
        ]

    def _apply(self, records: Iterable[Record]) -> None:
        """To everybody, the late ones too: they will take it in after the probe they are still at."""
        rows = [list(r) for r in records]
        for worker in sorted(self.members):
            self.fleet.call(worker, "apply", rows)

    def _answers(self, futures: dict[int, Future[Any]]) -> dict[int, Any]:
        """Results by worker; one that is gone leaves the run."""
        found = {}
        for worker, future in futures.items():
            try:
                found[worker] = future.result()
            except WorkerError as error:
                logger.warning("worker %d leaves at step %d: %s", worker, self.done, error)
                self.leave(worker)
        return found

    def _snapshot(self, worker: int) -> str | None:
        if self.snapshots is None:
            return None
        self.snapshots.mkdir(parents=True, exist_ok=True)
        path = str(snapshot_path(self.snapshots, self.done))
        self.fleet.call(worker, "save", path).result()
        return path

    def _diverged(self, step: int, worker: int, other: str) -> ReplicaDivergedError:
        mine = self.fleet.call(worker, "tensor_digests").result()
        others = [w for w in sorted(self.members) if w != worker]
        theirs = self.fleet.call(others[0], "tensor_digests").result() if others else {}
        tensor = next(
            (n for n in mine if theirs.get(n, mine[n]) != mine[n]), "unknown (no other worker is left)"
        )
        return ReplicaDivergedError(
            f"step {step}: worker {worker} differs from {other} in tensor {tensor}. The run stops; kill that worker "
            "and join it again, or replay the log to see which is right"
        )
