"""What happens inside a worker: device memory, warm targets, writes to weights, cancellation between units."""

from __future__ import annotations

import pytest

from agentkit.errors import TargetModifiedError
from agentkit.workers import runner as runner_module
from agentkit.workers.artifacts import ArtifactStore
from agentkit.workers.context import Control
from agentkit.workers.runner import Runner, automatic_timeout_s
from agentkit.workers.warm import FULL_HASH_EVERY, WarmTargets, numbers_of

BIG = 512 * 512 * 4


@pytest.fixture
def worker(plugins, tmp_path):
    """A runner in this process with room for two big targets, and `run(job)` that returns its events."""
    targets = WarmTargets(plugins, "cpu", cap_bytes=2 * BIG + 1000)
    runner = Runner(plugins, targets, ArtifactStore(tmp_path / "artifacts"), device="cpu", worker="w")

    def run(job, control=None):
        events = []
        runner.run(job, tmp_path, control or Control(), lambda kind, data: events.append((kind, data)))
        return events

    run.targets = targets
    run.runner = runner
    return run


def end_of(events):
    kind, data = events[-1]
    assert kind == "end"
    return data


def outcomes_of(events):
    return {u: data["status"] for kind, data in events if kind == "units" for u in data["units"]}


def values_of(events):
    from agentkit.measurements import Measurements

    tables = [Measurements.from_json(d["table"]) for k, d in events if k == "units" and d["status"] == "ok"]
    return sorted(row for table in tables for row in table.rows())


def calls_in(path):
    return [tuple(line.split()) for line in path.read_text().splitlines()]


def test_out_of_device_memory_halves_the_units_and_gives_the_same_numbers(worker, make_job, tmp_path):
    pytest.importorskip("torch")
    calls = tmp_path / "calls"
    undisturbed = worker(make_job("device_memory", units=4, most_units=9, path=str(calls)))
    calls.unlink()
    events = worker(make_job("device_memory", units=4, most_units=2, path=str(calls)))
    assert calls_in(calls) == [("4", "None"), ("2", "None"), ("2", "None")]
    assert values_of(events) == values_of(undisturbed)
    assert end_of(events)["oom_retries"] == 1 and end_of(events)["status"] == "ok"
    (retry,) = [data for kind, data in events if kind == "oom_retry"]
    assert (retry["units_before"], retry["units_after"]) == (4, 2)


def test_later_jobs_of_the_tool_start_at_what_fitted(worker, make_job, tmp_path):
    pytest.importorskip("torch")
    calls = tmp_path / "calls"
    worker(make_job("device_memory", units=4, most_units=2, path=str(calls)))
    calls.unlink()
    events = worker(make_job("device_memory", units=5, most_units=2, path=str(calls)))
    assert [int(n) for n, _ in calls_in(calls)] == [2, 2, 1]
    assert end_of(events)["oom_retries"] == 0


def test_one_unit_that_does_not_fit_gets_a_smaller_batch(worker, make_job, tmp_path):
    pytest.importorskip("torch")
    calls = tmp_path / "calls"
    events = worker(make_job("device_memory", units=1, most_units=9, most_rows=16, path=str(calls)))
    assert calls_in(calls) == [("1", "None"), ("1", "16")]
    assert outcomes_of(events) == {0: "ok"} and end_of(events)["batch"] == 16


def test_always_out_of_device_memory_is_oom_after_exactly_two_calls(worker, make_job, tmp_path):
    pytest.importorskip("torch")
    calls = tmp_path / "calls"
    events = worker(make_job("device_memory", units=4, most_units=0, path=str(calls)))
    assert len(calls_in(calls)) == 2
    assert outcomes_of(events) == dict.fromkeys(range(4), "oom")
    message = next(data["message"] for kind, data in events if kind == "units")
    assert "ran out of device memory twice" in message


def loads_in(path):
    return len((path.parent / f"{path.name}.loads").read_text().splitlines())


def test_a_second_job_on_a_target_loads_nothing(worker, make_job, tmp_path):
    weights = tmp_path / "weights"
    weights.write_text("v1")
    for _ in range(3):
        assert end_of(worker(make_job("on_target", target=f"net:small@{weights}")))["status"] == "ok"
    assert loads_in(weights) == 1


def test_an_edited_file_behind_a_uri_is_loaded_again_or_refused(worker, make_job, tmp_path):
    weights = tmp_path / "weights"
    weights.write_text("v1")
    old = make_job("on_target", target=f"net:small@{weights}")
    worker(old)
    weights.write_text("v2")
    assert end_of(worker(make_job("on_target", target=f"net:small@{weights}")))["status"] == "ok"
    assert loads_in(weights) == 2
    refused = end_of(worker(old))
    assert refused["status"] == "refused" and refused["error_class"] == "TargetChangedError"


