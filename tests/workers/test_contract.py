"""The contract kit: what every backend must do alike."""

from __future__ import annotations

import hashlib
import json

import pytest

from agentkit.errors import UnsatisfiableError
from agentkit.types import Resources
from agentkit.workers import OUTCOME_STATUSES


def test_a_job_measures_what_calling_the_tool_measures(executor, run, make_job, plugins):
    job = make_job("doses", units=5)
    ran = run(executor, job)
    tool = plugins.tool("doses")

    class Plain:
        cancelled = False

        def wants(self, condition):
            return True

        def progress(self, done, total):
            pass

    expected = tool(tool.parse(job.params), job.units, Plain())
    assert ran.status == "ok"
    assert list(ran.tables()[0].rows()) == list(expected.rows())


def test_events_come_in_order_numbered_and_echo_the_attempt(executor, run, make_job):
    job = make_job("doses", units=3, job={"run": "r77", "attempt": 2, "fence": 9})
    ran = run(executor, job)
    kinds = [e.kind for e in ran.events]
    assert kinds[0] == "queued" and kinds[1] == "started" and kinds[-2:] == ["units", "end"]
    assert set(kinds[2:-2]) == {"progress"}
    assert [e.seq for e in ran.events] == list(range(len(ran.events)))
    assert {(e.job_id, e.run, e.attempt, e.fence) for e in ran.events} == {(job.job_id, "r77", 2, 9)}


def test_events_are_plain_json(executor, run, make_job):
    for event in run(executor, make_job("doses", units=2)).events:
        assert json.loads(json.dumps(event.data, allow_nan=False)) == event.data


def test_started_says_where_and_with_what(executor, run, make_job):
    (started,) = run(executor, make_job("doses")).of("started")
    assert started.data["device"] == "cpu"
    assert started.data["pid"] > 0
    assert started.data["threads"] == 1
    assert started.data["deterministic"] is True
    assert set(started.data["versions"]) == {"agentkit-perturb", "torch", "numpy"}


def test_progress_holds_no_values(executor, run, make_job):
    progress = run(executor, make_job("doses", units=4)).of("progress")
    assert progress[-1].data == {"done": 4, "total": 4}
    assert all(set(e.data) == {"done", "total"} for e in progress)


def test_only_asked_conditions_and_the_baseline_are_measured(executor, run, make_job):
    ran = run(executor, make_job("doses", units=2, job={"conditions": ("dose=0.5",)}))
    assert ran.tables()[0].conditions == ("baseline", "dose=0.5")


def test_a_raising_tool_fails_its_unit_and_says_where(executor, run, make_job):
    ran = run(executor, make_job("misbehave", how="raise"))
    assert ran.status == "ok" and ran.outcomes() == {0: "failed"}
    said = ran.of("units")[0].data
    assert said["error_class"] == "RuntimeError" and "layers.9" in said["message"]
    assert len(said["traceback_sha256"]) == 64


def test_units_that_fail_together_are_tried_alone_and_the_good_ones_kept(executor, run, make_job):
    ran = run(executor, make_job("misbehave", units=6, how="raise", at=(2, 4)))
    assert ran.outcomes() == {0: "ok", 1: "ok", 2: "failed", 3: "ok", 4: "failed", 5: "ok"}
    assert ran.status == "ok"


@pytest.mark.parametrize(
    ("how", "status", "says"),
    [
        ("nan", "bad_value", "nan"),
        ("text", "bad_value", "returned a str"),
        ("wrong_unit", "bad_value", "units [1000]"),
        ("undeclared", "bad_value", "'value'"),
        ("range", "out_of_range", "1.5 in condition 'a'"),
        ("exit", "failed", "exit(3)"),
        ("memory_error", "oom", "1 PiB"),
        ("foreign_artifact", "failed", ".pickle"),
    ],
)
def test_a_bad_answer_becomes_a_typed_outcome_and_the_next_job_runs(
    executor, run, make_job, how, status, says
):
    ran = run(executor, make_job("misbehave", how=how))
    assert ran.outcomes() == {0: status}
    assert says in ran.of("units")[0].data["message"]
    assert run(executor, make_job("noop")).status == "ok"


