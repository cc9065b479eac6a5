"""Wherever a sweep is cut, whatever order its parts come back in: the same table, to the bit."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentkit.errors import NondeterministicError
from agentkit.measurements import Measurements
from agentkit.workers import merge, plan_shards


class Plain:
    cancelled = False

    def __init__(self, conditions):
        self._conditions = conditions

    def wants(self, condition):
        return condition == "baseline" or self._conditions is None or condition in self._conditions

    def progress(self, done, total):
        pass


def measure(tool, job):
    return tool(tool.parse(job.params), job.units, Plain(job.asked_conditions))


@settings(max_examples=60, deadline=None)
@given(
    units=st.integers(1, 40),
    doses=st.integers(1, 12),
    workers=st.integers(1, 5),
    seconds_per_unit=st.one_of(st.none(), st.floats(1e-4, 100)),
    job_s=st.floats(1, 60),
    named=st.booleans(),
    order=st.randoms(use_true_random=False),
    lost=st.floats(0, 1),
)
def test_a_split_sweep_equals_one_call(
    plugins, make_job, units, doses, workers, seconds_per_unit, job_s, named, order, lost
):
    names = [f"dose={(i + 1) / 16:g}" for i in range(doses)]
    whole = make_job(
        "doses",
        units=units,
        doses=tuple((i + 1) / 16 for i in range(doses)),
        job={"conditions": tuple(names) if named else None},
    )
    tool = plugins.tool("doses")
    shards = plan_shards(
        whole, workers=workers, seconds_per_unit=seconds_per_unit, splits_conditions=True, job_s=job_s
    )
    parts = []
    for shard in shards:
        if order.random() < lost:  # its worker died: the units come back one at a time
            parts += [measure(tool, shard.only([unit])) for unit in shard.units]
        else:
            parts.append(measure(tool, shard))
    order.shuffle(parts)
    expected = measure(tool, whole)
    table = merge(parts, conditions=names)
    assert table.to_json() == merge([expected], conditions=names).to_json()
    assert sorted(table.rows()) == sorted(expected.rows())


@settings(max_examples=100, deadline=None)
@given(
    units=st.integers(1, 200),
    conditions=st.integers(0, 40),
    workers=st.integers(1, 16),
    job_s=st.floats(1, 60),
)
def test_shards_cover_every_cell_once_and_give_each_worker_enough(
    make_job, units, conditions, workers, job_s
):
    names = tuple(f"c{i}" for i in range(conditions)) or None
    whole = make_job("noop", units=units, job={"conditions": names})
    shards = plan_shards(whole, workers=workers, seconds_per_unit=0.5, splits_conditions=True, job_s=job_s)
    cells = [(u.index, c) for s in shards for u in s.units for c in (s.conditions or ("all",))]
    assert len(cells) == len(set(cells)) == units * max(1, conditions)
    if units >= 4 * workers:
        assert len(shards) >= 4 * workers
    if units < workers and conditions >= workers:
        assert len(shards) >= workers


def test_a_tool_that_does_not_split_conditions_is_split_over_units_only(make_job):
    whole = make_job("noop", units=1, job={"conditions": ("a", "b")})
    assert plan_shards(whole, workers=8) == (whole,)


def test_blocks_that_disagree_on_the_baseline_are_named(make_job):
    def block(condition, baseline):
        return Measurements.from_rows([(0, "baseline", "value", baseline), (0, condition, "value", 0.5)])

    with pytest.raises(NondeterministicError, match="'value' of 'baseline', unit 0"):
        merge([block("a", 0.1), block("b", 0.1 + 1e-12)])
    kept = merge([block("b", 0.1 + 1e-12), block("a", 0.1)], conditions=["a", "b"], atol=1e-9)
    assert kept.column("value", "baseline")[0] == 0.1, "the block of the first condition is kept"


def test_a_sweep_over_workers_equals_the_inline_call(open_workers, run, run_all, make_job):
    names = tuple(f"dose={(i + 1) / 16:g}" for i in range(6))
    doses = tuple((i + 1) / 16 for i in range(6))
    tables = {}
    for units in (1, 9):
        whole = make_job("doses", units=units, doses=doses, job={"conditions": names})
        tables["inline"] = run(open_workers("inline"), whole).tables()[0]
        for count in (1, 2, 3):
            shards = list(plan_shards(whole, workers=count, splits_conditions=True))
            random.Random(count).shuffle(shards)
            ran = run_all(open_workers(f"local:{count}"), shards)
            tables[count] = merge([t for r in ran for t in r.tables()], conditions=names)
        assert tables[1].to_json() == tables[2].to_json() == tables[3].to_json()
        assert sorted(tables[1].rows()) == sorted(tables["inline"].rows())
