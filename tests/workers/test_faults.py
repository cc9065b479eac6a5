"""Ten of each fault in a row on two workers: typed outcomes, a pool that lives, and no process left anywhere."""

from __future__ import annotations

import sys
import time

import pytest

from agentkit.workers import watch

pytestmark = [
    pytest.mark.slow,  # 110 faults, some of which take seconds each
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc to see what is left"),
]
TIMES = 10

FAULTS = {
    "hang": ("timeout", {"timeout_s": 0.3}),
    "grandchild": ("timeout", {"timeout_s": 0.5}),
    "daemon": ("timeout", {"timeout_s": 0.5}),
    "fork_many": ("failed", {"timeout_s": 30.0}),
    "eat_memory": ("oom", {"timeout_s": 30.0}),
    "flood": ("ok", {}),
    "exit": ("failed", {}),
    "nan": ("bad_value", {}),
    "text": ("bad_value", {}),
    "wrong_unit": ("bad_value", {}),
    "big": ("bad_value", {"timeout_s": 60.0}),
    "range": ("out_of_range", {}),
    "exit_hard": ("lost", {}),
    "segfault": ("lost", {}),
}


@pytest.fixture(scope="module")
def two(open_workers):
    return open_workers("local:2")


@pytest.mark.parametrize("how", FAULTS)
def test_ten_faults_leave_typed_outcomes_a_living_pool_and_no_process(two, run_all, make_job, tmp_path, how):
    status, options = FAULTS[how]
    jobs = [
        make_job("misbehave", how=how, path=str(tmp_path / str(i)), job={**options, "run": f"r{i}"})
        for i in range(TIMES)
    ]
    sessions = set()
    ran = run_all(
        two,
        jobs,
        limit_s=240,
        while_running=lambda e: sessions.add(e.data["pid"]) if e.kind == "started" else None,
    )
    if status == "lost":
        assert [r.status for r in ran] == ["lost"] * TIMES
        assert all(r.outcomes() == {} and r.end["units_left"] == [0] for r in ran)
    else:
        assert [r.outcomes() for r in ran] == [{0: status}] * TIMES
    after = run_all(two, [make_job("noop", job={"run": f"after{i}"}) for i in range(4)])
    assert [r.status for r in after] == ["ok"] * 4
    living = {w.pid for w in two.capacity().workers if w.pid}
    give_up = time.monotonic() + 5
    while left := [p for s in sessions - living for p in watch.session_members(s, max_age_s=0)]:
        assert time.monotonic() < give_up, left
        time.sleep(0.05)
    noted = [int(f.read_text().split()[0]) for f in tmp_path.iterdir() if f.suffix == ""]
    assert not [p.pid for p in watch.processes(max_age_s=0) if p.pid in noted and not p.zombie]
