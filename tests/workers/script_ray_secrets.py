"""Run by a test in a process of its own: Ray started by us shows nobody a secret and lets no stranger in."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from conftest import make_units, run_job

from agentkit.plugins import load_plugins
from agentkit.workers import JobSpec, WorkersConfig, open_executor, ray_cluster, watch


def environment_of(pid):
    try:
        return Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return b""


def main():
    tool = load_plugins(modules=["tools_for_tests"]).tool("misbehave")
    job = JobSpec(
        plugin="tools_for_tests",
        tool="misbehave",
        version=tool.version,
        source_sha256=tool.source_sha256,
        params={"how": "environment"},
        units=make_units(1),
        resources=tool.resources,
    )
    executor = open_executor(WorkersConfig.parse("ray"), modules=["tools_for_tests"])
    ran = run_job(executor, job)
    assert ran.status == "ok", ran.end
    assert "canary" not in repr(ran.events), "a secret reached the child"
    assert "RAY_AUTH_TOKEN" not in ran.text(), "the token reached the child"
    assert os.environ["ANTHROPIC_API_KEY"] == "canary-1", "the driver keeps its own environment"
    assert "RAY_AUTH_TOKEN" not in os.environ

    token = ray_cluster._token.encode()
    of_ray = [e for p in watch.processes(0) if token in (e := environment_of(p.pid))]
    assert len(of_ray) >= 3, "gcs, raylet and a worker"
    assert not any(b"canary" in environment for environment in of_ray)

    import ray

    address = ray.get_runtime_context().gcs_address
    intruder = subprocess.run(
        [sys.executable, "-c", f"import ray; ray.init(address={address!r})"],
        timeout=100,
        env={**os.environ, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "f" * 64},
        capture_output=True,
        text=True,
        check=False,
    )
    assert intruder.returncode != 0 and "uthentication" in intruder.stderr, intruder.stderr[-500:]
    executor.close()
    print("kept")


if __name__ == "__main__":
    main()
