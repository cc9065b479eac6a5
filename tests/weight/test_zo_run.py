"""A distributed zeroth-order run is its log: late, killed, reordered and crashed workers change no bit of it."""

from __future__ import annotations

import dataclasses
import sqlite3
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

import pytest

from agentkit.errors import ParamError, WorkerError
from agentkit_weight import zo
from agentkit_weight.errors import LogMismatchError, QuorumLostError, ReplicaDivergedError
from agentkit_weight.replica import Record, Replica, ZoSpec
from agentkit_weight.tiny import TinyObjective
from agentkit_weight.zo_fleet import LocalFleet, WorkerHost
from agentkit_weight.zo_log import ZoLog
from agentkit_weight.zo_run import ZoRun

if TYPE_CHECKING:
    from pathlib import Path

FACTORY = "agentkit_weight.tiny:TinyObjective"


def make_spec(steps: int = 12, workers: int = 3, probes: int = 2) -> ZoSpec:
    return zo.make_spec(
        TinyObjective(), run_seed=77, steps=steps, workers=workers, probes=probes, rank=2, lr=0.02
    )


class InThread:
    """A fleet in this process. `slow` workers answer only when told; `backwards` applies records in reverse."""

    def __init__(self, slow: set[int] = frozenset(), backwards: bool = False) -> None:  # type: ignore[assignment]
        self.hosts: dict[int, WorkerHost] = {}
        self.slow, self.backwards = set(slow), backwards
        self.waiting: dict[int, list[Any]] = {}

    def start(self, worker: int, spec: ZoSpec) -> Future[Any]:
        import json

        self.hosts[worker] = WorkerHost(FACTORY, {}, json.dumps(dataclasses.asdict(spec)), worker, 1)
        return self.call(worker, "digest")

    def call(self, worker: int, method: str, *arguments: Any) -> Future[Any]:
        future: Future[Any] = Future()
        if worker not in self.hosts:
            future.set_exception(WorkerError(f"worker {worker} is gone"))
            return future
        if worker in self.slow and (method == "probe" or self.waiting.get(worker)):
            self.waiting.setdefault(worker, []).append((future, method, arguments))
            return future
        if method == "apply" and self.backwards:
            arguments = (list(reversed(arguments[0])),)
        future.set_result(getattr(self.hosts[worker], method)(*arguments))
        return future

    def catch_up(self, worker: int) -> None:
        self.slow.discard(worker)
        for future, method, arguments in self.waiting.pop(worker, []):
            future.set_result(getattr(self.hosts[worker], method)(*arguments))

    def kill(self, worker: int) -> None:
        self.hosts.pop(worker, None)

    def close(self) -> None:
        self.hosts.clear()


def start(path: Path, spec: ZoSpec, fleet: Any, workers: int = 3, **options: Any) -> ZoRun:
    run = ZoRun(f"sqlite:///{path}", "r", spec, fleet, checkpoint_every=4, **options)
    for worker in range(workers):
        run.join(worker)
    return run


@pytest.fixture
def straight(tmp_path: Path) -> ZoLog:
    """An undisturbed run of three workers."""
    run = start(tmp_path / "straight.db", make_spec(), InThread())
    run.advance()
    log = run.log()
    run.close()
    return log


def test_the_log_alone_rebuilds_every_checkpoint(straight: ZoLog):
    assert [step for step, _ in straight.checkpoints] == [4, 8, 12]
    replica = Replica(TinyObjective().matrices())
    for step, digest in straight.checkpoints:
        replica.apply(straight.spec, [r for r in straight.records if step - 4 <= r.step < step])
        assert replica.digest() == digest


def test_the_log_survives_its_file(straight: ZoLog):
    from tests.weight.kit import as_bytes

    arrays = straight.arrays()
    assert arrays["bytes"].nbytes == len(straight.records) == 72  # one byte a probe
    assert ZoLog.read(as_bytes("log.npz", arrays)) == straight


def test_delivery_in_reverse_gives_the_same_run(straight: ZoLog, tmp_path: Path):
    run = start(tmp_path / "r.db", make_spec(), InThread(backwards=True))
    run.advance()
    assert run.log() == straight