def test_a_unit_without_a_baseline_is_a_bad_value(executor, run, make_job):
    ran = run(executor, make_job("misbehave", units=3, how="no_baseline_value"))
    assert ran.outcomes() == {0: "ok", 1: "ok", 2: "ok"}, "each alone has its baseline"
    assert len(ran.of("units")) == 3, "together two units had none, so they were measured one at a time"


def test_only_the_units_out_of_range_are_refused(executor, run, make_job):
    ran = run(executor, make_job("misbehave", units=4, how="range", at=(1,)))
    assert ran.outcomes() == {0: "ok", 1: "out_of_range", 2: "ok", 3: "ok"}
    assert ran.tables()[0].units == (0, 2, 3)


def test_a_result_above_the_frame_is_refused_with_its_size(executor, run, make_job):
    ran = run(executor, make_job("misbehave", how="big"))
    assert ran.outcomes() == {0: "bad_value"}
    assert "MB result; store arrays with ctx.artifact" in ran.of("units")[0].data["message"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"version": "0"}, "version 1"),
        ({"source_sha256": "0" * 64}, "another source"),
        ({"plugin": "somebody"}, "from plugin 'tools_for_tests'"),
        ({"tool": "nobody.knows"}, "has no tool 'nobody.knows'"),
        ({"targets": {"net:small": "other bytes"}}, "registered with other bytes"),
    ],
)
def test_a_worker_that_differs_refuses_and_leaves_no_outcome(executor, run, make_job, change, says):
    ran = run(executor, make_job("doses", units=2, job=change))
    assert ran.status == "refused" and ran.outcomes() == {}
    assert says in ran.end["message"]
    assert ran.end["units_left"] == [0, 1]


def test_a_target_that_does_not_load_is_named(executor, run, make_job):
    job = make_job("on_target", target="net:broken")
    ran = run(executor, job)
    assert ran.status == "refused" and ran.end["error_class"] == "TargetUnavailableError"
    assert "net:broken does not load (FileNotFoundError: weights.bin)" in ran.end["message"]


def test_more_than_there_is_is_refused_at_submit(executor, make_job):
    with pytest.raises(UnsatisfiableError, match="wants_gpu needs 1 GPU"):
        executor.submit(make_job("wants_gpu"))
    if executor.capacity().backend != "inline":
        with pytest.raises(UnsatisfiableError, match="CPUs"):
            executor.submit(make_job("noop", job={"resources": Resources(cpus=200)}))
        with pytest.raises(UnsatisfiableError, match="GiB"):
            executor.submit(make_job("noop", job={"resources": Resources(memory=1 << 50)}))


def test_a_job_cancelled_while_it_waits_never_runs(executor, make_job):
    first, second = make_job("doses", seconds=0.2), make_job("doses", seconds=0.2, job={"run": "r2"})
    executor.submit(first)
    executor.submit(second)
    executor.cancel(second.job_id)
    ended = {}
    seen = []
    while len(ended) < 2:
        for event in executor.events(10):
            seen.append((event.job_id, event.kind))
            if event.kind == "end":
                ended[event.job_id] = event.data["status"]
    assert ended == {first.job_id: "ok", second.job_id: "cancelled"}
    assert (second.job_id, "started") not in seen


def test_every_job_that_was_submitted_ends_exactly_once(executor, run_all, make_job):
    jobs = [make_job("noop", units=2, job={"run": f"r{i}"}) for i in range(20)]
    for ran in run_all(executor, jobs):
        assert [e.kind for e in ran.events].count("end") == 1
        assert sorted(u for e in ran.of("units") for u in e.data["units"]) == [0, 1]
        assert set(ran.outcomes().values()) <= set(OUTCOME_STATUSES)


def test_artifacts_are_stored_by_content(executor, run, make_job):
    ran = run(executor, make_job("misbehave", how="artifacts"))
    folder = executor._artifacts
    stored = {e.data["name"]: e.data for e in ran.of("artifact")}
    assert set(stored) == {"a.npz", "a.safetensors", "rows.csv", "facts.json"}
    for data in stored.values():
        content = (folder / data["file"]).read_bytes()
        assert hashlib.sha256(content).hexdigest() == data["sha256"] and len(content) == data["bytes"]
    again = run(executor, make_job("misbehave", how="artifacts"))
    assert [e.data for e in again.of("artifact")] == [e.data for e in ran.of("artifact")]
