"""Jobs as text: golden keys, what changes them and what does not, and the wire."""

from __future__ import annotations

import json

import pytest

from agentkit import Unit
from agentkit.errors import WorkerError
from agentkit.types import Resources
from agentkit.workers import JobSpec, numeric_environment, unit_key

ENVIRONMENT = {"device": "cpu", "threads": 1, "torch": "2.13.0+cpu", "numpy": "2.4.6"}


def job(**changes):
    fields = {
        "plugin": "noise",
        "tool": "noise.text",
        "version": "1",
        "source_sha256": "ab" * 32,
        "params": {"rate": 0.1, "target": "minilm:"},
        "units": (Unit(index=0, seed=7), Unit(index=1, seed=2**63 - 1)),
        "targets": {"minilm:": "44ab"},
    }
    return JobSpec(**{**fields, **changes})


def test_golden_keys_never_change_by_accident():
    assert job().job_sha256 == "e20a602636cdc141e28efcc677c20343deafe0e4ffd1ffe348def45a8f0b0809"
    assert (
        unit_key(job(), job().units[0], ENVIRONMENT)
        == "874cd440b7a95d50e337a1beccbe2fad2584deb4ae68265a62f391b9b061ff24"
    )


def test_the_job_key_says_what_was_asked_not_where_when_or_how_often():
    same = [
        job(params={"target": "minilm:", "rate": 0.1}),
        job(run="r9", attempt=3, fence=4),
        job(resources=Resources(cpus=4), timeout_s=5.0, load_timeout_s=9.0),
        job(conditions=None),
    ]
    assert {j.job_sha256 for j in same} == {job().job_sha256}
    assert job(conditions=("a", "b")).job_sha256 == job(conditions=("b", "a")).job_sha256
    first = job()
    assert first.job_id and first.model_copy(update={"attempt": 2}).job_id != first.job_id, "no stale key"
    assert first.job_sha256 and first.only(first.units[:1]).job_sha256 != first.job_sha256
    assert len({j.job_id for j in (job(), job(attempt=2), job(run="r2"), job(fence=5))}) == 4


@pytest.mark.parametrize(
    "change",
    [
        {"tool": "noise.image"},
        {"version": "2"},
        {"params": {"rate": 0.2, "target": "minilm:"}},
        {"plugin": "other"},
        {"source_sha256": "cd" * 32},
        {"targets": {"minilm:": "9f1c"}},
        {"conditions": ("rate=0.1",)},
    ],
)
def test_whatever_can_change_a_number_changes_the_unit_key(change):
    unit = job().units[0]
    assert unit_key(job(**change), unit, ENVIRONMENT) != unit_key(job(), unit, ENVIRONMENT)


def test_seed_and_environment_change_the_unit_key_and_the_index_does_not():
    key = unit_key(job(), Unit(index=0, seed=7), ENVIRONMENT)
    assert unit_key(job(), Unit(index=5, seed=7), ENVIRONMENT) == key
    assert unit_key(job(), Unit(index=0, seed=8), ENVIRONMENT) != key
    for name in ENVIRONMENT:
        assert unit_key(job(), Unit(index=0, seed=7), {**ENVIRONMENT, name: "else"}) != key


def test_the_environment_is_read_without_importing_anything():
    found = numeric_environment(Resources(gpus=0.5, cpus=3))
    assert found["device"] == "cuda" and found["threads"] == 3 and found["numpy"] != "absent"


def test_a_job_survives_the_wire_and_its_seeds_are_text():
    sent = job(conditions=("a",), timeout_s=3.0)
    text = json.dumps(sent.to_wire(), allow_nan=False)
    assert '"9223372036854775807"' in text
    back = JobSpec.from_wire(json.loads(text))
    assert back == sent and back.job_id == sent.job_id


@pytest.mark.parametrize(
    ("params", "says"),
    [
        ({"rate": float("nan")}, r"params\.rate is not JSON \(nan\)"),
        ({"rates": [0.1, float("inf")]}, r"params\.rates\[1\] is not JSON \(inf\)"),
        ({"f": {"g": object()}}, r"params\.f\.g is not JSON \(a object\)"),
        ({"f": {1: 2}}, "only text keys"),
    ],
)
def test_params_that_are_not_json_are_refused_with_their_place(params, says):
    with pytest.raises(WorkerError, match=says):
        job(params=params)


def test_a_unit_named_twice_is_refused():
    with pytest.raises(WorkerError, match="names a unit twice"):
        job(units=(Unit(index=0, seed=1), Unit(index=0, seed=2)))
