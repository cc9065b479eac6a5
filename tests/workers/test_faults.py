"""Ten of each fault in a row on two workers: typed outcomes, a pool that lives, and no process left anywhere."""

from __future__ import annotations

import re
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


PLUGINS_GONE_WRONG = {
    "stubborn": ("timeout", r"ran past its time-out"),
    "fork_many": ("failed", r"started \d+ processes; at most 64 are allowed"),
    "eat_memory": ("oom", r"MiB held, resources\.memory allows"),
    "big_flood": ("failed", r"SystemExit|RuntimeError"),
    "exit": ("failed", r"the tool called exit\(3\)"),
    "nan": ("bad_value", r"(?i)nan"),
}
"""Hanging, forking, memory-eating, stdout-flooding, exit()-calling and NaN-returning: status and what the row says."""


@pytest.mark.parametrize("how", PLUGINS_GONE_WRONG)
def test_ten_units_of_a_broken_plugin_are_ten_typed_rows_and_leave_no_process(tmp_path, how):
    import agentkit
    from agentkit.errors import ToolError

    status, said = PLUGINS_GONE_WRONG[how]
    workers = {"backend": "local", "count": 2, "timeout_s": 0.5 if how == "stubborn" else 30.0}
    marks = set()

    def note(event):
        if event.kind == "started":
            marks.add(_mark(event.data["pid"]))

    with agentkit.lab(
        tmp_path / "lab.db", workers=workers, modules=["tools_for_tests"], on_event=note
    ) as lab:
        campaign = lab.campaign("broken", seed=1)
        with pytest.raises(ToolError, match="10 of 10 units"):
            lab.explore("misbehave", units=TIMES, campaign=campaign, how=how)
        (run,) = campaign.runs()
        assert run.outcomes() == dict.fromkeys(range(TIMES), status)
        assert all(re.search(said, text) for text in run.failures().values()), run.failures()
        lab.explore("doses", units=4, campaign=campaign)
        lab.ledger.verify()
    give_up = time.monotonic() + 10
    assert marks - {b""}
    while left := [p for p in watch.processes(max_age_s=0) if not p.zombie and _mark(p.pid) in marks - {b""}]:
        assert time.monotonic() < give_up, left
        time.sleep(0.05)


def _mark(pid):
    """The word that a worker's child and all it starts carry in their environment, also after `setsid`."""
    try:
        found = (watch.PROC / str(pid) / "environ").read_bytes().split(b"\0")
    except OSError:
        return b""
    return next((entry for entry in found if entry.startswith(b"AGENTKIT_WORKER=")), b"")
