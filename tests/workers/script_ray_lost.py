"""Run by a test in a process of its own: the head of its cluster dies under a running job."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from conftest import make_units

from agentkit.errors import WorkerError
from agentkit.plugins import load_plugins
from agentkit.workers import JobSpec, WorkersConfig, open_executor, ray_cluster, watch


def kill_head():
    token = ray_cluster._token.encode()
    for process in watch.processes(0):
        folder = Path(f"/proc/{process.pid}")
        try:
            is_head = b"gcs_server" in (folder / "cmdline").read_bytes().split(b"\0")[0]
            if is_head and token in (folder / "environ").read_bytes():
                os.kill(process.pid, signal.SIGKILL)
        except OSError:
            continue


def main():
    tool = load_plugins(modules=["tools_for_tests"]).tool("misbehave")
    job = JobSpec(
        plugin="tools_for_tests",
        tool="misbehave",
        version=tool.version,
        source_sha256=tool.source_sha256,
        params={"how": "hang", "seconds": 300.0},
        units=make_units(2),
        resources=tool.resources,
    )
    executor = open_executor(WorkersConfig.parse("ray"), modules=["tools_for_tests"])
    executor.submit(job)
    ended = None
    while ended is None:
        for event in executor.events(1):
            if event.kind == "started":
                kill_head()
            ended = event.data if event.kind == "end" else ended
    assert ended["status"] == "lost" and ended["units_left"] == [0, 1]
    try:
        executor.submit(job.model_copy(update={"attempt": 2}))
    except WorkerError as error:
        print(error)
    executor.close()


if __name__ == "__main__":
    main()