def test_a_late_joiner_and_a_restarted_worker_hold_the_same_weights(tmp_path: Path):
    fleet = InThread()
    run = start(tmp_path / "j.db", make_spec(), fleet, workers=2, quorum=1, snapshots=tmp_path / "snapshots")
    run.advance(5)
    run.join(2)
    run.advance(9)
    fleet.kill(0)
    run.advance(11)
    assert run.members == {1, 2}
    run.join(0)
    run.advance()
    digests = {w: fleet.call(w, "digest").result() for w in range(3)}
    assert len(set(digests.values())) == 1
    assert {r.worker for r in run.store.records() if r.step == 3} == {0, 1}


def test_a_late_byte_is_dropped_and_its_worker_stays_in_step(tmp_path: Path):
    fleet = InThread(slow={1})
    run = start(tmp_path / "l.db", make_spec(), fleet, quorum=2, deadline_s=0.01)
    run.advance(3)
    fleet.catch_up(1)
    run.advance()
    assert {r.worker for r in run.store.records() if r.step < 3} == {0, 2}
    assert {r.worker for r in run.store.records() if r.step >= 3} == {0, 1, 2}
    assert len({fleet.call(w, "digest").result() for w in range(3)}) == 1


def test_a_crash_between_commit_and_apply_recovers(straight: ZoLog, tmp_path: Path, monkeypatch):
    run = start(tmp_path / "c.db", make_spec(), InThread())
    run.advance(6)
    monkeypatch.setattr(run, "_apply", lambda records: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        run.advance()
    run.close()
    again = start(tmp_path / "c.db", make_spec(), InThread())
    assert again.done == 7
    again.advance()
    assert again.log() == straight


def test_too_few_answers_stop_the_run_and_keep_the_log(tmp_path: Path):
    fleet = InThread()
    run = start(tmp_path / "q.db", make_spec(), fleet, quorum=2, deadline_s=0.01)
    run.advance(5)
    fleet.kill(0)
    fleet.kill(1)
    with pytest.raises(QuorumLostError, match="1 of 3 workers"):
        run.advance()
    assert 1 + run.store.records()[-1].step == 5


def test_replicas_that_differ_stop_the_run_and_name_worker_and_tensor(tmp_path: Path):
    fleet = InThread()
    run = start(tmp_path / "d.db", make_spec(), fleet)
    run.advance(3)
    fleet.hosts[2]._worker.replica.weights["2"][0, 0] += 1
    with pytest.raises(ReplicaDivergedError, match="worker 2 differs from worker 0 in tensor 2"):
        run.advance()


def test_one_changed_byte_in_the_store_is_found_by_the_next_joiner(tmp_path: Path):
    run = start(tmp_path / "b.db", make_spec(), InThread())
    run.advance(8)
    with sqlite3.connect(tmp_path / "b.db") as database:
        database.execute("update zo_record set byte = byte + 1 where step = 2 and worker = 1 and sample = 0")
    with pytest.raises(ReplicaDivergedError, match="step 8"):
        run.join(1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: [x for x in r if x.step != 2], "gap: no record of step 2"),
        (lambda r: [*r, r[0]], "there twice"),
        (lambda r: [*r, Record(1, 7, 0, 5)], "outside the run"),
    ],
)
def test_a_log_with_a_fault_is_refused_by_its_first_bad_record(straight: ZoLog, change, message: str):
    broken = dataclasses.replace(straight, records=tuple(change(straight.records)))
    with pytest.raises(LogMismatchError, match=message):
        broken.arrays()


def test_other_base_weights_and_other_noise_rules_are_refused(straight: ZoLog, tmp_path: Path):
    from tests.weight.kit import as_bytes

    foreign = dataclasses.replace(straight.spec, base_sha256="0" * 64)
    with pytest.raises(LogMismatchError, match="base weights"):
        start(tmp_path / "x.db", foreign, InThread())
    newer = dataclasses.replace(straight, spec=dataclasses.replace(straight.spec, noise_version="philox-2"))
    with pytest.raises(LogMismatchError, match="philox-2"):
        ZoLog.read(as_bytes("log.npz", newer.arrays()))
    with pytest.raises(LogMismatchError, match="not a byte log"):
        ZoLog.read(b"nothing")


