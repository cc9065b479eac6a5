"""The small parts: configuration, frames, device shares, artifacts, the process table."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import time

import pytest

from agentkit.errors import ConfigError, ToolError, UnsatisfiableError, WorkerError
from agentkit.workers import WorkersConfig, gpus, ray_cluster, watch
from agentkit.workers.artifacts import Artifact, ArtifactStore
from agentkit.workers.environment import clean_environment
from agentkit.workers.frames import MAX_FRAME, FrameReader, FrameTooLargeError, encode
from agentkit.workers.logs import KEPT_BYTES, JobLog


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("inline", {"backend": "inline"}),
        ("local", {"backend": "local", "count": None}),
        ("local:3", {"backend": "local", "count": 3}),
        ("ray", {"backend": "ray", "address": None}),
        ("ray:host:6379", {"backend": "ray", "address": "host:6379"}),
    ],
)
def test_workers_are_named_in_one_word(text, expected):
    config = WorkersConfig.parse(text)
    assert {key: getattr(config, key) for key in expected} == expected


@pytest.mark.parametrize("text", ["loca", "local:0", "local:-1", "local:x", "inline:2", ""])
def test_a_word_that_names_no_workers_is_refused(text):
    with pytest.raises(ConfigError, match=r"worker backend|workers"):
        WorkersConfig.parse(text)
    if text == "loca":
        with pytest.raises(ConfigError, match="Did you mean 'local'"):
            WorkersConfig.parse(text)


def test_the_yaml_block_of_the_docs_is_understood():
    config = WorkersConfig.from_mapping(
        {
            "backend": "local",
            "count": 2,
            "gpus": "auto",
            "memory": "4GiB",
            "timeout_s": "auto",
            "warm": "50%",
            "pass_env": ["HF_HOME"],
        }
    )
    assert (config.memory, config.warm, config.pass_env) == (4 << 30, 0.5, ("HF_HOME",))
    assert WorkersConfig.from_mapping(config.model_dump()) == config


def test_keys_may_follow_the_word_on_the_command_line():
    config = WorkersConfig.parse("local:2,gpus_per_job=0.5,memory=4GiB")
    assert (config.count, config.gpus_per_job, config.memory) == (2, 0.5, 4 << 30)
    assert WorkersConfig.parse("ray:head:6379,gpus_per_job=1").address == "head:6379"
    with pytest.raises(ConfigError, match="gpu.*is no key=value"):
        WorkersConfig.parse("local,gpu")
    with pytest.raises(ConfigError, match="Did you mean 'gpus_per_job'"):
        WorkersConfig.parse("local,gpu_per_job=1")


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"gpus": 1.5}, r"workers\.gpus 1\.5: auto or a whole number"),
        ({"gpus_per_job": 1.5}, r"workers\.gpus_per_job 1\.5: 1\.5: a fraction below 1 or a whole number"),
        ({"backend": "slurm"}, "workers.backend slurm"),
        ({"cout": 2}, "Did you mean 'count'"),
        ({"memory": "4 parsecs"}, "4 parsecs"),
        ({"count": 0, "warm": 2}, r"workers\.count 0.*workers\.warm 2"),
    ],
)
def test_faults_of_the_block_are_named_by_key(values, says):
    with pytest.raises(ConfigError, match=says):
        WorkersConfig.from_mapping(values)


def test_frames_survive_any_cut():
    messages = [{"kind": "a", "text": "é" * n, "n": n} for n in (0, 1, 1000)]
    wire = b"".join(encode(m) for m in messages)
    for step in (1, 3, 7, len(wire)):
        reader = FrameReader()
        got = [m for i in range(0, len(wire), step) for m in reader.feed(wire[i : i + step])]
        assert got == messages


def test_a_frame_above_the_limit_or_with_a_nan_is_never_sent():
    with pytest.raises(FrameTooLargeError, match=r"10\.0 MB result; store arrays with ctx\.artifact"):
        encode({"x": "a" * 10_000_000})
    with pytest.raises(ValueError, match="JSON"):
        encode({"x": float("nan")})


@pytest.mark.parametrize(
    "garbage", [struct.pack(">I", MAX_FRAME + 1), b"\0\0\0\2no", b"\0\0\0\2[]"], ids=["long", "text", "list"]
)
def test_bytes_that_are_no_frames_are_refused(garbage):
    with pytest.raises(WorkerError, match="frame"):
        list(FrameReader().feed(garbage))


def test_devices_are_those_the_driver_was_given_and_never_more(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,GPU-8f,-1")
    assert gpus.visible_devices("auto") == ("3", "GPU-8f")
    assert gpus.visible_devices(1) == ("3",) and gpus.visible_devices(0) == ()
    with pytest.raises(UnsatisfiableError, match=r"workers\.gpus 4: 2 GPUs"):
        gpus.visible_devices(4)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert gpus.visible_devices("auto") == ()


def test_shares_never_exceed_a_device():
    shares = gpus.Shares(("0", "1"))
    assert [shares.take(0.5) for _ in range(4)] == [("0",), ("0",), ("1",), ("1",)]
    assert not shares.fits(0.1)
    shares.give_back(("1",), 0.5)
    assert shares.fits(0.5) and not shares.fits(1)
    shares.give_back(("1",), 0.5)
    assert shares.take(1) == ("1",) and not shares.fits(2)
    thirds = gpus.Shares(("0",))
    assert [thirds.take(1 / 3) for _ in range(3)] == [("0",)] * 3
    with pytest.raises(UnsatisfiableError):
        thirds.take(1 / 3)


def test_a_whole_device_is_left_whole_when_a_used_one_has_room():
    shares = gpus.Shares(("0", "1"))
    shares.take(0.25)
    assert shares.take(0.5) == ("0",) and shares.take(1) == ("1",)


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("127.0.0.1:1", r"no Ray cluster at 127\.0\.0\.1:1.*ray start --head --port=1"),
        ("somewhere", "HOST:PORT"),
    ],
)
def test_an_address_where_no_cluster_listens_is_named_at_once(address, says):
    begin = time.monotonic()
    with pytest.raises(WorkerError, match=says):
        ray_cluster.join_cluster(address)
    assert time.monotonic() - begin < 10


def test_artifacts_are_named_by_content_and_written_whole(tmp_path):
    np = pytest.importorskip("numpy")
    store = ArtifactStore(tmp_path)
    arrays = {"b": np.arange(4), "a": np.eye(2, dtype=np.float32)}
    for name in ("x.npz", "x.safetensors"):
        first, second = store.put(name, arrays), store.put(name, dict(reversed(arrays.items())))
        assert first.sha256 == second.sha256 or name == "x.npz"
        assert store.read(first)
    with np.load(tmp_path / store.put("x.npz", arrays).file, allow_pickle=False) as back:
        assert (back["a"] == np.eye(2)).all()
    assert (tmp_path / store.put("t.csv", [{"a": 1, "b": "x"}]).file).read_text() == "a,b\n1,x\n"
    assert json.loads((tmp_path / store.put("t.json", {"b": [1, None]}).file).read_text()) == {"b": [1, None]}
    assert not list(tmp_path.glob(".part-*"))


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("x.pkl", {}, r"no format '\.pkl'"),
        ("x.json", {"x": float("nan")}, r"written as \.json"),
        ("x.npz", {"x": [object()]}, "only a pickle could store"),
        ("x.png", 3, r"a int cannot be written as \.png"),
    ],
)
def test_what_a_format_cannot_hold_is_refused_by_name(tmp_path, name, value, says):
    with pytest.raises(ToolError, match=says):
        ArtifactStore(tmp_path).put(name, value)


def test_an_artifact_with_other_bytes_than_its_name_says_is_refused(tmp_path):
    store = ArtifactStore(tmp_path)
    artifact = store.put("t.json", [1])
    (tmp_path / artifact.file).write_text("[2]")
    with pytest.raises(WorkerError, match="does not hold the bytes"):
        store.read(artifact)
    with pytest.raises(WorkerError, match="No such file"):
        store.read(Artifact("gone.json", "0" * 64, 1, "application/json", "gone.json"))


def test_a_full_disk_leaves_nothing_half_written_and_goes_on_when_space_returns(tmp_path, monkeypatch):
    store = ArtifactStore(tmp_path)

    def no_space(descriptor):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", no_space)
        for _ in range(50):
            with pytest.raises(OSError, match="No space left"):
                store.put("t.json", list(range(1000)))
        assert list(tmp_path.iterdir()) == []
    assert store.read(store.put("t.json", list(range(1000))))


def test_only_allowed_variables_pass():
    source = {
        "PATH": "/bin",
        "LC_ALL": "C",
        "CUDA_HOME": "/c",
        "SECRET": "s",
        "OPENAI_API_KEY": "k",
        "MINE": "m",
    }
    kept = clean_environment(source, folder="/tmp/x", mark="m1", devices=("1",), pass_env=("MINE",))
    assert {"SECRET", "OPENAI_API_KEY"} & set(kept) == set()
    assert (kept["MINE"], kept["CUDA_VISIBLE_DEVICES"], kept["TMPDIR"]) == ("m", "1", "/tmp/x")


def test_a_long_log_goes_to_a_file_whole(tmp_path):
    log = JobLog(tmp_path / "logs" / "j.log")
    pieces = [bytes([65 + i]) * 30_000 for i in range(4)]
    text = "".join(log.add("stdout", piece) for piece in pieces)
    assert len(text) == KEPT_BYTES and log.close() == 120_000
    assert (tmp_path / "logs" / "j.log").read_bytes() == b"".join(pieces)
    short = JobLog(tmp_path / "logs" / "short.log")
    short.add("stdout", b"few")
    assert short.close() == 3 and short.file_name is None


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_process_table_sees_sessions_memory_and_marks(monkeypatch):
    child = subprocess.Popen(
        [sys.executable, "-c", "import time; print(1, flush=True); time.sleep(60)"],
        start_new_session=True,
        env={**os.environ, "AGENTKIT_TEST_MARK": "m-17"},
        stdout=subprocess.PIPE,
    )
    try:
        child.stdout.readline()
        (seen,) = watch.session_members(child.pid, max_age_s=0)
        assert seen.parent == os.getpid() and seen.rss > 1 << 20
        assert watch.resident_bytes(child.pid) > 1 << 20
        assert watch.kill_marked("AGENTKIT_TEST_MARK", "m-1") == []
        assert watch.kill_marked("AGENTKIT_TEST_MARK", "m-17") == [child.pid]
        assert child.wait(5) == -9
    finally:
        child.kill()
        child.wait()
        child.stdout.close()


def test_a_sweep_does_not_queue_behind_the_one_warm_worker(make_job):
    from types import SimpleNamespace

    from agentkit.workers.job import make_event
    from agentkit.workers.routing import Router

    warm, router = SimpleNamespace(name="w0"), Router()
    jobs = [make_job("on_target", job={"run": f"r{i}"}) for i in range(12)]
    first = jobs[0]
    router.loaded(first, "w0", make_event(first, "started", "w0", 1, {"load_s": 5.0}))
    router.ended(first, "w0", make_event(first, "end", "w0", 2, {"status": "ok", "seconds": 1.0}))
    busy = {"w0": (first, time.monotonic())}
    backlog: dict[str, float] = {}
    answers = [router.choose(job, [warm], busy, can_start=True, backlog=backlog) for job in jobs[1:]]
    assert answers[:4] == [None] * 4, "waiting a second is better than loading for five"
    assert "start" in answers[4:6], "the sixth would wait longer than a new worker takes to load"
    assert router.choose(jobs[1], [warm], {}, can_start=True, backlog={}) is warm


def test_the_thread_pools_of_loaded_libraries_are_looked_for_once_and_again_after_an_import(monkeypatch):
    import numpy as np  # noqa: F401 - brings a BLAS
    import threadpoolctl

    from agentkit.workers import environment

    made = []
    real = threadpoolctl.ThreadpoolController
    monkeypatch.setattr(threadpoolctl, "ThreadpoolController", lambda: made.append(1) or real())
    monkeypatch.setattr(environment, "_scanned", (-1, None))
    for count in (1, 2, 1):
        with environment.threads(count):
            blas = [p for p in real().info() if p["user_api"] == "blas"]
            assert blas and {p["num_threads"] for p in blas} == {count}
    assert len(made) == 1
    monkeypatch.setitem(sys.modules, "a_library_that_was_just_imported", sys)
    with environment.threads(1):
        assert len(made) == 2


def test_kept_arrays_belong_to_one_question_and_one_seed_and_damage_is_no_answer(make_job, tmp_path):
    import numpy as np

    from agentkit.workers.partial import Partial

    job = make_job("doses", units=3)
    shelf, values = Partial(tmp_path, job), {"x": np.arange(6.0).reshape(2, 3), "names": np.array(["a", "b"])}
    shelf.keep(job.units[0], "chunk 1", values)
    later = job.only(job.units[:2]).model_copy(update={"run": "r9", "attempt": 2, "fence": 2})
    found = Partial(tmp_path, later).kept(job.units[0], "chunk 1")
    assert found is not None and all(np.array_equal(found[k], values[k]) for k in values)
    assert shelf.kept(job.units[1], "chunk 1") is None and shelf.kept(job.units[0], "chunk 2") is None
    for other in (
        {"params": {**job.params, "seconds": 1.0}},
        {"version": "2"},
        {"source_sha256": "0" * 64},
        {"conditions": ("dose=1",)},
        {"targets": {"net:small": "other"}},
    ):
        assert Partial(tmp_path, job.model_copy(update=other)).kept(job.units[0], "chunk 1") is None
    (file,) = (tmp_path / "partial").glob("*/[0-9]*")
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    assert shelf.kept(job.units[0], "chunk 1") is None
    shelf.keep(job.units[1], "chunk 1", values)
    shelf.forget(job.units[:1])
    assert shelf.kept(job.units[1], "chunk 1") is not None
    shelf.forget(job.units)
    assert list((tmp_path / "partial").iterdir()) == []


def test_a_full_disk_costs_what_would_be_kept_and_not_the_job(make_job, tmp_path, monkeypatch):
    from agentkit.workers.partial import Partial

    def full(*arguments):
        raise OSError(28, "No space left on device")

    job = make_job("doses")
    monkeypatch.setattr("agentkit.workers.whole.os.fsync", full)
    shelf = Partial(tmp_path, job)
    shelf.keep(job.units[0], "chunk", {"x": [1.0]})
    assert shelf.kept(job.units[0], "chunk") is None
    assert not list((tmp_path / "partial").glob("*/*"))
