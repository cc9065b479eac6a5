"""`agentkit workers` from a second terminal while a study runs, and what the ledger keeps of every job."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import agentkit
from agentkit.workers import running_drivers

HERE = Path(__file__).parent
STUDY = """
import sys, agentkit
store, workers = sys.argv[1:]
with agentkit.lab(store, workers=workers, modules=["tools_for_tests"]) as lab:
    lab.explore("doses", units=4, campaign=lab.campaign("seen", seed=1), seconds=60)
"""
MISSES_RAY = importlib.util.find_spec("ray") is None


@contextlib.contextmanager
def a_study(store, workers):
    """A study in another process that runs until it is killed."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), *sys.path])}
    command = [sys.executable, "-c", STUDY, str(store), workers]
    driver = subprocess.Popen(command, env=env, start_new_session=True, stderr=subprocess.PIPE)
    try:
        yield driver
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(driver.pid, signal.SIGKILL)
        driver.communicate()


def command(store, *options):
    """What the second terminal prints."""
    done = subprocess.run(
        [sys.executable, "-m", "agentkit.cli.main", "workers", str(store), *options],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def when_busy(store, limit_s):
    """The command's JSON once the study's workers run something."""
    give_up = time.monotonic() + limit_s
    while time.monotonic() < give_up:
        seen = json.loads(command(store, "--json"))
        if any(w["state"] == "busy" for d in seen["drivers"] for w in d["capacity"]["workers"]):
            return seen
        time.sleep(0.5)
    raise AssertionError(f"nothing ran within {limit_s} s: {seen}")


@pytest.mark.parametrize(
    ("workers", "limit_s"),
    [
        ("local:2", 30),
        pytest.param(
            "ray",
            120,
            marks=[
                pytest.mark.slow,  # a Ray cluster takes seconds to start
                pytest.mark.skipif(MISSES_RAY, reason="the extra 'ray' is not installed"),
            ],
        ),
    ],
)
def test_a_second_terminal_shows_what_runs_and_for_how_long_until_the_driver_is_dead(
    tmp_path, workers, limit_s
):
    store = tmp_path / "lab.db"
    with a_study(store, workers) as driver:
        (seen,) = when_busy(store, limit_s)["drivers"]
        assert seen["pid"] == driver.pid and seen["silent"] is False
        assert seen["capacity"]["backend"] == workers.partition(":")[0]
        assert {k: seen["run"][k] for k in ("run", "phase", "tool", "campaign", "done", "total")} == {
            "run": "R1",
            "phase": "explore",
            "tool": "doses",
            "campaign": "seen",
            "done": 0,
            "total": 4,
        }
        busy = [w for w in seen["capacity"]["workers"] if w["state"] == "busy"]
        assert busy and all(w["tool"] == "doses" and w["seconds"] > 0 for w in busy)
        text = command(store)
        assert f"driver {driver.pid} on " in text
        assert "R1 of campaign seen: explore doses, 0 of 4 units" in text
        os.kill(driver.pid, signal.SIGKILL)
        driver.wait()
        assert command(store).startswith(f"no driver uses {store} now\nthis machine: ")
    assert running_drivers(store.with_suffix(".artifacts")) == []


def test_a_driver_that_closed_leaves_no_file_and_another_process_with_its_id_is_not_taken_for_it(
    tmp_path, open_workers
):
    from agentkit.workers import StatusFile

    file = StatusFile(tmp_path)
    file.update(open_workers("inline"), now=True)
    (path,) = (tmp_path / "drivers").glob("*.json")
    (mine,) = running_drivers(tmp_path)
    assert mine.pid == os.getpid() and mine.started > 0
    path.write_text(mine.model_copy(update={"started": mine.started - 1}).model_dump_json())
    assert running_drivers(tmp_path) == [] and not path.exists()
    with agentkit.lab(tmp_path / "lab.db", workers="inline", modules=["tools_for_tests"]) as lab:
        lab.explore("doses", units=2, seconds=0.6)
        (seen,) = running_drivers(lab.artifacts)
        assert seen.run is None
    assert running_drivers(lab.artifacts) == []


def test_a_driver_of_another_machine_is_called_silent_when_it_does_not_write(tmp_path, open_workers):
    from agentkit.workers import RunStatus, StatusFile

    run = RunStatus(run="R1", phase="explore", tool="t", campaign="c", done=1, total=2, seconds=3)
    StatusFile(tmp_path).update(open_workers("inline"), run, now=True)
    (path,) = (tmp_path / "drivers").glob("*.json")
    (status,) = running_drivers(tmp_path)
    assert not status.is_silent
    elsewhere = {"host": "node7", "written_at": time.time() - 60}
    path.write_text(status.model_copy(update=elsewhere).model_dump_json())
    (status,) = running_drivers(tmp_path)
    assert status.is_silent and status.age_s >= 60


def test_the_ledger_keeps_where_each_attempt_ran_and_what_it_took(tmp_path):
    with agentkit.lab(tmp_path / "lab.db", workers="local:1", modules=["tools_for_tests"]) as lab:
        campaign = lab.campaign("kept", seed=3)
        lab.explore("on_target", units=4, campaign=campaign)
        lab.explore("on_device", units=1, campaign=campaign)
        exact, loose = (run.work() for run in campaign.runs())
        ((first,), (second,)) = exact, loose
        lab.ledger.verify()
    assert first["device"] == "cpu" and first["threads"] == 1 and first["deterministic"] is True
    assert first["dtypes"] == {"net:small": "float32"}
    assert second["deterministic"] is False
    assert sum(job["units"] for job in first["jobs"]) == 4
    for job in first["jobs"]:
        assert job["worker"] == "w0" and job["status"] == "ok" and job["oom_retries"] == 0
        assert job["seconds"] >= 0 and job["load_s"] >= 0 and job["peak_rss"] > 50 << 20
        assert job["peak_device_bytes"] == 0


def test_a_lost_attempt_says_which_worker_it_was_on(tmp_path):
    path = tmp_path / "died"
    with agentkit.lab(tmp_path / "lab.db", workers="local:1", modules=["tools_for_tests"]) as lab:
        campaign = lab.campaign("lost", seed=3)
        with pytest.raises(agentkit.errors.ToolError, match="the worker died 3 times on this unit"):
            lab.explore("misbehave", units=1, campaign=campaign, how="exit_hard", path=str(path))
        (run,) = campaign.runs()
        assert [w["jobs"][0]["status"] for w in run.work()] == ["lost"] * 3
        assert [w["fence"] for w in run.work()] == [1, 2, 3]
