"""Own processes: whatever a plugin does, its process group ends, its outcome has a type, and the pool lives on."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from agentkit.workers import WorkersConfig, open_executor, watch

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc to see what is left")


def wait_until(true, limit_s=10.0):
    give_up = time.monotonic() + limit_s
    while not true():
        assert time.monotonic() < give_up, "waited too long"
        time.sleep(0.02)


def alive(pid):
    return any(p.pid == pid and not p.zombie for p in watch.processes(max_age_s=0))


def left_by(session):
    return watch.session_members(session, max_age_s=0)


def started_pid(ran):
    return ran.of("started")[0].data["pid"]


def test_a_hanging_tool_with_a_stubborn_grandchild_is_ended_in_time_with_its_folder(
    local, run, make_job, tmp_path
):
    note = tmp_path / "note"
    begin = time.monotonic()
    ran = run(local, make_job("misbehave", units=2, how="grandchild", path=str(note), job={"timeout_s": 1.0}))
    assert time.monotonic() - begin < 1.0 + 6
    assert ran.status == "timeout" and ran.outcomes() == {0: "timeout", 1: "timeout"}
    grandchild, workdir = note.read_text().split()
    assert left_by(started_pid(ran)) == [] and not alive(int(grandchild))
    assert not Path(workdir).exists()
    assert run(local, make_job("noop")).status == "ok"


def test_a_tool_that_ignores_sigterm_gets_sigkill(open_workers, run, make_job):
    executor = open_workers("local:1")
    begin = time.monotonic()
    ran = run(executor, make_job("misbehave", how="stubborn", job={"timeout_s": 0.5}))
    assert ran.status == "timeout" and 5 < time.monotonic() - begin < 0.5 + 6 + 3
    assert left_by(started_pid(ran)) == []


def test_a_process_that_left_the_group_is_found_by_its_mark(local, run, make_job, tmp_path):
    note = tmp_path / "note"
    ran = run(local, make_job("misbehave", how="daemon", path=str(note), job={"timeout_s": 1.0}))
    assert ran.status == "timeout"
    assert not alive(int(note.read_text().split()[0]))


def test_processes_left_behind_by_a_tool_that_returned_are_ended(local, run, make_job, tmp_path):
    for how in ("grandchild", "daemon"):
        note = tmp_path / how
        ran = run(local, make_job("misbehave", how=how, path=str(note), seconds=0))
        assert ran.status == "ok" and ran.end["strays"] == 1
        assert not alive(int(note.read_text().split()[0]))


def test_a_forking_tool_is_ended_and_failed(local, run, make_job):
    ran = run(local, make_job("misbehave", how="fork_many", job={"timeout_s": 20}))
    assert ran.outcomes() == {0: "failed"} and "at most 64" in ran.of("units")[0].data["message"]
    assert left_by(started_pid(ran)) == []


def test_a_tool_above_its_memory_is_ended_as_oom(local, run, make_job):
    ran = run(local, make_job("misbehave", how="eat_memory", job={"timeout_s": 30}))
    assert ran.status == "oom" and ran.outcomes() == {0: "oom"}
    assert "resources.memory allows 512 MiB" in ran.end["message"]
    assert left_by(started_pid(ran)) == []


@pytest.mark.parametrize(("how", "cause"), [("exit_hard", "exit code 7"), ("segfault", "SIGSEGV")])
def test_a_dying_worker_loses_the_attempt_and_nothing_else(local, run, make_job, how, cause):
    ran = run(local, make_job("misbehave", units=3, how=how))
    assert ran.status == "lost" and ran.outcomes() == {} and ran.end["units_left"] == [0, 1, 2]
    assert cause in ran.end["message"]
    assert run(local, make_job("noop")).status == "ok"


def test_a_worker_killed_from_outside_loses_one_attempt_and_the_pool_goes_on(open_workers, run_all, make_job):
    executor = open_workers("local:2")
    killed = []

    def kill_first(event):
        if event.kind == "started" and not killed:
            killed.append(event.job_id)
            os.kill(event.data["pid"], signal.SIGKILL)

    jobs = [make_job("doses", seconds=0.3, job={"run": f"r{i}"}) for i in range(4)]
    ran = run_all(executor, jobs, while_running=kill_first)
    assert sorted(r.status for r in ran) == ["lost", "ok", "ok", "ok"]
    (lost,) = [r for r in ran if r.status == "lost"]
    assert lost.events[0].job_id in killed and "SIGKILL" in lost.end["message"]


def test_an_idle_worker_that_was_killed_costs_no_attempt(local, run, make_job):
    pid = started_pid(run(local, make_job("noop")))
    os.kill(pid, signal.SIGKILL)
    ran = run(local, make_job("noop"))
    assert ran.status == "ok" and started_pid(ran) != pid


@pytest.mark.parametrize("hard", [False, True])
def test_a_running_job_can_be_cancelled(local, make_job, hard):
    job = make_job("misbehave", how="hang" if hard else "patient", units=2)
    local.submit(job)
    begin = time.monotonic()
    statuses, outcomes = [], []
    while not statuses:
        for event in local.events(10):
            if event.kind == "started":
                local.cancel(job.job_id, hard=hard)
            outcomes += event.data["units"] if event.kind == "units" else []
            if event.kind == "end":
                statuses.append(event.data["status"])
                assert event.data["units_left"] == [0, 1]
    assert statuses == ["cancelled"] and outcomes == []
    assert time.monotonic() - begin < 10


def test_a_flood_of_binary_output_does_not_break_the_protocol(local, run, make_job):
    ran = run(local, make_job("misbehave", how="flood"))
    assert ran.status == "ok" and ran.outcomes() == {0: "ok"}
    assert ran.end["log_bytes"] >= 10 << 20
    assert sum(len(e.data["text"].encode()) for e in ran.of("log")) <= 4 * (64 << 10)
    assert (local._artifacts / "logs" / ran.end["log_file"]).stat().st_size == ran.end["log_bytes"]


def test_what_a_tool_prints_becomes_log_events_of_its_job(local, run, make_job):
    ran = run(local, make_job("misbehave", how="speak"))
    assert ran.text("stdout") == "hello from the tool\n" and ran.text("stderr") == "and a warning\n"
    assert ran.events[-1].kind == "end"
    assert run(local, make_job("noop")).of("log") == []


def test_a_job_has_its_own_private_folder_that_is_gone_afterwards(local, run, make_job):
    for _ in range(2):
        ran = run(local, make_job("misbehave", how="workdir"))
        assert ran.outcomes() == {0: "ok"}, ran.of("units")[0].data
        folder = Path(ran.text().strip())
        assert not (folder / "left-behind").exists()


CANARIES = {
    "ANTHROPIC_API_KEY": "sk-canary-1",
    "AWS_SECRET_ACCESS_KEY": "canary-2",
    "DATABASE_URL": "postgresql://u:canary-3@db/x",
    "RAY_AUTH_TOKEN": "canary-4",
    "GITHUB_TOKEN": "canary-5",
    "LD_PRELOAD_CANARY": "canary-6",
}


def test_no_secret_of_the_driver_reaches_a_child_a_log_or_an_artifact(
    monkeypatch, open_workers, run, make_job
):
    for name, value in CANARIES.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MY_CACHE", "wanted")
    executor = open_workers("local:1", pass_env=("MY_CACHE",))
    ran = run(executor, make_job("misbehave", how="environment"))
    assert ran.status == "ok"
    seen = Path(f"/proc/{started_pid(ran)}/environ").read_bytes() + repr(ran.events).encode()
    seen += b"".join(p.read_bytes() for p in executor._artifacts.rglob("*") if p.is_file())
    assert b"canary" not in seen.lower()
    assert "MY_CACHE=wanted" in ran.text() and "PYTHONHASHSEED=0" in ran.text()
    assert "CUDA_VISIBLE_DEVICES=\n" in ran.text(), "a CPU job sees no device"


def test_closing_cancels_what_runs_and_leaves_no_process(run, make_job, tmp_path):
    executor = open_executor(WorkersConfig.parse("local:2"), modules=["tools_for_tests"], artifacts=tmp_path)
    jobs = [make_job("misbehave", how="hang", job={"run": f"r{i}"}) for i in range(3)]
    for job in jobs:
        executor.submit(job)
    events = []
    while sum(e.kind == "started" for e in events) < 2:
        events += executor.events(5)
    executor.close(grace_s=1)
    events += executor.events(1)
    ends = [e.data["status"] for e in events if e.kind == "end"]
    assert ends == ["cancelled"] * 3
    for pid in [e.data["pid"] for e in events if e.kind == "started"]:
        assert left_by(pid) == []


def test_children_and_grandchildren_die_with_a_killed_driver(tmp_path):
    script = tmp_path / "driver.py"
    script.write_text(
        "import sys; sys.path[:0] = [sys.argv[1]]\n"
        "from conftest import make_units\n"
        "from agentkit.plugins import load_plugins\n"
        "from agentkit.workers import JobSpec, WorkersConfig, open_executor\n"
        "tool = load_plugins(modules=['tools_for_tests']).tool('misbehave')\n"
        "job = JobSpec(plugin='tools_for_tests', tool='misbehave', version='1', source_sha256=tool.source_sha256,\n"
        "    params={'how': 'grandchild', 'path': sys.argv[2], 'seconds': 600}, units=make_units(1))\n"
        "ex = open_executor(WorkersConfig.parse('local:1'), modules=['tools_for_tests'])\n"
        "ex.submit(job)\n"
        "while True:\n"
        "    for event in ex.events(1):\n"
        "        if event.kind == 'started': print(event.data['pid'], flush=True)\n"
    )
    note = tmp_path / "note"
    driver = subprocess.Popen(
        [sys.executable, str(script), str(Path(__file__).parent), str(note)],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        child = int(driver.stdout.readline())
        wait_until(lambda: note.exists() and len(note.read_text().split()) == 2)
        grandchild, workdir = note.read_text().split()
        assert alive(child) and alive(int(grandchild))
        driver.kill()
        wait_until(lambda: not alive(child) and not alive(int(grandchild)))
        wait_until(lambda: not Path(workdir).exists())
    finally:
        driver.kill()
        driver.wait()
        driver.stdout.close()
        with contextlib.suppress(OSError, ValueError, UnboundLocalError):
            os.kill(int(grandchild), signal.SIGKILL)


def test_the_driver_never_imports_torch_or_ray(tmp_path):
    code = (
        "import sys, agentkit.workers as w\n"
        "assert not {'torch', 'numpy', 'ray'} & set(sys.modules), sorted({'torch', 'numpy', 'ray'} & set(sys.modules))\n"
        "sys.path[:0] = [sys.argv[1]]\n"
        "from conftest import make_units, run_job\n"
        "from agentkit.plugins import load_plugins\n"
        "plugins = load_plugins(modules=['tools_for_tests'])\n"
        "tool = plugins.tool('on_target')\n"
        "ex = w.open_executor(w.WorkersConfig.parse('local:1'), modules=['tools_for_tests'])\n"
        "job = w.JobSpec(plugin='tools_for_tests', tool='on_target', version='1', source_sha256=tool.source_sha256,\n"
        "    params=tool.parse({}).model_dump(mode='json'), units=make_units(2), targets=plugins.fingerprints(['net:small']))\n"
        "ran = run_job(ex, job)\n"
        "ex.close()\n"
        "assert ran.status == 'ok', ran.end\n"
        "assert not {'torch', 'ray'} & set(sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(Path(__file__).parent)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_capacity_shows_what_runs_for_how_long_and_what_is_warm(open_workers, run, make_job):
    executor = open_workers("local:2")
    assert [w.state for w in executor.capacity().workers] == ["stopped", "stopped"]
    run(executor, make_job("on_table", target="table:a"))
    idle = executor.capacity().workers[0]
    assert idle.state == "idle" and idle.warm == ("table:a",) and idle.warm_bytes == 1 << 20
    assert idle.jobs_done == 1
    assert idle.rss > 20 << 20 and idle.pid
    job = make_job("misbehave", how="patient")
    executor.submit(job)
    while not any(e.kind == "started" for e in executor.events(5)):
        pass
    (busy,) = [w for w in executor.capacity().workers if w.state == "busy"]
    assert (busy.job_id, busy.tool) == (job.job_id, "misbehave") and busy.seconds > 0
    executor.cancel(job.job_id)
    while not any(e.kind == "end" for e in executor.events(5)):
        pass


def test_jobs_go_to_the_worker_that_has_their_target_warm(open_workers, run_all, make_job):
    executor = open_workers("local:2")
    targets = ["table:slow1", "table:slow2"]
    run_all(executor, [make_job("on_table", target=t, job={"run": t}) for t in targets])
    jobs = [make_job("on_table", target=targets[i % 2], job={"run": f"r{i}"}) for i in range(12)]
    ran = run_all(executor, jobs)
    where = {
        t: {r.events[1].worker for r, j in zip(ran, jobs, strict=True) if j.params["target"] == t}
        for t in targets
    }
    assert all(len(workers) == 1 for workers in where.values()) and where[targets[0]] != where[targets[1]], (
        where
    )


def test_a_target_that_takes_too_long_to_load_is_refused_by_name_of_the_limit(open_workers, run, make_job):
    executor = open_workers("local:1")
    run(executor, make_job("noop"))
    ran = run(executor, make_job("on_table", target="table:never", job={"load_timeout_s": 0.5}))
    assert ran.status == "refused" and "load_timeout_s" in ran.end["message"] and ran.outcomes() == {}
    assert run(executor, make_job("noop")).status == "ok"


def test_a_tool_that_writes_to_a_weight_gets_a_new_worker(open_workers, run, make_job):
    executor = open_workers("local:1")
    first = run(executor, make_job("on_table", target="table:a", write="in_place"))
    assert first.status == "failed" and first.end["error_class"] == "TargetModifiedError"
    second = run(executor, make_job("on_table", target="table:a"))
    assert second.status == "ok" and started_pid(second) != started_pid(first)


def test_artifacts_of_a_store_with_a_relative_path_lie_beside_it(tmp_path, monkeypatch):
    import agentkit

    monkeypatch.chdir(tmp_path)
    with agentkit.lab("lab.db", workers="local:1", modules=["tools_for_tests"]) as lab:
        lab.explore("misbehave", units=1, how="artifacts")
    kept = sorted(f.suffix for f in (tmp_path / "lab.artifacts").iterdir() if f.is_file())
    assert kept == [".csv", ".json", ".npz", ".safetensors"]
