"""What all worker tests need: jobs for the test tools, and a way to run them to their end."""

from __future__ import annotations

import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from agentkit import Unit
from agentkit.plugins import load_plugins
from agentkit.seeds import derive_seed
from agentkit.workers import JobSpec, WorkersConfig, open_executor

HERE = Path(__file__).parent
MODULE = "tools_for_tests"
sys.path.insert(0, str(HERE))


@pytest.fixture(scope="session")
def plugins():
    return load_plugins(modules=[MODULE])


def make_units(count, first=0):
    return tuple(Unit(index=i, seed=derive_seed("test", i)) for i in range(first, first + count))


@pytest.fixture(scope="session")
def make_job(plugins):
    """`make_job("doses", units=4, doses=(1.0,), job={"timeout_s": 2})`."""

    def make(tool, units=1, job=None, **params):
        found = plugins.tool(tool)
        parsed = found.parse(params).model_dump(mode="json")
        fields = {
            "plugin": MODULE,
            "tool": tool,
            "version": found.version,
            "source_sha256": found.source_sha256,
            "params": parsed,
            "units": make_units(units) if isinstance(units, int) else units,
            "targets": plugins.fingerprints(plugins.target_uris(parsed)),
            "resources": found.resources,
            "run": "r1",
        }
        return JobSpec(**{**fields, **(job or {})})

    return make


class Ran:
    """The events of one job that ran to its end."""

    def __init__(self, events):
        self.events = events

    @property
    def end(self):
        return self.events[-1].data

    @property
    def status(self):
        return self.end["status"]

    def of(self, kind):
        return [e for e in self.events if e.kind == kind]

    def outcomes(self):
        """`{unit: status}`."""
        return {u: e.data["status"] for e in self.of("units") for u in e.data["units"]}

    def tables(self):
        return [e.table() for e in self.of("units") if e.data["status"] == "ok"]

    def text(self, stream="stdout"):
        return "".join(e.data["text"] for e in self.of("log") if e.data["stream"] == stream)


def run_jobs(executor, jobs, limit_s=60.0, while_running=None):
    """Submit jobs and collect their events until each has ended; returns `Ran` in the order of the jobs."""
    for job in jobs:
        executor.submit(job)
    collected = {job.job_id: [] for job in jobs}
    left, give_up = set(collected), time.monotonic() + limit_s
    while left:
        assert time.monotonic() < give_up, f"{len(left)} jobs did not end; {executor.capacity()}"
        for event in executor.events(0.5):
            collected[event.job_id].append(event)
            if event.kind == "end":
                left.discard(event.job_id)
            if while_running:
                while_running(event)
    return [Ran(collected[job.job_id]) for job in jobs]


def finish(executor, jobs, most_attempts=3, limit_s=120.0, while_running=None):
    """What the driver does: lost attempts again on the same seeds, one unit a job.

    Returns the tables, and how often each unit had an outcome (1 each, unless something is wrong).
    """
    tables, outcomes, attempts = [], Counter(), 1
    while jobs:
        assert attempts <= most_attempts, f"lost {most_attempts} times: {[j.units for j in jobs]}"
        again = []
        for job, ran in zip(jobs, run_jobs(executor, jobs, limit_s, while_running), strict=True):
            outcomes.update(u for e in ran.of("units") for u in e.data["units"])
            tables += ran.tables()
            missing = [u for u in job.units if u.index not in ran.outcomes()]
            assert not missing or ran.status == "lost", ran.end
            again += [job.only([u]) for u in missing]
        attempts += 1
        jobs = [j.model_copy(update={"attempt": attempts, "fence": attempts}) for j in again]
    return tables, outcomes


def run_job(executor, job, **options):
    return run_jobs(executor, [job], **options)[0]


@pytest.fixture(scope="session")
def run():
    return run_job


@pytest.fixture(scope="session")
def finish_all():
    return finish


@pytest.fixture(scope="session")
def run_all():
    return run_jobs


@pytest.fixture(scope="module")
def open_workers(tmp_path_factory):
    """Open executors that are closed when the module's tests are done."""
    opened = []

    def open_(text="local:1", **config):
        if text.startswith("ray"):
            pytest.importorskip("ray", reason="the extra 'ray' is not installed")
        values = {**WorkersConfig.parse(text).model_dump(), "memory": 2 << 30, **config}
        executor = open_executor(
            WorkersConfig.from_mapping(values),
            modules=[MODULE],
            artifacts=tmp_path_factory.mktemp("artifacts"),
        )
        opened.append(executor)
        return executor

    yield open_
    for executor in opened:
        executor.close(grace_s=1)


@pytest.fixture(scope="module")
def local(open_workers):
    return open_workers("local:1")


RAY = pytest.param("ray", marks=[pytest.mark.slow])  # seconds to start, half a gigabyte


@pytest.fixture(scope="module", params=["inline", "local:1", RAY])
def executor(request, open_workers):
    return open_workers(request.param)


CLAIMS = [
    {"condition": "dose=1", "direction": "greater", "sesoi": 0.2},
    {"condition": "dose=0.25", "direction": "less", "sesoi": 0.25},
]


def run_study(folder, workers, on_event=lambda event: None, seconds=0.0):
    """Verdicts, and every measurement, of a small campaign on these workers."""
    import agentkit

    with agentkit.lab(folder / "lab.db", workers=workers, modules=[MODULE], on_event=on_event) as lab:
        campaign = lab.campaign("same", max_hypotheses=4, seed=7)
        lab.explore("doses", units=7, campaign=campaign, seconds=seconds)
        for claim in CLAIMS:
            lab.register(
                campaign, tool="doses", metric="value", max_units=80, params={"seconds": seconds}, **claim
            )
        verdicts = lab.confirm(campaign)
        rows = [(run.ref, *row) for run in campaign.runs() for row in run.measurements().rows()]
        outcomes = {run.ref: run.outcomes() for run in campaign.runs()}
        lost = [a for run in campaign.runs() for a in run.attempts() if a.status == "lost"]
    assert all(set(of_run.values()) == {"ok"} for of_run in outcomes.values())
    return verdicts, rows, lost


@pytest.fixture(scope="session")
def study():
    return run_study


@pytest.fixture(scope="session")
def inline_study(tmp_path_factory):
    return run_study(tmp_path_factory.mktemp("inline"), "inline")