def test_the_least_recently_used_target_goes_first(worker, make_job):
    for name in ("big1", "big2"):
        worker(make_job("on_target", target=f"net:{name}"))
    worker(make_job("on_target", target="net:big1"))
    worker(make_job("on_target", target="net:big3"))
    assert worker.targets.uris == ("net:big1", "net:big3")
    assert worker.targets.nbytes == 2 * BIG


def test_targets_in_use_stay_even_above_the_cap_and_are_trimmed_afterwards(plugins, make_job, tmp_path):
    targets = WarmTargets(plugins, "cpu", cap_bytes=BIG)
    runner = Runner(plugins, targets, ArtifactStore(tmp_path), device="cpu", worker="w")
    seen = []
    runner.run(
        make_job("on_target", target="net:big1", also="net:big2"),
        tmp_path,
        Control(),
        lambda kind, data: seen.append((kind, data, targets.nbytes)),
    )
    assert max(held for _, _, held in seen) == 2 * BIG
    assert targets.nbytes == BIG and end_of([s[:2] for s in seen])["status"] == "ok"


@pytest.mark.parametrize("write", ["in_place", "data"])
def test_a_tool_that_writes_to_a_weight_fails_and_the_worker_is_replaced(worker, make_job, write):
    events = worker(make_job("on_target", units=2, write=write))
    assert outcomes_of(events) == {0: "failed", 1: "failed"}
    end = end_of(events)
    assert end["error_class"] == TargetModifiedError.__name__ and end["replace"] is True
    assert "on_target" in end["message"] and "net:small" in end["message"]
    assert "net:small" not in worker.targets.uris


def test_a_tool_that_restores_what_it_wrote_is_let_through(worker, make_job):
    assert outcomes_of(worker(make_job("on_target", write="restored"))) == {0: "ok"}
    assert end_of(worker(make_job("on_target")))["replace"] is False


def test_a_write_that_no_counter_shows_is_found_after_fifty_jobs_at_the_latest(plugins):
    targets = WarmTargets(plugins, "cpu", cap_bytes=10 * BIG)
    for _ in range(2):
        targets.begin_job()
        net = targets.get("net:small").value
        targets.verify("honest_at_first")
    net.weight.data.mul_(2)
    with pytest.raises(TargetModifiedError, match="honest_at_first"):
        for _ in range(FULL_HASH_EVERY):
            targets.begin_job()
            targets.get("net:small")
            targets.verify("honest_at_first")


def test_a_write_found_while_dropping_a_target_is_told_and_not_charged_to_the_running_job(worker, make_job):
    worker(make_job("on_target", target="net:big1"))
    worker.targets.get("net:big1").value.weight.data.mul_(2)
    worker(make_job("on_target", target="net:big2"))
    events = worker(make_job("on_target", target="net:big3"))
    assert outcomes_of(events) == {0: "ok"} and end_of(events)["replace"] is True
    assert any(kind == "log" and "net:big1 was changed" in data["text"] for kind, data in events)


def test_numbers_inside_a_target_are_found_through_attributes_dicts_and_modules():
    torch = pytest.importorskip("torch")
    np = pytest.importorskip("numpy")

    class Wrapper:
        __slots__ = ("inner", "tables")

        def __init__(self):
            self.inner = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3))
            self.tables = {"a": [np.arange(3), "text"], "again": self.inner[0].weight}

    found = numbers_of(Wrapper())
    assert len(found) == 2 + 5 + 1, sorted(found)
    assert any(path.endswith("running_mean") for path in found)


def test_targets_used_without_being_named_are_reported(worker, make_job):
    events = worker(make_job("on_target", job={"targets": {}}))
    assert end_of(events)["unlisted_targets"] == {"net:small": "net-small"}


def test_a_cancelled_job_leaves_its_units_without_an_outcome(worker, make_job):
    control = Control()
    control.cancel()
    events = worker(make_job("doses", units=3), control)
    assert outcomes_of(events) == {}
    assert end_of(events)["status"] == "cancelled" and end_of(events)["units_left"] == [0, 1, 2]


def test_a_tool_that_gives_up_when_its_time_is_over_is_a_timeout(worker, make_job):
    events = worker(make_job("misbehave", units=3, how="patient", job={"timeout_s": 0.2}))
    assert outcomes_of(events) == dict.fromkeys(range(3), "timeout")
    assert end_of(events)["status"] == "timeout"


def test_an_unknown_cost_gets_ten_minutes_and_a_known_one_ten_times_itself():
    assert automatic_timeout_s(None, 5) == runner_module.TIMEOUT_LEAST_S == 600
    assert automatic_timeout_s(0.01, 10) == 600
    assert automatic_timeout_s(2.0, 50) == 1000


def test_threads_and_determinism_are_as_declared_inside_and_restored_outside(
    worker, make_job, plugins, tmp_path
):
    torch = pytest.importorskip("torch")
    from agentkit.types import Resources

    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    events = worker(make_job("on_target", job={"resources": Resources(cpus=2)}))
    started = next(data for kind, data in events if kind == "started")
    assert started["threads"] == 2 and started["dtypes"] == {"net:small": "float32"}
    assert (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()) == before
