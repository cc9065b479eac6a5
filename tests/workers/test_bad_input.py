"""What a study cannot be run with is named at once, keeps what was recorded, and is no obstacle once it is repaired."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import agentkit
from agentkit.errors import AgentkitError, UnsatisfiableError, WorkerError
from agentkit.workers import watch

HERE = Path(__file__).parent
needs_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="the extra 'ray' is not installed"
)
RAY = pytest.param("ray", marks=[pytest.mark.slow, needs_ray])  # a Ray cluster takes seconds to start
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning")

PLUGIN = """
import pathlib
import agentkit
from agentkit import Metric, Params, Resources

class OfFile(Params):
    target: str = "file:{path}"

@agentkit.tool(name="repair.read", metrics=[Metric("value", 0, 1)], version="1", resources=Resources(memory={memory}))
def read(params: OfFile, units, ctx):
    '''Read a number from a file that has to be there.'''
    value = ctx.target(params.target)
    return agentkit.Measurements.from_array(units, ["baseline", "a"], "value", [[0.5, value]] * len(units))

@agentkit.target("file", fingerprint=lambda rest: rest)
def load(rest, device):
    '''A number in a file.'''
    return float(pathlib.Path(rest).read_text())

@agentkit.hookimpl
def agentkit_register_tools(register):
    register(read)

@agentkit.hookimpl
def agentkit_register_targets(register):
    register(load)
"""


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """Writes the plugin's file and imports it anew; returns a function that does so with other memory."""
    name = f"repair_{tmp_path.name.replace('-', '_')}"
    monkeypatch.syspath_prepend(tmp_path)
    number = tmp_path / "number.txt"
    number.write_text("0.25")

    def write(memory=256 << 20, *, imported=True):
        (tmp_path / f"{name}.py").write_text(PLUGIN.format(path=number, memory=memory))
        importlib.invalidate_caches()
        if imported:
            sys.modules.pop(name, None)
        return name

    write()
    yield write
    sys.modules.pop(name, None)


def explored(tmp_path, workers, module):
    """The values of a small exploration, and its runs."""
    with agentkit.lab(tmp_path / "lab.db", workers=workers, modules=[module]) as lab:
        campaign = lab.campaign("repaired", seed=1)
        table = lab.explore("repair.read", units=2, campaign=campaign)
        lab.ledger.verify()
        return list(table.column("value", "a")), [run.ref for run in campaign.runs()]


@pytest.mark.parametrize("workers", ["local:1", RAY])
def test_a_job_that_no_worker_can_ever_run_is_named_at_once_and_resumable(tmp_path, plugin, workers):
    module = plugin(memory=1 << 50)
    began = time.monotonic()
    with (
        agentkit.lab(tmp_path / "lab.db", workers=workers, modules=[module]) as lab,
        pytest.raises(UnsatisfiableError, match=r"needs .*GiB; .*resources\.memory"),
    ):
        opened = time.monotonic()
        lab.explore("repair.read", units=2, campaign=lab.campaign("repaired", seed=1))
    assert time.monotonic() - opened < 30 and opened - began < 90
    assert explored(tmp_path, workers, plugin())[0] == [0.25, 0.25]


@pytest.mark.parametrize("workers", ["local:1", RAY])
def test_a_worker_with_another_source_of_the_plugin_refuses_and_the_repaired_one_goes_on(
    tmp_path, plugin, workers
):
    module = plugin()
    with agentkit.lab(tmp_path / "lab.db", workers=workers, modules=[module]) as lab:
        assert lab.plugins.tool("repair.read").source_sha256  # read from the file when it is first asked for
        plugin(memory=257 << 20, imported=False)  # what the workers will find
        with pytest.raises(WorkerError, match=r"has another source of repair\.read .*install the same"):
            lab.explore("repair.read", units=2, campaign=lab.campaign("repaired", seed=1))
    plugin()
    assert explored(tmp_path, workers, module) == ([0.25, 0.25], ["R1"])


@pytest.mark.parametrize("workers", ["local:1", RAY])
def test_a_target_that_does_not_load_is_named_and_loads_after_its_repair(tmp_path, plugin, workers):
    module, number = plugin(), tmp_path / "number.txt"
    number.unlink()
    with (
        agentkit.lab(tmp_path / "lab.db", workers=workers, modules=[module]) as lab,
        pytest.raises(AgentkitError, match=r"file:.*number\.txt"),
    ):
        lab.explore("repair.read", units=2, campaign=lab.campaign("repaired", seed=1))
    number.write_text("0.75")
    assert explored(tmp_path, workers, module) == ([0.75, 0.75], ["R1"])


STUDY = """
import sys, agentkit
with agentkit.lab("lab.db", workers=sys.argv[1], modules=["tools_for_tests"]) as lab:
    campaign = lab.campaign("lost", seed=4)
    table = lab.explore("doses", units=6, campaign=campaign, seconds=float(sys.argv[2]))
    lab.ledger.verify()
    print(sorted(row.value for row in table.rows()), [run.ref for run in campaign.runs()])
"""


def start(folder, workers, seconds):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), *sys.path])}
    return subprocess.Popen(
        [sys.executable, "-c", STUDY, workers, str(seconds)],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def head_of(pid):
    """The process id of the Ray head that a driver started, or None."""
    for process in watch.processes(0):
        with contextlib.suppress(OSError):
            if process.parent == pid and b"gcs_server" in Path(f"/proc/{process.pid}/cmdline").read_bytes():
                return process.pid
    return None


@pytest.mark.slow  # two Ray clusters
@needs_ray
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc to find the head")
def test_a_lost_cluster_is_named_and_the_study_goes_on_with_a_new_one(tmp_path):
    driver = start(tmp_path, "ray", 3.0)
    give_up = time.monotonic() + 120
    drivers = tmp_path / "lab.artifacts" / "drivers"
    while not any('"busy"' in f.read_text() for f in drivers.glob("*.json")):
        assert driver.poll() is None and time.monotonic() < give_up, "no worker became busy"
        time.sleep(0.2)
    os.kill(head_of(driver.pid), signal.SIGKILL)
    killed = time.monotonic()
    out, said = driver.communicate(timeout=120)
    assert driver.returncode != 0 and not out
    assert "is gone; start it again and resume" in said, said[-2000:]
    assert time.monotonic() - killed < 60
    with contextlib.suppress(ProcessLookupError):
        os.killpg(driver.pid, signal.SIGKILL)
    again, said = start(tmp_path, "ray", 3.0).communicate(timeout=240)
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    expected, _ = start(fresh, "inline", 3.0).communicate(timeout=120)
    assert again == expected != "", said[-2000:]