def test_a_stored_run_with_another_spec_is_refused(tmp_path: Path):
    start(tmp_path / "s.db", make_spec(), InThread()).close()
    with pytest.raises(LogMismatchError, match="another"):
        start(tmp_path / "s.db", make_spec(steps=13), InThread())


def test_golden_digest_of_a_tiny_run():
    """Fixed bytes on the seeded network: the same weights on every machine and in every release."""
    spec = make_spec()
    records = [
        Record(s, w, p, (37 * s + 11 * w + 5 * p + 40) % 256)
        for s in range(12)
        for w in range(3)
        for p in range(2)
    ]
    replica = Replica(TinyObjective().matrices())
    replica.apply(spec, records)
    assert replica.digest() == "5a8bae32785de987736c79e9de53635427b2ad05f341c3f79cf037b4bec8a350"


@pytest.mark.parametrize(
    "path", ["nowhere:TinyObjective", "agentkit_weight.tiny:Nothing", "agentkit_weight.tiny"]
)
def test_an_objective_that_cannot_be_imported_is_refused_before_a_process_starts(path: str):
    with pytest.raises(ParamError, match="module:callable"):
        LocalFleet(path, {})


@pytest.mark.slow  # starts five processes, each of which imports torch
def test_processes_with_one_and_two_threads_a_kill_and_a_late_joiner_stay_equal(
    tmp_path: Path, straight: ZoLog
):
    fleet = LocalFleet(FACTORY, {}, threads={0: 1, 1: 2})
    run = start(tmp_path / "p.db", make_spec(), fleet, workers=2, quorum=1)
    try:
        run.advance(3)
        fleet._workers[0]._child.kill()
        run.advance(5)
        assert run.members == {1}
        run.join(0)
        run.join(2)
        run.advance()
        assert len({fleet.call(w, "digest").result() for w in range(3)}) == 1
        assert [step for step, _ in run.log().checkpoints] == [4, 8, 12]
    finally:
        run.close()


@pytest.mark.slow  # starts a Ray cluster of this machine: 10 to 40 s
def test_ray_actors_with_one_and_two_threads_hold_equal_weights_at_every_checkpoint(tmp_path: Path):
    ray = pytest.importorskip("ray", reason="the optional extra: pip install 'agentkit-perturb[ray]'")
    from agentkit_weight.zo_fleet import RayFleet

    ray.init(num_cpus=2, include_dashboard=False, object_store_memory=80 * 2**20, log_to_driver=False)
    try:
        fleet = RayFleet(FACTORY, {}, threads={0: 1, 1: 2})
        run = start(tmp_path / "ray.db", make_spec(), fleet, workers=2, quorum=1)
        run.advance(5)
        run.join(2)  # a late joiner
        run.advance(7)
        fleet._ray.kill(fleet._actors[0])  # a worker dies
        run.advance(9)
        run.join(0)  # and comes back
        run.advance()
        assert len({fleet.call(w, "digest").result() for w in range(3)}) == 1
        assert [step for step, _ in run.log().checkpoints] == [4, 8, 12]
        run.close()
    finally:
        ray.shutdown()


def test_a_worker_of_a_fleet_can_train_a_real_task_from_names_alone():
    """What each process does: targets by import path, head fitted there; two workers agree on base and bytes."""
    from agentkit_weight.zo_factory import tagging_objective

    arguments = {
        "params": {
            "target": "tiny:",
            "data": "letters:",
            "methods": ["zo"],
            "epochs": 1,
            "batch": 8,
            "zo": {"objective": "f1"},
        },
        "index": 0,
        "seed": "1000",
        "targets": {"tiny:": "tests.weight.kit:TINY", "letters:": "tests.weight.kit:LETTERS_DATA"},
    }
    first, second = tagging_objective(**arguments), tagging_objective(**arguments)
    spec = zo.make_spec(first, run_seed=1, steps=4, eps=0.05, lr=0.01, workers=2)
    hosts = [zo.ZoWorker(o, spec, w) for w, o in enumerate((first, second))]
    for step in range(4):
        records = [h.probe(step).record for h in hosts]
        for h in hosts:
            h.apply(records)
    assert hosts[0].digest() == hosts[1].digest() != spec.base_sha256
