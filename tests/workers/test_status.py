"""`agentkit workers`: what runs, seen from another process."""

from __future__ import annotations

import json
import subprocess
import sys

from agentkit.workers import StatusFile, running_drivers


def test_another_process_sees_what_runs_and_for_how_long(open_workers, make_job, tmp_path):
    executor = open_workers("local:1")
    job = make_job("misbehave", how="patient")
    executor.submit(job)
    while not any(e.kind == "started" for e in executor.events(5)):
        pass
    file = StatusFile(tmp_path)
    file.update(executor)
    code = (
        "import sys, pathlib\n"
        "from agentkit.workers import running_drivers\n"
        "(driver,) = running_drivers(pathlib.Path(sys.argv[1]))\n"
        "(worker,) = driver.capacity.workers\n"
        "print(driver.pid, worker.state, worker.tool, worker.seconds > 0, worker.rss > 1 << 20)\n"
    )
    seen = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
    ).stdout.split()
    executor.cancel(job.job_id)
    assert seen[1:] == ["busy", "misbehave", "True", "True"]
    file.remove()
    assert running_drivers(tmp_path) == []


def test_a_dead_driver_and_a_half_written_file_are_not_shown(open_workers, tmp_path):
    file = StatusFile(tmp_path)
    file.update(open_workers("inline"), now=True)
    (path,) = (tmp_path / "drivers").glob("*.json")
    content = json.loads(path.read_text())
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    path.with_name("other.json").write_text(json.dumps({**content, "pid": gone.pid}))
    path.with_name("half.json").write_text(path.read_text()[:20])
    assert [d.pid for d in running_drivers(tmp_path)] == [content["pid"]]
    assert not path.with_name("other.json").exists()


def test_most_updates_cost_nothing(open_workers, tmp_path, monkeypatch):
    executor, calls = open_workers("inline"), []
    monkeypatch.setattr(type(executor), "capacity", _counted(type(executor).capacity, calls))
    file = StatusFile(tmp_path)
    for _ in range(100):
        file.update(executor)
    assert len(calls) == 1


def _counted(method, calls):
    def counted(self):
        calls.append(1)
        return method(self)

    return counted
