"""On a machine with a CUDA device: assignment, shares, running out of memory for real, agreement with the CPU."""

from __future__ import annotations

import importlib.util

import pytest

from agentkit.types import Resources
from agentkit.workers import gpus

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="torch is not installed"),
]


@pytest.fixture(scope="module")
def devices():
    found = gpus.visible_devices("auto")
    if not found:
        pytest.skip("no CUDA device is visible")
    return found


def test_a_gpu_job_sees_its_device_and_a_cpu_job_sees_none(devices, open_workers, run, make_job):
    executor = open_workers("local:1")
    on_gpu = run(executor, make_job("on_device", job={"resources": Resources(gpus=1)}))
    on_cpu = run(executor, make_job("on_device"))
    assert on_gpu.text().split() == ["cuda:0", "1"] and on_gpu.end["peak_device_bytes"] > 0
    assert on_cpu.text().split() == ["cpu", "0"] and on_cpu.end["peak_device_bytes"] == 0
    assert on_gpu.of("started")[0].data["device"] == "cuda:0"


def test_cpu_and_gpu_agree_within_the_tools_atol(devices, open_workers, run, make_job, plugins):
    executor = open_workers("local:1")
    on_gpu = run(executor, make_job("on_device", units=4, job={"resources": Resources(gpus=1)})).tables()[0]
    on_cpu = run(executor, make_job("on_device", units=4)).tables()[0]
    for left, right in zip(sorted(on_gpu.rows()), sorted(on_cpu.rows()), strict=True):
        assert left[:3] == right[:3] and abs(left.value - right.value) <= plugins.tool("on_device").atol


def test_two_halves_share_a_device_and_each_keeps_to_its_share(devices, open_workers, run_all, make_job):
    executor = open_workers("local:2")
    half = Resources(gpus=0.5)
    jobs = [make_job("on_device", hog=0.7, job={"resources": half, "run": f"r{i}"}) for i in range(2)]
    for ran in run_all(executor, jobs):
        assert ran.outcomes() == {0: "oom"}, "0.7 of the device does not fit into half of it"
    assert [r.status for r in run_all(executor, [make_job("on_device", job={"resources": half})])] == ["ok"]


def test_running_out_of_device_memory_halves_and_gives_equal_numbers(devices, open_workers, run, make_job):
    executor = open_workers("local:1")
    whole = Resources(gpus=1)
    free = run(executor, make_job("on_device", units=4, job={"resources": whole}))
    ran = run(executor, make_job("on_device", units=4, hog_per_unit=0.3, job={"resources": whole}))
    assert ran.status == "ok" and ran.end["oom_retries"] == 1
    assert sorted(r for t in ran.tables() for r in t.rows()) == sorted(
        r for t in free.tables() for r in t.rows()
    )
