"""Two Ray nodes on one machine, with a token and one logical GPU each: placement, refusal, death, and equal numbers."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from agentkit.errors import MissingExtraError, UnsatisfiableError
from agentkit.types import Resources
from agentkit.workers import WorkersConfig, merge, open_executor, plan_shards, watch

HAS_RAY = importlib.util.find_spec("ray") is not None
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning")
slow = pytest.mark.slow  # a Ray cluster takes seconds to start and half a gigabyte
needs_ray = pytest.mark.skipif(not HAS_RAY, reason="the extra 'ray' is not installed")

NODE = {"num_cpus": 4, "num_gpus": 1, "object_store_memory": 80 << 20}


@pytest.fixture(scope="module")
def cluster():
    from agentkit.workers import ray_cluster

    patch = pytest.MonkeyPatch()
    patch.setenv("RAY_AUTH_MODE", "token")
    patch.setenv("RAY_AUTH_TOKEN", ray_cluster._token)
    patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    # Ray's nodes listen on this host's own address, which the house's socket guard does not know
    patch.setattr(ray_cluster, "_require_listener", lambda address: None)
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={**NODE, "include_dashboard": False})
    cluster.second = cluster.add_node(**NODE)
    cluster.wait_for_nodes(timeout=60)
    yield cluster
    cluster.shutdown()
    patch.undo()


@pytest.fixture
def ray2(cluster, open_workers):
    """An executor on both nodes, closed after the test so that the next one finds the cluster free."""
    if len(cluster.list_all_nodes()) < 2:
        cluster.second = cluster.add_node(**NODE)
        cluster.wait_for_nodes(timeout=60)
    executor = open_workers("ray", address=cluster.address)
    yield executor
    executor.close(grace_s=1)


def parent_of(pid):
    return next(p.parent for p in watch.processes(max_age_s=0) if p.pid == pid)


def node_of(event):
    return event.worker.partition("@")[2]


@slow
@needs_ray
def test_the_same_sweep_has_the_same_numbers_on_every_backend(ray2, open_workers, run, run_all, make_job):
    names = tuple(f"dose={(i + 1) / 16:g}" for i in range(6))
    whole = make_job(
        "doses", units=17, doses=tuple((i + 1) / 16 for i in range(6)), job={"conditions": names}
    )
    expected = run(open_workers("inline"), whole).tables()[0]
    for executor, workers in ((open_workers("local:1"), 1), (open_workers("local:2"), 2), (ray2, 4)):
        ran = run_all(executor, plan_shards(whole, workers=workers, splits_conditions=True))
        table = merge([t for r in ran for t in r.tables()], conditions=names)
        assert sorted(table.rows()) == sorted(expected.rows())


@slow
@needs_ray
def test_half_a_gpu_packs_two_workers_on_each_node_and_a_fifth_job_waits_its_turn(ray2, run_all, make_job):
    half = Resources(gpus=0.5)
    jobs = [
        make_job("misbehave", how="hang", seconds=3, job={"resources": half, "run": f"r{i}"})
        for i in range(5)
    ]
    running, most = set(), Counter()

    def watch_nodes(event):
        if event.kind == "started":
            running.add((event.job_id, node_of(event)))
        for node, count in Counter(node for _, node in running).items():
            most[node] = max(most[node], count)
        if event.kind == "end":
            running.difference_update({r for r in running if r[0] == event.job_id})

    ran = run_all(ray2, jobs, while_running=watch_nodes)
    assert [r.status for r in ran] == ["ok"] * 5, [r.end for r in ran]
    assert sorted(most.values()) == [2, 2], most
    assert {r.of("started")[0].data["device"] for r in ran} == {"cuda:0"}


@slow
@needs_ray
def test_what_no_node_has_is_refused_at_once_and_a_busy_node_is_no_reason(ray2, run, make_job):
    with pytest.raises(
        UnsatisfiableError, match=r"needs 2 GPUs; the largest of 2 nodes has 1.*resources\.gpus"
    ):
        ray2.submit(make_job("wants_gpu", job={"resources": Resources(gpus=2)}))
    with pytest.raises(UnsatisfiableError, match="needs 5 CPUs; the largest of 2 nodes has 4"):
        ray2.submit(make_job("noop", job={"resources": Resources(cpus=5)}))
    assert run(ray2, make_job("wants_gpu")).status == "ok"
    assert len(ray2.capacity().devices) == 2


@slow
@needs_ray
def test_a_job_that_waits_for_nodes_in_vain_ends_refused(cluster, open_workers, run, make_job):
    executor = open_workers("ray", address=cluster.address, wait_for_nodes_s=1)
    ran = run(executor, make_job("wants_gpu", job={"resources": Resources(gpus=3)}))
    assert ran.status == "refused" and ran.end["error_class"] == "UnsatisfiableError"
    executor.close()


@slow
@needs_ray
def test_a_killed_node_costs_attempts_and_no_unit(cluster, ray2, finish_all, make_job):
    whole = make_job("doses", units=24, seconds=0.15)
    killed = []

    def kill_second(event):
        if event.kind == "started" and not killed and node_of(event) == cluster.second.node_id[:6]:
            killed.append(event.worker)
            cluster.remove_node(cluster.second, allow_graceful=False)

    tables, outcomes = finish_all(ray2, list(plan_shards(whole, workers=8)), while_running=kill_second)
    assert killed, "a job ran on the node that was killed"
    assert outcomes == Counter(range(24))
    undisturbed, _ = finish_all(ray2, [whole.model_copy(update={"run": "again"})])
    assert sorted(merge(tables).rows()) == sorted(merge(undisturbed).rows())


@slow
@needs_ray
def test_twenty_killed_actors_cost_attempts_and_no_unit(ray2, finish_all, make_job):
    kills = []

    def kill_actor(event):
        if event.kind == "started" and len(kills) < 20 and event.attempt == 1 and event.seq == 1:
            kills.append(event.data["pid"])
            os.kill(parent_of(kills[-1]), signal.SIGKILL)  # the actor; its child must not survive it

    jobs = [make_job("doses", units=2, seconds=0.7, job={"run": f"r{i}"}) for i in range(20)]
    tables, outcomes = finish_all(ray2, jobs, most_attempts=4, limit_s=240, while_running=kill_actor)
    assert len(kills) == 20 and outcomes == Counter({0: 20, 1: 20}) and tables
    wait = time.monotonic() + 10
    while any(watch.session_members(pid, max_age_s=0) for pid in kills):
        assert time.monotonic() < wait, "a child outlived its actor"
        time.sleep(0.1)


@slow
@needs_ray
def test_a_study_on_two_nodes_survives_killed_actors_and_a_killed_node(
    cluster, tmp_path, tmp_path_factory, study
):
    if len(cluster.list_all_nodes()) < 2:
        cluster.second = cluster.add_node(**NODE)
        cluster.wait_for_nodes(timeout=60)
    workers = {"backend": "ray", "address": cluster.address}
    undisturbed = study(tmp_path_factory.mktemp("undisturbed"), "inline", seconds=0.05)
    on_two_nodes = study(tmp_path_factory.mktemp("two"), workers, seconds=0.05)
    assert on_two_nodes[:2] == undisturbed[:2]
    kills = []

    def kill(event):
        if event.kind != "started" or event.attempt > 1 or len(kills) == 4:
            return
        kills.append(event.job_id)
        if len(kills) == 3:
            cluster.remove_node(cluster.second, allow_graceful=False)
        else:
            os.kill(parent_of(event.data["pid"]), signal.SIGKILL)

    verdicts, rows, lost = study(tmp_path, workers, on_event=kill, seconds=0.05)
    assert len(kills) == 4 and lost
    assert (verdicts, rows) == undisturbed[:2]


@slow
@needs_ray
@pytest.mark.parametrize(
    ("how", "status"),
    [("grandchild", "timeout"), ("eat_memory", "oom"), ("segfault", "lost"), ("flood", "ok")],
)
def test_what_a_plugin_does_ends_as_it_does_locally(ray2, run, make_job, tmp_path, how, status):
    job = make_job(
        "misbehave",
        how=how,
        path=str(tmp_path / "note"),
        job={"timeout_s": 10.0 if how != "grandchild" else 1.0},
    )
    ran = run(ray2, job)
    assert ran.status == status
    assert watch.session_members(ran.of("started")[0].data["pid"], max_age_s=0) == [] or status == "ok"
    if how == "flood":
        assert (ray2._artifacts / "logs" / ran.end["log_file"]).stat().st_size == ran.end["log_bytes"]
    assert run(ray2, make_job("noop")).status == "ok"


@slow
@needs_ray
@pytest.mark.parametrize("hard", [False, True])
def test_a_running_job_can_be_cancelled(ray2, make_job, hard):
    job = make_job("misbehave", how="hang" if hard else "patient")
    ray2.submit(job)
    status = None
    give_up = time.monotonic() + 60
    while status is None and time.monotonic() < give_up:
        for event in ray2.events(5):
            if event.kind == "started":
                ray2.cancel(job.job_id, hard=hard)
            status = event.data["status"] if event.kind == "end" else None
    assert status == "cancelled"


@slow
@needs_ray
def test_no_secret_reaches_a_child_through_ray_and_a_wrong_token_is_refused():
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_AUTH")}
    environment |= {"ANTHROPIC_API_KEY": "canary-1", "DATABASE_URL": "canary-2"}
    script = Path(__file__).with_name("script_ray_secrets.py")
    done = subprocess.run(
        [sys.executable, str(script)],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        env=environment,
    )
    assert done.returncode == 0 and done.stdout.strip().endswith("kept"), done.stderr[-3000:]


@slow
@needs_ray
def test_a_lost_cluster_is_named_at_once_and_ends_the_attempt_as_lost():
    script = Path(__file__).with_name("script_ray_lost.py")
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert (
        done.stdout.startswith("the Ray cluster at ") and "is gone; start it again and resume" in done.stdout
    )


def test_without_the_extra_the_pip_line_is_given(monkeypatch):
    from agentkit.workers import ray_

    monkeypatch.setattr(ray_, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'agentkit-perturb\[ray\]'"):
        open_executor(WorkersConfig.parse("ray"))
